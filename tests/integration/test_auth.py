"""Who may ask: the master key by either header, and no credential that crosses the gateway."""

import json
import socket

import openai
import pytest
from harness import MASTER_KEY, PATIENCE, balanced_config, envelope, lines
from wire import KINDS, make_door, wire_certificate  # noqa: F401

TARGETS = [("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/files/file-x"), ("DELETE", "/v1/files/file-x"),
           ("GET", "/v1/files/file-x/content"), ("GET", "/v1/batches"), ("POST", "/v1/batches"),
           ("GET", "/v1/batches/batch_x"), ("POST", "/v1/batches/batch_x/cancel"), ("GET", "/azure/v1/batches"),
           ("GET", "/openai/batches?api-version=2024-10-21"), ("GET", "/v1/models"), ("GET", "/health")]


@pytest.mark.parametrize("method, target", TARGETS)
@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer sk-wrong"}, {"api-key": "sk-wrong"}, {"Authorization": "Bearer "},
    {"Authorization": "Bearer"}, {"Authorization": f"Basic {MASTER_KEY}"}, {"Authorization": f"Bearer {MASTER_KEY}x"},
    {"Authorization": f"Bearer {MASTER_KEY[:-1]}"}, {"api-key": ""}, {"Authorization": "Bearer a", "api-key": "b"}],
    ids=["none", "wrong_bearer", "wrong_api_key", "empty_bearer", "bare_bearer", "basic", "longer", "shorter",
         "empty_api_key", "both_wrong"])
def test_a_missing_or_wrong_key_is_401_without_a_call(gateway, sim, method, target, headers):
    answer = gateway.request(method, target, headers=headers, key=None)
    error = envelope(answer, 401, code="invalid_api_key")
    assert "sk-wrong" not in answer.body.decode()
    assert error["type"]
    assert sim.requests() == []


@pytest.mark.parametrize("headers", [
    {"Authorization": f"Bearer {MASTER_KEY}"}, {"api-key": MASTER_KEY}, {"authorization": f"bearer {MASTER_KEY}"},
    {"Authorization": f"Bearer {MASTER_KEY}", "api-key": MASTER_KEY}, {"Authorization": f"Bearer   {MASTER_KEY}"},
    {"Authorization": "Bearer other", "api-key": MASTER_KEY}, {"Authorization": f"Bearer {MASTER_KEY}", "api-key": "other"}],
    ids=["bearer", "api_key", "lower_case", "both", "spaces", "api_key_valid", "bearer_valid"])
def test_the_master_key_is_taken_from_either_header(gateway, headers):
    assert gateway.request("GET", "/v1/batches", headers=headers, key=None).status == 200


def test_liveness_needs_no_key(gateway):
    for target in ("/health/liveliness", "/health/liveness", "/health/readiness"):
        assert gateway.get(target, key=None).status == 200


def test_without_a_master_key_anybody_is_served_and_the_log_warns(start, sim):
    config = balanced_config(sim)
    del config["general_settings"]
    gateway = start(config, sim=sim)
    assert gateway.get("/v1/batches", key=None).status == 200
    assert gateway.get("/v1/batches", key="sk-anything").status == 200
    assert "master" in gateway.wait_line(r"(?i)warn.*(master.?key|authenticat)").string.lower()


def test_the_master_key_may_come_from_the_environment(start, sim):
    config = balanced_config(sim)
    del config["general_settings"]
    gateway = start(config, sim=sim, env={"LITELLM_MASTER_KEY": MASTER_KEY})
    assert gateway.get("/v1/batches", key=None).status == 401
    assert gateway.get("/v1/batches").status == 200


def test_the_master_key_may_be_a_reference_to_the_environment(start, sim):
    config = balanced_config(sim, general_settings={"master_key": "os.environ/MY_MASTER"})
    gateway = start(config, sim=sim, env={"MY_MASTER": MASTER_KEY})
    assert gateway.get("/v1/batches", key="os.environ/MY_MASTER").status == 401
    assert gateway.get("/v1/batches").status == 200


def test_no_credential_and_nothing_of_an_sdk_crosses_the_gateway(gateway, sim):
    extra = {"api-key": MASTER_KEY, "x-stainless-lang": "python", "x-stainless-retry-count": "0", "Cookie": "session=1",
             "OpenAI-Organization": "org-client", "x-litellm-tags": "a,b",
             **{f"x-extra-{n}": "1" for n in range(20)}}
    file = gateway.uploaded(headers=dict(extra))
    batch = gateway.created(file["id"], headers=dict(extra))
    gateway.get(f"/v1/batches/{batch['id']}", headers=dict(extra))
    gateway.get(f"/v1/files/{file['id']}/content", headers=dict(extra))
    for request in sim.requests():
        text = json.dumps(request)
        assert MASTER_KEY not in text and "stainless" not in text and "session=1" not in text, request
        assert "org-client" not in text and "x-extra" not in text, request
    # that each request had the right key is known: the simulator answered 401 otherwise


def test_the_providers_cookies_and_headers_do_not_come_back(gateway):
    answer = gateway.get("/v1/batches")
    assert "set-cookie" not in answer.headers and "cf-ray" not in answer.headers
    assert "transfer-encoding" not in answer.headers or "content-length" not in answer.headers


def test_a_wrong_provider_key_is_the_gateways_fault_not_the_clients(start, sim):
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"][0]["litellm_params"]["api_key"] = "azure-key-rotated-away"
    gateway = start(config, sim=sim)
    gateway.secrets.append("azure-key-rotated-away")
    envelope(gateway.upload(), 502, code="upstream_auth")
    envelope(gateway.get("/v1/batches"), 502, code="upstream_auth")


def test_a_large_upload_with_a_wrong_key_sees_its_401(gateway, sim):
    answer = gateway.upload(lines(count=10_000), key="sk-wrong")
    envelope(answer, 401, code="invalid_api_key")
    assert sim.requests() == []


def test_a_client_that_waits_for_100_continue_gets_its_401_instead(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as s:
        s.sendall(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-wrong\r\nExpect: 100-continue\r\n"
                  b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000000\r\n\r\n")
        assert s.recv(64).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("megabytes", [1, 30])
def test_an_sdk_that_uploads_with_a_wrong_key_sees_an_authentication_error(gateway, megabytes):
    """An early answer must not look like a broken connection to somebody who is still sending."""
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key="sk-wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError):
        client.files.create(file=("requests.jsonl", b"x" * (megabytes << 20)), purpose="batch")


@pytest.mark.parametrize("kind", KINDS)
def test_two_authorization_headers_are_refused(make_door, kind):
    """A proxy in front may have looked at the other one; an api-key header beside one is another matter (old SDKs)."""
    door = make_door(kind)
    for one, other in ((MASTER_KEY, MASTER_KEY), (MASTER_KEY, "sk-other"), ("sk-other", MASTER_KEY)):
        answer = door.call("GET", "/v1/models", {"authorization": f"Bearer {other}"}, key=one).answer()
        envelope(answer, 400, code="invalid_header")
    assert door.call("GET", "/v1/models", {"api-key": MASTER_KEY}).answer().status == 200


def test_readiness_without_a_key_names_no_version(start, sim):
    for config in (balanced_config(sim), {k: v for k, v in balanced_config(sim).items() if k != "general_settings"}):
        gateway = start(config, sim=sim)
        for target in ("/health/readiness", "/health/liveliness"):
            for key in (None, "sk-wrong"):
                answer = gateway.get(target, key=key)
                assert answer.status == 200
                assert "version" not in answer.body.decode() + repr(answer.headers)
    gateway = start(balanced_config(sim), sim=sim)
    assert gateway.get("/health/readiness").json()["tranche_version"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_by_the_head_alone_has_the_headers_of_all_answers(make_door, kind):
    """Who looks for x-request-id or Date finds them on a 400 of the parser, too."""
    door = make_door(kind)
    usual = door.call("GET", "/v1/nothing").answer()
    refused = door.call("GET", "/v1/" + "x" * 9000).answer()
    assert (usual.status, refused.status) == (404, 414)
    missing = set(usual.headers) - set(refused.headers) - {"connection", "keep-alive"}
    assert not missing, missing
    assert refused.headers["x-request-id"] == refused.headers["x-litellm-call-id"]
