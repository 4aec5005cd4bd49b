"""What LiteLLM's operators look at: health, liveness, readiness, models."""

import pytest
from harness import GROUP, MASTER_KEY, azure_deployment, balanced_config, direct_config, free_port, until


def test_liveness_answers_without_a_provider(start, sim):
    gateway = start({**balanced_config(sim), "model_list": [azure_deployment(sim, "eu", api_base=f"http://127.0.0.1:{free_port()}")]})
    for target in ("/health/liveliness", "/health/liveness"):
        answer = gateway.get(target, key=None)
        assert answer.status == 200 and "alive" in answer.body.decode().lower(), answer


def test_health_lists_every_deployment_as_litellm_does(gateway):
    def all_known():
        answer = gateway.get("/health")
        assert answer.status == 200, answer
        health = answer.json()
        return health if health["healthy_count"] == 3 else None

    health = until(all_known, "three healthy deployments")
    assert set(health) >= {"healthy_endpoints", "unhealthy_endpoints", "healthy_count", "unhealthy_count"}
    assert (health["unhealthy_count"], health["unhealthy_endpoints"]) == (0, [])
    assert sorted(e["model"] for e in health["healthy_endpoints"]) == [
        "azure/gpt-4o-batch-eu", "azure/gpt-4o-batch-sw", "azure/gpt-4o-batch-us"]
    assert all("api_key" not in e for e in health["healthy_endpoints"])


def test_a_deployment_with_a_wrong_key_is_unhealthy(start, sim):
    config = balanced_config(sim, accounts=["eu", "us"])
    config["model_list"][1]["litellm_params"]["api_key"] = "azure-key-wrong"
    gateway = start(config, sim=sim)
    gateway.secrets.append("azure-key-wrong")

    def both_known():
        health = gateway.get("/health").json()
        return health if (health["healthy_count"], health["unhealthy_count"]) == (1, 1) else None

    health = until(both_known, "one healthy and one unhealthy deployment")
    assert health["unhealthy_endpoints"][0]["model"] == "azure/gpt-4o-batch-us"
    assert health["unhealthy_endpoints"][0].get("error")


def test_health_asks_upstream_with_one_cheap_list(gateway, sim):
    for account in ("eu", "us", "sw"):
        sim.wait(account, "GET", "/openai/batches")
    for _ in range(20):
        gateway.get("/health")
    seen = sim.requests(probes=True)
    assert len(seen) == 3, "health storms the providers"
    assert all(r["method"] == "GET" and r["target"].startswith("/openai/batches?") and "limit=1" in r["target"] for r in seen)


def test_readiness_is_200_when_something_can_serve(gateway):
    answer = gateway.get("/health/readiness", key=None)
    assert answer.status == 200 and answer.json()["status"], answer


def test_models_lists_the_groups_once(gateway):
    for target in ("/v1/models", "/models", "/v1/models/"):
        answer = gateway.get(target).json()
        assert answer["object"] == "list"
        assert [m["id"] for m in answer["data"]] == [GROUP]
        assert {m["object"] for m in answer["data"]} == {"model"}


def test_the_sdk_lists_models(gateway):
    import openai
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY)
    assert [m.id for m in client.models.list()] == [GROUP]


def test_model_info_shows_no_secret(gateway):
    answer = gateway.get("/v1/model/info")
    assert answer.status == 200
    rows = answer.json()["data"]
    assert len(rows) == 3 and {r["model_name"] for r in rows} == {GROUP}
    assert "api_key" not in answer.body.decode() and MASTER_KEY not in answer.body.decode()


def test_answers_tell_which_deployment_served(gateway, sim):
    file = gateway.upload()
    assert file.headers.get("x-litellm-model-id"), file
    assert "127.0.0.1" in file.headers.get("x-litellm-model-api-base", ""), file
    assert file.headers.get("x-litellm-call-id"), file


def test_request_ids_are_unique(gateway):
    ids = [gateway.get("/health/liveliness").headers["x-request-id"] for _ in range(20)]
    assert len(set(ids)) == 20


def test_the_access_log_has_one_line_a_request(gateway):
    import json
    answer = gateway.get("/v1/batches?limit=1")
    line = json.loads(gateway.wait_line(r'^\{.*"' + answer.headers["x-request-id"] + '".*').group(0))
    assert (line["status"], line["method"], line["route"]) == (200, "GET", "batches.list")


LONG = "/v1/files?" + "a" * 9000


@pytest.mark.parametrize("how", [["--http1.1"], ["--http2-prior-knowledge"]], ids=["http1", "http2"])
def test_a_request_that_no_route_sees_has_an_id_and_a_line_too(gateway, how):
    import json
    import re
    import subprocess
    done = subprocess.run(["curl", "-sS", "-i", *how, gateway.url + LONG], capture_output=True, timeout=60)
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    assert " 414" in head.splitlines()[0] and json.loads(body)["error"]["message"], done
    request = re.search(r"(?im)^x-request-id: (\S+)", head).group(1)
    line = json.loads(gateway.wait_line(r'^\{.*"' + request + '".*').group(0))
    assert (line["status"], line["route"], line["http"]) == (414, "none", "1.1" if how == ["--http1.1"] else "2.0")
