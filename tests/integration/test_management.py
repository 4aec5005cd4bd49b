"""The management API over the real program: who may call it, and what LiteLLM's scripts get."""

import contextlib
import hashlib
import json
import os
import signal

import pytest
from harness import GROUP, MASTER_KEY, balanced_config, envelope, keeper_of, lines, until
from postgres import empty
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
    os.kill(keeper_of(gateway), signal.SIGKILL)
    until(lambda: gateway.request("GET", "/key/info", key=KEYS["a1"]).status == 200, "the next keeper answers")


# --- with a database ---


@pytest.fixture
def managed(start, sim, url):
    return with_its_database(start(balanced_config(sim, tranche_settings={"database": url}), sim=sim, workers=2))


def with_its_database(gateway):
    """Once its tables are made: on a busy machine that takes longer than a question may."""
    until(lambda: gateway.get("/health/readiness").json()["db"] == "connected", "the database is up")
    return gateway


def made(gateway, **body):
    return body_of(post(gateway, "/key/generate", body))


def polls(gateway, key):
    return gateway.request("GET", "/v1/batches", key=key).status


def test_a_generated_key_works_in_each_worker_when_its_maker_hears_of_it(managed):
    for n in range(8):  # connections of their own: now one worker, now the other one
        key = made(managed, key_alias=f"k{n}", models=[GROUP])["key"]
        assert polls(managed, key) == 200
    file = managed.uploaded(lines(), key=key)
    assert managed.get(f"/v1/files/{file['id']}", key=key).status == 200


def test_what_an_administrator_changes_holds_at_once(managed):
    key = made(managed, models=[GROUP])
    secret, digest = key["key"], key["token"]
    assert polls(managed, secret) == 200
    assert body_of(post(managed, "/key/block", {"key": digest}))["blocked"] is True
    assert [polls(managed, secret) for _ in range(4)] == [401] * 4
    body_of(post(managed, "/key/unblock", {"key": secret}))
    assert [polls(managed, secret) for _ in range(4)] == [200] * 4
    body_of(post(managed, "/key/update", {"key": digest, "models": ["another-group"]}))
    assert managed.upload(lines(), key=secret).status == 403
    body_of(post(managed, "/key/update", {"key": digest, "models": [], "duration": "1s"}))
    until(lambda: polls(managed, secret) == 401, "the key expires")
    assert envelope(managed.request("GET", "/v1/batches", key=secret), 401)["type"] == "expired_key"
    body_of(post(managed, "/key/delete", {"keys": [digest]}))
    assert envelope(managed.request("GET", "/v1/batches", key=secret), 401)["type"] == "token_not_found_in_db"


def test_a_regenerated_key_owns_what_the_one_before_made(managed):
    key = made(managed, models=[GROUP])
    file = managed.uploaded(lines(), key=key["key"])
    again = body_of(post(managed, "/key/regenerate", {"key": key["key"], "grace_period": "1h"}))
    assert again["key"] != key["key"]
    for secret in (again["key"], key["key"]):  # the old one has its grace
        assert managed.get(f"/v1/files/{file['id']}", key=secret).status == 200
    last = body_of(post(managed, "/key/regenerate", {"key": again["key"]}))
    assert managed.get(f"/v1/files/{file['id']}", key=last["key"]).status == 200
    assert polls(managed, again["key"]) == 401


def test_teams_are_made_limited_blocked_and_deleted(managed):
    team = body_of(post(managed, "/team/new", {"team_alias": "Team One", "models": [GROUP]}))["team_id"]
    one, two = (made(managed, team_id=team)["key"] for _ in range(2))
    file = managed.uploaded(lines(), key=one)
    assert managed.get(f"/v1/files/{file['id']}", key=two).status == 200
    body_of(post(managed, "/team/update", {"team_id": team, "batch_enqueued_token_limit": 1}))
    refused = managed.post("/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}, key=one)
    assert "enqueued" in envelope(refused, 400)["message"]
    body_of(post(managed, "/team/block", {"team_id": team}))
    assert [polls(managed, key) for key in (one, two)] == [401, 401]
    body_of(post(managed, "/team/unblock", {"team_id": team}))
    assert len(body_of(managed.get(f"/team/info?team_id={team}"))["keys"]) == 2
    body_of(post(managed, "/team/delete", {"team_ids": [team]}))
    assert [polls(managed, key) for key in (one, two)] == [401, 401]


def test_keys_outlive_the_gateway_and_no_secret_is_kept(start, sim, url, tmp_path):
    first = with_its_database(start(balanced_config(sim, tranche_settings={"database": url}), sim=sim))
    secret = made(first, key_alias="stays")["key"]
    first.stop()
    second = start(balanced_config(sim, tranche_settings={"database": url}), sim=sim)
    assert polls(second, secret) == 200
    assert secret not in first.log and secret not in second.log
    for path in tmp_path.rglob("*.db*"):
        with contextlib.suppress(FileNotFoundError):  # a journal of SQLite's that has gone meanwhile
            assert secret.encode() not in path.read_bytes()


def test_a_database_that_stands_still_is_told_and_nothing_is_sent_twice(start, sim, cluster):
    gateway = with_its_database(start(balanced_config(sim, tranche_settings={"database": empty(cluster).url, "timeouts": {"database_ms": "2s"}}), sim=sim))
    secret = made(gateway)["key"]
    cluster.send(signal.SIGSTOP)
    try:
        answer = post(gateway, "/key/generate", {})
        assert envelope(answer, 503)["type"] == "no_db_connection"
        assert polls(gateway, secret) == 200
    finally:
        cluster.send(signal.SIGCONT)
    until(lambda: post(gateway, "/key/generate", {}).status == 200, "the database is used again")


def test_after_an_upgrade_the_keys_of_a_database_are_served_at_once(managed):
    secret = made(managed)["key"]
    managed.send(signal.SIGUSR2)
    successor = int(managed.wait_line(r"new program started, pid (\d+)").group(1))
    try:
        seen = set()
        until(lambda: seen.add(polls(managed, secret)) or managed.popen.poll() is not None, "the old program has ended")
        assert seen == {200}
        until(lambda: post(managed, "/key/generate", {}).status == 200, "the new program may change the database")
    finally:
        os.kill(successor, signal.SIGTERM)
    assert managed.wait_output_end(), "the successor did not end"
