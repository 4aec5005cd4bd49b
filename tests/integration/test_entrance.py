"""How clients come in: headers for the key, a path before all routes, pages of other origins, and what is told of models."""

import pytest
from harness import MASTER_KEY, azure_deployment, balanced_config, envelope

PAGE = "https://app.example"


@pytest.mark.parametrize("header", ["x-litellm-api-key", "x-api-key", "x-goog-api-key", "Ocp-Apim-Subscription-Key", "api-key"])
@pytest.mark.parametrize("prefix", ["", "Bearer "])
def test_the_key_is_taken_from_where_litellms_clients_put_it(gateway, header, prefix):
    assert gateway.get("/v1/models", key=None, headers={header: prefix + MASTER_KEY}).status == 200
    envelope(gateway.get("/v1/models", key=None, headers={header: prefix + "wrong"}), 401)


def test_the_operators_own_header_for_the_key(start, sim):
    config = balanced_config(sim)
    config["general_settings"]["litellm_key_header_name"] = "X-Our-Key"
    gateway = start(config, sim=sim)
    assert gateway.get("/v1/models", key=None, headers={"x-our-key": "Bearer " + MASTER_KEY}).status == 200
    envelope(gateway.get("/v1/models", key=None, headers={"x-their-key": MASTER_KEY}), 401)


def test_no_such_header_goes_to_a_provider(gateway, sim):
    gateway.uploaded(key=None, headers={"x-litellm-api-key": MASTER_KEY, "x-goog-api-key": MASTER_KEY})
    assert MASTER_KEY not in str(sim.requests())


def test_routes_are_found_below_server_root_path(start, sim):
    gateway = start(balanced_config(sim), sim=sim, env={"SERVER_ROOT_PATH": "/llm/"})
    file = gateway.upload(target="/llm/v1/files")
    assert file.status == 200, file
    assert gateway.get(f"/llm/v1/files/{file.json()['id']}").status == 200
    assert gateway.get(f"/v1/files/{file.json()['id']}").status == 200  # a proxy in front may have cut it off
    assert gateway.get("/llm/health/liveliness", key=None).status == 200
    for path in ("/llmx/v1/models", "/llm"):
        envelope(gateway.get(path), 404)


def test_pages_of_other_origins_may_not_call_unless_configured(gateway):
    answer = gateway.request("OPTIONS", "/v1/files", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"}, key=None)
    assert answer.status in (401, 405) and not [h for h in answer.headers if h.startswith("access-control")], answer
    assert "access-control-allow-origin" not in gateway.get("/v1/models", headers={"Origin": PAGE}).headers


def test_a_configured_page_may_call_and_another_may_not(start, sim):
    config = balanced_config(sim, tranche_settings={"cors_origins": [PAGE, "http://localhost:3000"]})
    gateway = start(config, sim=sim)
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    answer = gateway.request("OPTIONS", "/v1/files", headers={"Origin": PAGE, **asked}, key=None)
    assert answer.status == 204 and answer.body == b"", answer
    assert not {"content-length", "content-type", "transfer-encoding"} & set(answer.headers), "a 204 has no content (RFC 9110 8.6)"
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in answer.headers["access-control-allow-methods"] and answer.headers["vary"] == "origin"
    answer = gateway.get("/v1/models", headers={"Origin": "http://localhost:3000"})
    assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    refused = gateway.get("/v1/models", headers={"Origin": PAGE}, key="wrong")  # the page may read why
    assert refused.status == 401 and refused.headers["access-control-allow-origin"] == PAGE
    for origin in ("https://app.example.evil", "https://app.exampl", "null"):
        answer = gateway.request("OPTIONS", "/v1/files", headers={"Origin": origin, **asked}, key=None)
        assert answer.status != 204 and "access-control-allow-origin" not in answer.headers, answer
        assert "access-control-allow-origin" not in gateway.get("/v1/models", headers={"Origin": origin}).headers


def test_one_model_is_shown_also_one_that_a_pattern_takes(start, sim):
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"].append(azure_deployment(sim, "us", group="azure/*", model="azure/*"))
    gateway = start(config, sim=sim)
    assert gateway.get("/v1/models/gpt-4o-batch").json() == {"id": "gpt-4o-batch", "object": "model", "created": 1677610602, "owned_by": "openai"}
    assert gateway.get("/v1/models/azure/gpt-4o").json()["id"] == "azure/gpt-4o"
    assert gateway.get("/models/azure%2Fgpt-4o").json()["id"] == "azure/gpt-4o"
    envelope(gateway.get("/v1/models/nobody"), 404, code="model_not_found")
    envelope(gateway.get("/v1/models/gpt-4o-batch", key="wrong"), 401)


def test_groups_are_summed_up_as_litellm_does(start, sim):
    config = balanced_config(sim, accounts=["eu", "us"])
    for row in config["model_list"]:
        row["litellm_params"].update(rpm=10, tpm=1000)
    gateway = start(config, sim=sim)
    for path in ("/model_group/info", "/v1/model_group/info"):
        data = gateway.get(path).json()["data"]
        assert data == [{"model_group": "gpt-4o-batch", "providers": ["azure"], "mode": "batch", "rpm": 20, "tpm": 2000,
                         "num_deployments": 2}], data


@pytest.mark.parametrize("origins, status", [([PAGE], 200), (["*"], 403), ([], 403)])
def test_without_a_key_only_a_page_that_is_named_may_call(start, sim, origins, status):
    config = balanced_config(sim, tranche_settings={"cors_origins": origins})
    del config["general_settings"]
    gateway = start(config, sim=sim)
    assert gateway.get("/v1/models", key=None, headers={"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}).status == status
