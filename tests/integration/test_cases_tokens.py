"""What a file's tokens are taken for: pictures, sound, token ids and schemas each count by their own rule, and what one client's
job counts, or is refused for, is not held against others."""

import base64
import json
import random
import subprocess

import pytest
from harness import (GROUP, PATIENCE, azure_account, azure_deployment, balanced_config, envelope, find_binary, lines, program_env,
                     sim_config)

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def encoded(count, seed=1):
    return base64.b64encode(random.Random(seed).randbytes(count)).decode()


def rows(url, bodies):
    return "".join(json.dumps({"custom_id": f"r-{n}", "method": "POST", "url": url, "body": {"model": GROUP, **body}}) + "\n"
                   for n, body in enumerate(bodies)).encode()


def said(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}]}


def image(count, seed=1):
    return {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + encoded(count, seed)}}


AUDIO = rows(CHAT, [said({"type": "input_audio", "input_audio": {"data": encoded(900_000), "format": "wav"}})])
IDS = rows(EMBEDDINGS, [{"input": [[1234] * 1000] * 4}] * 60)
IMAGES = rows(CHAT, [said({"type": "text", "text": "Label it."}, image(3000, n)) for n in range(200)])
SCHEMA = rows(CHAT, [{"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {
    "name": "n", "schema": {"type": "object", "properties": {
        f"field_{i}": {"type": "string", "description": "a described field of the answer"} for i in range(180)}}}}}])


def estimate(gateway, data):
    report = gateway.upload(data, target="/v1/files/validate").json()
    assert report["valid"] is True, report
    return report["estimated_tokens"]


def world(make_sim, limits, refusal="fast", **switches):
    """Azure resources whose deployments hold so many tokens."""
    accounts = [azure_account(name, switches=switches,
                              deployments=[{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch",
                                            "enqueued_token_limit": limit, "refusal": refusal}]) for name, limit in limits.items()]
    return make_sim(sim_config(accounts))


def served(start, sim, limits, told=True, **sections):
    model_list = [azure_deployment(sim, name, api_version="2025-04-01-preview") for name in limits]  # tells tokens in headers
    for row, limit in zip(model_list, limits.values()):
        if told:
            row["model_info"]["enqueued_token_limit"] = limit
    return start(balanced_config(sim, accounts=(), model_list=model_list, **sections), sim=sim)


def test_a_schema_of_16_kb_is_not_two_tokens(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    assert 2000 <= estimate(gateway, SCHEMA) <= 8000
    tools = rows(CHAT, [{"messages": [], "tools": [{"type": "function", "function": {
        "name": "f", "parameters": {"properties": {f"field_{i}": {"type": "string"} for i in range(500)}}}}]}])
    assert 2000 <= estimate(gateway, tools) <= 8000


def test_one_line_of_audio_is_not_300000_tokens(start, make_sim):
    limits = {"eu": 100_000}
    sim = world(make_sim, limits, bytes_per_token=100)
    gateway = served(start, sim, limits)
    assert estimate(gateway, AUDIO) < 20_000
    gateway.created(gateway.uploaded(AUDIO)["id"])
    assert sim.created("batches") == 1


@pytest.mark.parametrize("data", [AUDIO, IDS, IMAGES, SCHEMA, lines(count=7)], ids=["audio", "ids", "images", "schema", "text"])
def test_validate_check_file_and_placement_agree_on_the_tokens(start, make_sim, tmp_path, data):
    limits = {"eu": 100_000_000}
    sim = world(make_sim, limits)
    gateway = served(start, sim, limits, tranche_settings={"count_output_tokens": {"azure": True}})
    tokens = estimate(gateway, data)
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)
    done = subprocess.run([find_binary("tranche"), "check-file", str(path)], env=program_env(), timeout=PATIENCE,
                          capture_output=True, text=True)
    assert f"about {tokens} tokens" in done.stdout, done
    file = gateway.uploaded(data)
    assert gateway.post("/v1/batches/placement", {"input_file_id": file["id"]}).json()["tokens"] == tokens


def test_image_batches_do_not_make_a_text_batch_too_large(start, make_sim):
    """Three batches of small pictures taught the text of all others a ratio of four tokens a byte: "Split its input file"."""
    limits = {"eu": 2_000_000}
    sim = world(make_sim, limits, tokens_per_image=1100)
    gateway = served(start, sim, limits)
    for _ in range(3):
        gateway.created(gateway.uploaded(IMAGES)["id"])
    text = lines(count=40, content="Hello world! " * 7692)  # a million tokens
    gateway.created(gateway.uploaded(text)["id"])
    assert sim.created("batches") == 4


# --- one client's job never shuts others out ---

SMALL = lines(count=3)


def text_of(tokens, **more):
    """A file of about so many tokens, as the gateway counts text."""
    return lines(count=20, content="Hello world! " * (tokens * 4 // 20 // 13), **more)


def creates(sim):
    return len([r for r in sim.requests() if r["method"] == "POST" and "batches" in r["target"]])


def make_others(gateway, *files):
    for data in files:
        answer = gateway.create(gateway.uploaded(data)["id"])
        assert answer.status == 200, answer


@pytest.mark.parametrize("told", [True, False], ids=["limits-configured", "limits-learned"])
def test_embeddings_that_can_never_fit_are_final_and_close_the_group_to_nobody(start, make_sim, told):
    limits = {"eu": 200_000, "us": 200_000}
    sim = world(make_sim, limits, bytes_per_token=6)
    gateway = served(start, sim, limits, told=told)
    assert 230_000 <= estimate(gateway, IDS) <= 250_000
    for _ in range(3):
        answer = gateway.upload(IDS)
        if answer.status == 200:  # the limits are not known before a provider names them
            answer = gateway.create(answer.json()["id"])
        error = envelope(answer, 400, code="token_limit_exceeded")
        assert "Split its input file" in error["message"] and "retry-after" not in answer.headers
        make_others(gateway, SMALL)
    assert sim.created("batches") == 3


@pytest.mark.parametrize("refusal", ["fast", "slow"])
def test_a_job_whose_estimate_is_too_low_closes_the_group_to_nobody(start, make_sim, refusal):
    """It was refused, then everybody was: "200000 of 200000 free", 5 tokens refused."""
    limits = {"eu": 200_000, "us": 200_000}
    sim = world(make_sim, limits, refusal=refusal, bytes_per_token=1)  # four times what text is taken for
    gateway = served(start, sim, limits)
    data = text_of(80_000)
    for n in range(4):
        answer = gateway.create(gateway.uploaded(data)["id"])
        if answer.status == 200:  # the slow form: the batch fails later
            assert refusal == "slow" and n < 2
            gateway.wait_batch(sim, answer.json()["id"], status="failed")
        else:
            error = envelope(answer, 429, code="token_limit_exceeded")
            assert "No room can be promised" in error["message"] and "is expected" not in error["message"]
            assert answer.headers["x-should-retry"] == "false"
        make_others(gateway, lines(count=3 + n), text_of(2_000 + n))
    assert creates(sim) == 2 + 8


def test_a_refused_job_is_told_as_unlikely_to_fit(start, make_sim):
    limits = {"eu": 200_000}
    sim = world(make_sim, limits, bytes_per_token=1)
    gateway = served(start, sim, limits)
    file = gateway.uploaded(text_of(80_000))
    question = {"input_file_id": file["id"]}
    assert gateway.post("/v1/batches/placement", question).json()["fits"] == "now"
    envelope(gateway.create(file["id"]), 429, code="token_limit_exceeded")
    plan = gateway.post("/v1/batches/placement", question).json()
    assert plan["fits"] == "unlikely" and plan["retry_after_ms"] is None and plan["deployment"] is None
    assert not plan["candidates"][0]["fits"] and plan["candidates"][0]["free_tokens"] == 200_000


def test_a_job_whose_estimate_is_too_high_is_made_once_nothing_is_enqueued(start, make_sim):
    """An estimate is a guess: what is more than every limit by it is no final 400."""
    limits = {"eu": 100_000, "us": 200_000}
    sim = world(make_sim, limits, bytes_per_token=16)  # a quarter of what text is taken for
    gateway = served(start, sim, limits)
    data = text_of(400_000)
    first, second = gateway.uploaded(data), gateway.uploaded(data)
    made = gateway.created(first["id"])
    assert sim.created("batches", ["us"]) == 1  # the largest
    envelope(gateway.create(second["id"]), 429, code="token_limit_exceeded")
    gateway.wait_batch(sim, made["id"])
    gateway.created(second["id"])


def test_a_full_deployment_still_keeps_jobs_of_that_size_away(start, make_sim):
    """What our own jobs there make likely is believed of the deployment, as before."""
    limits = {"eu": 200_000}
    sim = world(make_sim, limits, bytes_per_token=2)  # twice what text is taken for
    gateway = served(start, sim, limits)
    gateway.created(gateway.uploaded(text_of(60_000))["id"])
    for n in range(3):
        answer = gateway.create(gateway.uploaded(text_of(60_000 + 1000 * n))["id"])
        envelope(answer, 429, code="token_limit_exceeded")
        assert "x-should-retry" not in answer.headers and int(answer.headers["retry-after"]) >= 1
    assert creates(sim) == 2
    make_others(gateway, SMALL)
