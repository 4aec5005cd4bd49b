"""The management API over the real program: who may call it, and what LiteLLM's scripts get."""

import hashlib
import json
import os
import signal

import pytest
from harness import MASTER_KEY, balanced_config, envelope, until
from test_keys_reload import pid_of_keeper
from tenants import KEYS, entry, hash_of, tenant_config, tenant_settings, tenants  # noqa: F401


def keys_in_a_file(sim, tmp_path):
    """The keys of tenants.py, in a file of their own."""
    settings = tenant_settings()
    file = tmp_path / "keys.yaml"
    file.write_text(json.dumps({"keys": settings.pop("keys"), "teams": settings.pop("teams")}))
    config = tenant_config(sim)
    config["tranche_settings"] = {k: v for k, v in config["tranche_settings"].items() if k not in ("keys", "teams")}
    config["tranche_settings"].update(settings, keys_file=str(file))
    return config


@pytest.fixture
def gateway(tenants, sim, tmp_path):  # noqa: F811
    return tenants(config=keys_in_a_file(sim, tmp_path))


def body_of(answer, status=200):
    assert answer.status == status, answer
    return answer.json()


def post(gateway, path, body, key=MASTER_KEY):
    return gateway.request("POST", path, json.dumps(body), headers={"Content-Type": "application/json"}, key=key)


def test_a_key_reads_itself_and_no_other(gateway):
    own = body_of(gateway.request("GET", "/key/info", key=KEYS["a1"]))
    assert own["info"]["key_alias"] == "alias-a1" and own["info"]["team_id"] == "team-a"
    assert own["info"]["key_name"] == f"sk-...{KEYS['a1'][-4:]}"
    assert KEYS["a1"] not in json.dumps(own)
    other = gateway.request("GET", f"/key/info?key={hash_of(KEYS['b1'])[7:]}", key=KEYS["a1"])
    assert envelope(other, 403)["type"] == "auth_error"
    for name in ("admin", "master"):
        info = body_of(gateway.request("GET", f"/key/info?key={KEYS['b1']}", key=KEYS[name]))
        assert info["info"]["key_alias"] == "alias-b1"
    assert gateway.request("GET", "/key/info", key=MASTER_KEY).status == 400
    assert gateway.request("GET", "/key/info?key=sk-nobody-has-this-key-0001", key=MASTER_KEY).status == 404


def test_a_tenant_may_manage_nothing(gateway):
    for path in ("/key/generate", "/key/update", "/key/delete", "/key/block", "/team/new", "/key/anything/regenerate"):
        answer = post(gateway, path, {}, KEYS["a1"])
        assert answer.status == 403, answer
    assert gateway.request("GET", "/key/list", key=KEYS["a1"]).status == 403
    assert gateway.request("GET", "/key/list", key=None).status == 401


def test_without_a_database_keys_are_only_read(gateway):
    error = envelope(post(gateway, "/key/generate", {"key_alias": "x"}), 400)
    assert error["type"] == "no_db_connection" and error["code"] == "400" and "tranche_settings.database" in error["message"]
    key = hashlib.sha256(KEYS["a1"].encode()).hexdigest()
    assert "keys.yaml" in envelope(post(gateway, "/key/block", {"key": key}), 409)["message"]


def test_what_is_no_route_is_none(gateway):
    assert post(gateway, "/key/nothing/of/that", {}).status == 404
    assert gateway.request("GET", "/key/generate", key=MASTER_KEY).status == 405
    assert gateway.request("DELETE", "/key/list", key=MASTER_KEY).status == 405


def test_a_malformed_body_is_told_in_both_forms(gateway):
    answer = gateway.request("POST", "/key/generate", "{", headers={"Content-Type": "application/json"}, key=MASTER_KEY)
    body = body_of(answer, 422)
    assert body["error"]["code"] == "422" and body["detail"][0]["loc"][0] == "body"
    answer = gateway.request("POST", "/key/generate", "x" * 200_000, key=MASTER_KEY)
    assert answer.status == 413, answer


def test_answers_are_kept_by_nobody(gateway):
    assert gateway.request("GET", "/key/info", key=KEYS["a1"]).headers["cache-control"] == "no-store"


def test_a_gateway_without_keys_has_nothing_to_manage(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    for path in ("/key/info", "/key/list", "/team/list"):
        assert envelope(gateway.request("GET", path), 404)["code"] == "unknown_url"


def test_a_keeper_that_was_killed_answers_again(gateway):
    assert gateway.request("GET", "/key/info", key=KEYS["a1"]).status == 200
    until(lambda: pid_of_keeper(gateway), "the keeper")
    os.kill(pid_of_keeper(gateway), signal.SIGKILL)
    until(lambda: gateway.request("GET", "/key/info", key=KEYS["a1"]).status == 200, "the next keeper answers")
