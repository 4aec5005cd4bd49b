"""Every form of a URL that clients of OpenAI, Azure OpenAI and LiteLLM use means the same thing, and nothing redirects."""

import json
from urllib.parse import quote

import pytest
from harness import MASTER_KEY, PROVIDER_KEYS, DEPLOYMENTS, azure_account, azure_deployment, direct_config, envelope, lines

OPENAI_PREFIXES = ["", "/v1", "/openai/v1", "/openai"]
AZURE_PREFIXES = ["/azure/v1", "/azure"]
SLASHES = ["", "/"]


def owners(sim):
    return {name: sim.ledger(name)["creates"]["files"] for name in ("eu", "oai")}


@pytest.mark.parametrize("slash", SLASHES, ids=["plain", "trailing_slash"])
@pytest.mark.parametrize("prefix", OPENAI_PREFIXES)
def test_a_plain_or_openai_path_is_served_by_openai(direct, sim, prefix, slash):
    flow_over(direct, sim, prefix, slash, "", "oai", "gpt-4o-mini")


@pytest.mark.parametrize("slash", SLASHES, ids=["plain", "trailing_slash"])
@pytest.mark.parametrize("prefix", AZURE_PREFIXES)
def test_an_azure_path_is_served_by_azure(direct, sim, prefix, slash):
    flow_over(direct, sim, prefix, slash, "", "eu", DEPLOYMENTS["eu"])


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_query_names_the_provider(direct, sim, prefix):
    flow_over(direct, sim, prefix, "", "provider=azure", "eu", DEPLOYMENTS["eu"])


def test_the_query_names_litellms_provider_parameter(direct, sim):
    flow_over(direct, sim, "/v1", "", "custom_llm_provider=azure", "eu", DEPLOYMENTS["eu"])


@pytest.mark.parametrize("shape", ["/openai", "/openai/deployments/gpt-4o-batch-eu"])
def test_azure_sdk_shapes_are_served_by_azure(direct, sim, shape):
    flow_over(direct, sim, shape, "", "api-version=2024-10-21", "eu", DEPLOYMENTS["eu"])


@pytest.mark.parametrize("prefix", ["/openai/v1", "/openai"])
def test_azures_v1_path_is_served_by_azure_where_there_is_no_openai(start, sim, prefix):
    """Azure's v1 API is below /openai/v1 and wants no api-version: the same path as that of the provider OpenAI."""
    config = direct_config(sim)
    del config["files_settings"][1]
    gateway = start(config, sim=sim)
    flow_over(gateway, sim, prefix, "", "", "eu", DEPLOYMENTS["eu"])
    error = envelope(gateway.get("/v1/files?provider=openai"), 400)
    assert "no credentials for provider 'openai'" in error["message"]


def flow_over(gateway, sim, prefix, slash, query, account, model):
    """All nine calls over one form of URL, with the object counted at the right provider."""
    def target(path, more=""):
        joined = "&".join(q for q in (query, more) if q)
        return f"{prefix}{path}{slash}" + (f"?{joined}" if joined else "")

    file = gateway.uploaded(lines(model), target=target("/files"))
    assert file["id"] in [f["id"] for f in sim.ledger(account)["files"]]
    assert gateway.get(target(f"/files/{file['id']}")).json()["id"] == file["id"]
    assert gateway.get(target(f"/files/{file['id']}/content")).body == lines(model)
    assert file["id"] in [f["id"] for f in gateway.get(target("/files")).json()["data"]]
    batch = gateway.created(file["id"], target=target("/batches"))
    assert batch["id"] in [b["id"] for b in sim.ledger(account)["batches"]]
    assert gateway.get(target(f"/batches/{batch['id']}")).json()["id"] == batch["id"]
    listed = gateway.get(target("/batches", "limit=5")).json()
    assert [b["id"] for b in listed["data"]] == [batch["id"]]
    cancelled = gateway.post(target(f"/batches/{batch['id']}/cancel"))
    assert cancelled.status == 200 and cancelled.json()["status"] == "cancelling"
    deleted = gateway.delete(target(f"/files/{file['id']}"))
    assert deleted.json() == {"id": file["id"], "object": "file", "deleted": True}
    other = "oai" if account == "eu" else "eu"
    assert sim.ledger(other)["creates"] == {"files": 0, "batches": 0}


def test_the_header_names_the_provider(direct, sim):
    header = {"custom-llm-provider": "azure"}
    file = direct.uploaded(lines(DEPLOYMENTS["eu"]), headers=header)
    batch = direct.created(file["id"], headers=header)
    assert direct.get(f"/v1/batches/{batch['id']}", headers=header).json()["id"] == batch["id"]
    assert owners(sim) == {"eu": 1, "oai": 0}


def test_the_form_and_the_json_body_name_the_provider(direct, sim):
    file = direct.uploaded(lines(DEPLOYMENTS["eu"]), fields={"custom_llm_provider": "azure"})
    batch = direct.created(file["id"], custom_llm_provider="azure")
    assert owners(sim) == {"eu": 1, "oai": 0}
    assert batch["id"] in [b["id"] for b in sim.ledger("eu")["batches"]]


def test_a_form_field_after_the_file_names_the_provider_too(direct, sim):
    file = direct.uploaded(lines(DEPLOYMENTS["eu"]), fields={"custom_llm_provider": "azure"}, file_first=True)
    assert file["id"] in [f["id"] for f in sim.ledger("eu")["files"]]


def test_a_get_may_carry_the_provider_in_a_json_body(direct, sim):
    """LiteLLM's client sends its parameters in the body of a GET."""
    file = direct.uploaded(lines(DEPLOYMENTS["eu"]), target="/azure/v1/files")
    batch = direct.created(file["id"], target="/azure/v1/batches")
    body = {"custom_llm_provider": "azure"}
    assert direct.request("GET", f"/v1/batches/{batch['id']}", body).json()["id"] == batch["id"]
    assert [b["id"] for b in direct.request("GET", "/v1/batches", body).json()["data"]] == [batch["id"]]
    assert direct.request("GET", f"/v1/files/{file['id']}", body).json()["id"] == file["id"]
    assert direct.request("GET", f"/v1/files/{file['id']}/content", body).body == lines(DEPLOYMENTS["eu"])


def test_the_path_wins_over_the_header_and_the_body(direct, sim):
    file = direct.uploaded(lines("gpt-4o-mini"), target="/openai/v1/files", headers={"custom-llm-provider": "azure"},
                           fields={"custom_llm_provider": "azure"})
    assert file["id"] in [f["id"] for f in sim.ledger("oai")["files"]]


def test_the_query_wins_over_the_header(direct, sim):
    file = direct.uploaded(lines(DEPLOYMENTS["eu"]), target="/v1/files?provider=azure",
                           headers={"custom-llm-provider": "openai"})
    assert file["id"] in [f["id"] for f in sim.ledger("eu")["files"]]


def test_an_unknown_provider_is_refused_without_a_call(direct, sim):
    error = envelope(direct.get("/v1/batches?provider=vertex_ai"), 400)
    assert "vertex_ai" in error["message"]
    assert sim.requests() == []


def test_percent_escapes_in_ids_are_decoded_once(gateway, sim):
    file = gateway.uploaded()
    escaped = "".join(f"%{b:02X}" for b in file["id"].encode())
    assert gateway.get(f"/v1/files/{escaped}").json()["id"] == file["id"]
    twice = quote(escaped, safe="")
    assert gateway.get(f"/v1/files/{twice}").status == 404


@pytest.mark.parametrize("bad", ["%2e%2e", "..%2f..", "file%2f..%2fsecret", "%00", "a%00b", "%zz", "%", "file%0d%0aX:1",
                                 "a%20b", "%ff%fe", "x" * 600])
def test_ids_that_no_provider_hands_out_are_404_without_a_call(gateway, sim, bad):
    before = len(sim.requests())
    for target in (f"/v1/files/{bad}", f"/v1/files/{bad}/content", f"/v1/batches/{bad}"):
        answer = gateway.get(target)
        assert answer.status in (400, 404), answer
    assert len(sim.requests()) == before


@pytest.mark.parametrize("target", ["/", "/v2/files", "/v1/file", "/v1/files/a/b", "/v1/files/a/content/b", "/v1//files",
                                    "/v1/batches/a/cancel/b", "/v1/chat/completions", "/openai/openai/v1/files",
                                    "/v1/uploads/x", "/favicon.ico", "/v1"])
def test_an_unknown_route_is_404_in_the_envelope(gateway, target):
    assert envelope(gateway.get(target), 404)["type"] == "invalid_request_error"


@pytest.mark.parametrize("method, target, allow", [
    ("PUT", "/v1/files", {"GET", "HEAD", "POST"}), ("PATCH", "/v1/batches", {"GET", "HEAD", "POST"}),
    ("DELETE", "/v1/batches", {"GET", "HEAD", "POST"}), ("POST", "/v1/files/file-x", {"GET", "HEAD", "DELETE"}),
    ("DELETE", "/v1/files/file-x/content", {"GET", "HEAD"}), ("DELETE", "/v1/batches/batch_x", {"GET", "HEAD"}),
    ("GET", "/v1/batches/batch_x/cancel", {"POST"}), ("POST", "/health", {"GET", "HEAD"}),
    ("POST", "/v1/models", {"GET", "HEAD"}), ("OPTIONS", "/v1/files", {"GET", "HEAD", "POST"})])
def test_a_wrong_method_is_405_and_says_what_is_allowed(gateway, sim, method, target, allow):
    answer = gateway.request(method, target)
    envelope(answer, 405)
    assert {m.strip() for m in answer.headers["allow"].split(",")} == allow
    assert sim.requests() == []


def test_head_answers_like_get_without_a_body(gateway):
    file = gateway.uploaded()
    for target in (f"/v1/files/{file['id']}", "/v1/batches", "/v1/models", "/health/liveliness", f"/v1/files/{file['id']}/content"):
        answer = gateway.request("HEAD", target)
        assert (answer.status, answer.body) == (200, b""), (target, answer)
    assert gateway.request("HEAD", "/v1/files/file-unknown").status == 404


def test_a_cancel_takes_every_way_of_sending_nothing(gateway):
    file = gateway.uploaded()
    for headers, body in [({}, None), ({"Content-Length": "0"}, None), ({"Content-Type": "application/json"}, None),
                          ({"Content-Type": "application/json"}, "{}"),
                          ({"Content-Type": "application/json", "Content-Length": "0"}, None)]:
        batch = gateway.created(file["id"])
        answer = gateway.post(f"/v1/batches/{batch['id']}/cancel", body, headers=headers)
        assert answer.status == 200 and answer.json()["status"] == "cancelling", (headers, answer)


def test_the_model_in_the_query_or_a_header_picks_the_group(start, sim):
    config = {"model_list": [azure_deployment(sim, "eu", group="night"), azure_deployment(sim, "us", group="day")],
              "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
              "general_settings": {"master_key": MASTER_KEY}}
    gateway = start(config, sim=sim)
    gateway.uploaded(lines("day"))
    assert (sim.ledger("eu")["creates"]["files"], sim.ledger("us")["creates"]["files"]) == (0, 1)
    gateway.uploaded(lines("night"))
    assert (sim.ledger("eu")["creates"]["files"], sim.ledger("us")["creates"]["files"]) == (1, 1)


def test_an_unknown_model_is_refused_and_nothing_is_uploaded(gateway, sim):
    error = envelope(gateway.upload(lines("gpt-does-not-exist")), 400)
    assert "gpt-does-not-exist" in error["message"]
    assert sim.created("files") == 0


@pytest.mark.parametrize("limit, status", [("1", 200), ("100", 200), ("0", 200), ("101", 400), ("-1", 400), ("abc", 400)])
def test_limits_of_a_batch_list_are_openais(gateway, limit, status):
    answer = gateway.get(f"/v1/batches?limit={limit}")
    assert answer.status == status, answer
    if status == 200:
        assert answer.json() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    else:
        envelope(answer, 400, param="limit")
