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


def world(make_sim, limits, **switches):
    """Azure resources whose deployments hold so many tokens."""
    accounts = [azure_account(name, switches=switches,
                              deployments=[{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch",
                                            "enqueued_token_limit": limit, "refusal": "fast"}]) for name, limit in limits.items()]
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
