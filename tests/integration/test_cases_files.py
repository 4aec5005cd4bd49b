"""One file, one verdict: an upload, POST /v1/files/validate and `tranche check-file` say the same, for each provider, with
balancing and without. What each provider takes stands in the table."""

import base64
import datetime
import json
import pathlib
import random
import subprocess

import pytest
from harness import MASTER_KEY, PATIENCE, PROVIDER_KEYS, envelope, find_binary, http_request, multipart, program_env, sim_config

CASES = pathlib.Path(__file__).parent / "cases" / "files"
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
TAKEN = None
NO_MODEL, URL, INPUTS = "missing_required_parameter", "invalid_url", "too_many_embedding_inputs"


def stored(name):
    return lambda model: (CASES / name).read_bytes().replace(b"MODEL", model.encode())


def rows(url, bodies):
    return lambda model: b"".join(json.dumps({"custom_id": f"r-{n}", "method": "POST", "url": url, "body": {"model": model, **body}}).encode() + b"\n"
                                  for n, body in enumerate(bodies))


def picture(count):
    return {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(random.Random(count).randbytes(count)).decode()}}


def asked(*parts):
    return [{"messages": [{"role": "user", "content": list(parts)}]}]


def nested(depth):
    write = rows(CHAT, [{"messages": [{"role": "user", "content": "x"}], "metadata": "@"}])
    return lambda model: write(model).replace(b'"@"', b"[" * depth + b"]" * depth)


def nothing_but_the_input(url):
    def write(model):
        return json.dumps({"custom_id": "r-1", "method": "POST", "url": url, "body": {"input": "x"}}).encode()
    return write


TABLE = {  # name: (file, what OpenAI says, what Azure says, warning)
    "f05-moderations-no-model": (stored("f05-moderations-no-model.jsonl"), TAKEN, NO_MODEL, False),
    "f06-images-generations": (stored("f06-images-generations.jsonl"), TAKEN, TAKEN, False),
    "f07-videos": (stored("f07-videos.jsonl"), TAKEN, TAKEN, True),
    "f08-azure-bare-url": (stored("f08-azure-bare-url.jsonl"), URL, TAKEN, False),
    "f23-schema-depth-40": (stored("f23-schema-depth-40.jsonl"), TAKEN, TAKEN, False),
    "f41-model-top-level": (stored("f41-model-top-level.jsonl"), NO_MODEL, NO_MODEL, False),
    "f51-no-final-newline": (stored("f51-no-final-newline.jsonl"), TAKEN, TAKEN, False),
    "picture-of-3.9-MB": (rows(CHAT, asked({"type": "text", "text": "What is this?"}, picture(3_900_000))), TAKEN, TAKEN, False),
    "two-photos-of-2.5-MB": (rows(CHAT, asked(picture(2_500_000), picture(2_499_999))), TAKEN, TAKEN, False),
    "picture-of-20-MB": (rows(CHAT, asked(picture(20_000_000))), TAKEN, TAKEN, False),
    "embeddings-53248-inputs": (rows(EMBEDDINGS, [{"input": ["x"] * 2048}] * 26), INPUTS, TAKEN, False),
    "embeddings-50000-inputs": (rows(EMBEDDINGS, [{"input": ["x"] * 2000}] * 25), TAKEN, TAKEN, False),
    "embeddings-of-token-ids": (rows(EMBEDDINGS, [{"input": [1] * 60_000}]), TAKEN, TAKEN, False),
    "nested-500-deep": (nested(500), TAKEN, TAKEN, False),
    "nested-2000-deep": (nested(2000), "nesting_too_deep", "nesting_too_deep", False),
    "images-without-a-model": (nothing_but_the_input("/v1/images/generations"), TAKEN, NO_MODEL, False),
    "responses-without-a-model": (nothing_but_the_input("/v1/responses"), TAKEN, NO_MODEL, False),
    "embeddings-without-a-model": (nothing_but_the_input(EMBEDDINGS), NO_MODEL, NO_MODEL, False),
}
PROVIDERS = ("openai", "azure")


def configured(sim, balanced):
    """files-balanced.yaml and files-plain.yaml of the reports."""
    openai = {"api_base": sim.base("oai") + "/v1", "api_key": PROVIDER_KEYS["oai"]}
    azure = {"api_base": sim.base("eu"), "api_key": PROVIDER_KEYS["eu"], "api_version": "2025-04-01-preview"}
    config = {"model_list": [
        {"model_name": "m-openai", "litellm_params": {"model": "openai/gpt-oai", **openai}, "model_info": {"mode": "batch"}},
        {"model_name": "m-azure", "litellm_params": {"model": "azure/dep-az", **azure}, "model_info": {"mode": "batch"}}],
        "general_settings": {"master_key": MASTER_KEY}}
    if balanced:
        config["litellm_settings"] = {"enable_loadbalancing_on_batch_endpoints": True}
    else:
        config["files_settings"] = [{"custom_llm_provider": "openai", **openai}, {"custom_llm_provider": "azure", **azure}]
    return config


@pytest.fixture(params=[True, False], ids=["balanced", "plain"])
def served(request, start, make_sim):
    sim = make_sim(sim_config())
    gateway = start(configured(sim, request.param), sim=sim, workers=1)
    gateway.balanced = request.param
    return gateway, sim


def asked_of(gateway, provider, data, target="/v1/files", filename="requests.jsonl"):
    fields = [("purpose", "batch"), ("target_model_names", f"m-{provider}") if gateway.balanced else ("custom_llm_provider", provider)]
    body, kind = multipart(fields + [("file", None)], data, filename=filename)
    return http_request(gateway.port, "POST", target, body, {"Content-Type": kind, "Authorization": f"Bearer {MASTER_KEY}"})


def check_file(path, *args):
    return subprocess.run([find_binary("tranche"), "check-file", *map(str, args), str(path)], env=program_env(), timeout=PATIENCE,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)


def is_upload(request):
    return request["method"] == "POST" and request["target"].split("?")[0].endswith("/files")


@pytest.mark.parametrize("name", TABLE)
def test_upload_validate_and_check_file_give_one_verdict_on_one_file(served, tmp_path, name):
    gateway, sim = served
    write, *wanted, warns = TABLE[name]
    for provider, code in zip(PROVIDERS, wanted):
        data = write(f"m-{provider}")
        sent = len([r for r in sim.requests() if is_upload(r)])
        path = tmp_path / f"{provider}.jsonl"
        path.write_bytes(data)
        command = check_file(path, "--provider", provider, "--config", gateway.config_path)
        report = asked_of(gateway, provider, data, "/v1/files/validate").json()
        told = asked_of(gateway, provider, data, "/v1/files?validate=all")
        upload = asked_of(gateway, provider, data)
        assert ("warning" in command.stdout) == bool(report["warnings"]) == warns, (command, report)
        if code is TAKEN:
            assert (command.returncode, report["valid"], upload.status, told.status) == (0, True, 200, 200), (command, report, upload)
            assert report["errors"] == [] and len([r for r in sim.requests() if is_upload(r)]) == sent + 2
        else:
            assert (command.returncode, report["valid"]) == (1, False) and code in command.stdout, (command, report)
            assert [e["code"] for e in report["errors"]][:1] == [code], report
            envelope(upload, 400, code=code)
            assert told.json()["error"]["errors"] == report["errors"], told
            assert len([r for r in sim.requests() if is_upload(r)]) == sent, "bytes went to the provider"


def test_check_file_without_a_provider_tells_what_each_would_say(tmp_path):
    path = tmp_path / "requests.jsonl"
    for name, (write, *wanted, _) in TABLE.items():
        path.write_bytes(write("m"))
        done = check_file(path)
        assert done.returncode == (0 if TAKEN in wanted else 1), (name, done)
        for provider, code in zip(PROVIDERS, wanted):
            if code is TAKEN:
                assert f"{path}: {provider}: valid\n" in done.stdout, (name, done)
            else:
                assert f"{path}: {provider}: {code}: " in done.stdout or "nesting" in code, (name, done)
                assert f"{provider}: valid" not in done.stdout


def test_check_file_knows_the_limits_of_a_configuration(tmp_path):
    """A file that the gateway refuses for a limit of its operator was valid for the command."""
    config, path = tmp_path / "tranche.yaml", tmp_path / "requests.jsonl"
    path.write_bytes(rows(EMBEDDINGS, [{"input": ["x"] * 10, "metadata": [[[[[[]]]]]]}] * 3)("m"))
    assert check_file(path).returncode == 0
    for limit, code in ((("max_lines", {"openai": 2}), "too_many_tasks"), (("max_embedding_inputs", {"openai": 29}), INPUTS),
                        (("max_line_bytes", 1024), None), (("max_depth", 6), "nesting_too_deep"), (("max_file_bytes", {"openai": 100}), "file_too_large")):
        config.write_text(json.dumps({"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "sk-of-a-test"}}], "general_settings": {"master_key": MASTER_KEY}, "tranche_settings": {"limits": dict([limit])}}))
        done = check_file(path, "--provider", "openai", "--config", config)
        assert done.returncode == (1 if code else 0) and (code or "valid") in done.stdout, (limit, done)
    assert check_file(path, "--config", tmp_path / "nowhere.yaml").returncode == 2


def test_an_openai_row_on_an_azure_host_has_azures_file_rules(start, tmp_path):
    """Bare urls were refused for Azure's v1 API, and moderations without a model would have been accepted."""
    row = {"model": "openai/dep", "api_base": "https://res.openai.azure.com/openai/v1", "api_key": "azure-key-on-v1"}
    gateway = start({"model_list": [{"model_name": "m", "litellm_params": row, "model_info": {"mode": "batch"}}],
                     "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True}, "general_settings": {"master_key": MASTER_KEY},
                     "tranche_settings": {"upstream_proxy": "http://127.0.0.1:9"}}, workers=1)
    for name, valid in (("f08-azure-bare-url", True), ("f41-model-top-level", False), ("f05-moderations-no-model", False)):
        body, kind = multipart([("target_model_names", "m"), ("file", None)], TABLE[name][0]("m"))
        report = http_request(gateway.port, "POST", "/v1/files/validate", body, {"Content-Type": kind, "Authorization": f"Bearer {MASTER_KEY}"}).json()
        assert report["valid"] is valid, (name, report)


# --- create ---

def create(gateway, file_id, endpoint):
    body = json.dumps({"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"}).encode()
    return http_request(gateway.port, "POST", "/v1/batches", body, {"Content-Type": "application/json", "Authorization": f"Bearer {MASTER_KEY}"})


def test_an_endpoint_unlike_the_lines_url_is_refused_at_create_for_openai(served):
    gateway, sim = served
    data = stored("f51-no-final-newline.jsonl")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {MASTER_KEY}"}
    for provider in PROVIDERS:
        uploaded = asked_of(gateway, provider, data(f"m-{provider}"))
        assert uploaded.status == 200, uploaded
        body = {"input_file_id": uploaded.json()["id"], "endpoint": EMBEDDINGS, "completion_window": "24h", "custom_llm_provider": provider}
        before = len(sim.requests())
        answer = http_request(gateway.port, "POST", "/v1/batches", json.dumps(body).encode(), headers)
        if provider == "openai":
            error = envelope(answer, 400, code="url_mismatch", param="endpoint")
            assert EMBEDDINGS in error["message"] and CHAT in error["message"]
            assert len(sim.requests()) == before, "the provider was asked"
            assert http_request(gateway.port, "POST", "/v1/batches", json.dumps(body | {"endpoint": CHAT}).encode(), headers).status == 200
        else:
            assert answer.status == 200, answer


# --- names ---

@pytest.mark.parametrize("name, sent", [("upload", "upload.jsonl"), ("requests.txt", "requests.txt.jsonl"), ("x.json", "x.json.jsonl"),
                                        ("a.jsonl", "a.jsonl"), ("A.JSONL", "A.JSONL.jsonl")])
def test_a_name_that_openai_refuses_is_mended(served, name, sent):
    """OpenAI said that "upload" is no .jsonl file, when all bytes had gone."""
    gateway, sim = served
    answer = asked_of(gateway, "openai", stored("f51-no-final-newline.jsonl")("m-openai"), filename=name)
    assert answer.status == 200 and answer.json()["filename"] == sent, answer
    assert asked_of(gateway, "azure", stored("f51-no-final-newline.jsonl")("m-azure"), filename=name).json()["filename"] == name


# --- coded bodies ---

@pytest.mark.parametrize("target", ["/v1/files", "/v1/files/validate", "/v1/batches"])
def test_a_gzip_body_is_a_415_that_names_content_encoding(served, target):
    """It was a malformed form, or JSON that begins with an odd byte."""
    gateway, sim = served
    for coding in ("gzip", "br", "deflate, gzip"):
        answer = http_request(gateway.port, "POST", target, b"\x1f\x8b\x08\x00", {
            "Content-Type": "application/json", "Content-Encoding": coding, "Authorization": f"Bearer {MASTER_KEY}"})
        error = envelope(answer, 415, code="unsupported_content_encoding")
        assert "Content-Encoding" in error["message"] and coding in error["message"]
        assert answer.headers["accept-encoding"] == "identity"
    assert sim.requests() == []


# --- expiry ---

def test_azure_is_asked_for_an_expiry_of_three_days_and_a_setting_forbids_it(start, make_sim):
    """Real resources take 3 days; the gateway refused what its provider would not."""
    sim = make_sim(sim_config())
    sim.control("POST", "/control/switches", {"account": "eu", "set": {"expires_min_s": 259200}})
    for setting, status in ((None, 200), ("14d", 400)):
        config = configured(sim, True)
        if setting:
            config["tranche_settings"] = {"azure_min_expires_after": setting}
        gateway = start(config, sim=sim, workers=1)
        body, kind = multipart([("purpose", "batch"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "259200"), ("file", None)],
                               stored("f51-no-final-newline.jsonl")("m-azure"))
        answer = http_request(gateway.port, "POST", "/v1/files", body, {"Content-Type": kind, "Authorization": f"Bearer {MASTER_KEY}"})
        assert answer.status == status, answer


def test_moderations_without_a_model_run(served):
    """They were refused at upload, although OpenAI has a model of its own for them."""
    gateway, sim = served
    uploaded = asked_of(gateway, "openai", TABLE["f05-moderations-no-model"][0]("")).json()
    batch = gateway.created(uploaded["id"], endpoint="/v1/moderations", custom_llm_provider="openai")
    assert gateway.wait_batch(sim, batch["id"])["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


# --- models that end ---

@pytest.mark.parametrize("balanced", [True, False], ids=["balanced", "plain"])
def test_a_model_whose_shutdown_date_is_near_warns_in_validate_and_the_log(start, make_sim, balanced):
    """GET /v1/models says when a model ends; a batch of 24 hours may outlive it."""
    world = sim_config()
    near, far = (datetime.date.today() + datetime.timedelta(days=days) for days in (20, 400))
    world["accounts"][-1]["models"] = [{"name": "gpt-oai", "shutdown_date": str(near)}, {"name": "gpt-new", "shutdown_date": str(far)}, "gpt-other"]
    sim = make_sim(world)
    config = configured(sim, balanced)
    for model in ("gpt-new", "gpt-other"):
        row = json.loads(json.dumps(config["model_list"][0]))
        row["model_name"], row["litellm_params"]["model"] = f"m-{model}", f"openai/{model}"
        config["model_list"].append(row)
    gateway = start(config, sim=sim, workers=1)
    gateway.wait_line(rf"ends the model 'gpt-oai' on {near}")
    for name, warns in (("m-openai", True), ("m-gpt-new", False), ("m-gpt-other", False)):
        report = gateway.upload(stored("f51-no-final-newline.jsonl")(name), target="/v1/files/validate", fields={"target_model_names": name}).json()
        assert report["valid"], report
        assert [w["code"] for w in report["warnings"]] == (["model_ends"] if warns else []), (name, report)
        assert not warns or (str(near) in report["warnings"][0]["message"] and "gpt-oai" in report["warnings"][0]["message"])
    assert not [line for line in gateway.log.splitlines() if "ends the model" in line and "gpt-oai" not in line]
