"""Tokens of an issuer in place of keys: who speaks by one, and what is refused."""

import hashlib
import json
import os
import signal
import subprocess
import time

import openai
import pytest
from harness import GROUP, MASTER_KEY, PATIENCE, balanced_config, envelope, keeper_of, lines, until
from jwt_issuer import AUDIENCE, ISSUER, Issuer, Key, b64

RSA, PSS, EC, STRANGE = Key("r1"), Key("p1", "PS256"), Key("e1", "ES256"), Key("r1")


@pytest.fixture
def issuer():
    made = Issuer(RSA, PSS, EC)
    yield made
    made.close()


def config_of(sim, url, rules=None, teams=None, **more):
    jwt = {"issuer": ISSUER, "audience": AUDIENCE, **({"jwks_url": url} if url else {}), **more}
    config = balanced_config(sim)
    config["general_settings"].update(enable_jwt_auth=True, litellm_jwtauth=rules or {
        "team_id_jwt_field": "team", "team_ids_jwt_field": "realm.groups", "user_id_jwt_field": "sub"})
    config.setdefault("tranche_settings", {}).update(jwt=jwt, teams=teams or [
        {"team_id": "red", "models": [GROUP]}, {"team_id": "blue", "models": ["*"]}, {"team_id": "poor", "models": ["other"]},
        {"team_id": "closed", "models": ["*"], "blocked": True}])
    return config


@pytest.fixture
def jwt(start, sim, issuer):
    return start(config_of(sim, issuer.url), sim=sim)


def refused(answer, status, text):
    error = envelope(answer, status)
    assert error["type"] == "auth_error" and error["param"] == "None" and error["code"] == str(status)
    assert text in error["message"]
    return error


@pytest.mark.parametrize("key", [RSA, PSS, EC], ids=["RS256", "PS256", "ES256"])
def test_a_token_of_a_team_is_a_key(jwt, sim, key):
    token = key.token(team="red")
    assert jwt.get("/v1/batches", key=token).status == 200
    assert jwt.get("/v1/batches", headers={"api-key": token}, key=None).status == 200
    uploaded = jwt.upload(lines(), key=token)
    assert uploaded.status == 200, uploaded
    made = jwt.post("/v1/batches", {"input_file_id": uploaded.json()["id"], "endpoint": "/v1/chat/completions",
                                    "completion_window": "24h"}, key=token)
    assert made.status == 200, made


def test_the_log_tells_users_apart_and_names_none(jwt):
    assert jwt.get("/v1/batches", key=RSA.token(team="red", sub="ann@tenant.example")).status == 200
    number = hashlib.sha256(b"ann@tenant.example").hexdigest()[:12]
    assert jwt.wait_line(rf'^\{{.*"key":"user-{number}","team":"red"\}}$')
    assert "ann@" not in jwt.log


def test_what_a_token_made_is_its_teams(jwt, sim):
    file_id = jwt.upload(lines(), key=RSA.token(team="red")).json()["id"]
    assert jwt.get(f"/v1/files/{file_id}", key=EC.token(team="red", sub="another")).status == 200
    assert jwt.get(f"/v1/files/{file_id}", key=RSA.token(team="blue")).status == 404


def test_a_token_opens_no_model_that_its_team_may_not_use(jwt, sim):
    answer = jwt.upload(lines(), key=RSA.token(team="poor"))
    assert answer.status == 403 and answer.json()["error"]["type"] == "team_model_access_denied"
    assert [model["id"] for model in jwt.get("/v1/models", key=RSA.token(team="red")).json()["data"]] == [GROUP]


def test_the_header_picks_a_team_that_the_token_names(jwt, sim):
    token = RSA.token(realm={"groups": ["nowhere", "red", "blue"]})
    file_id = jwt.upload(lines(), key=token).json()["id"]
    assert jwt.get(f"/v1/files/{file_id}", key=token, headers={"x-litellm-team-id": "red"}).status == 200
    assert jwt.get(f"/v1/files/{file_id}", key=token, headers={"x-litellm-team-id": "blue"}).status == 404
    answer = jwt.get("/v1/files", key=token, headers={"x-litellm-team-id": "poor"})
    refused(answer, 403, "the team of the header x-litellm-team-id is not one that the token names")


def test_a_token_without_a_known_team_is_refused(jwt, sim):
    for claims in ({}, {"team": "unknown"}, {"realm": {"groups": ["unknown"]}}):
        refused(jwt.get("/v1/files", key=RSA.token(**claims)), 403, "none of the teams that it names is known here")
    answer = envelope(jwt.get("/v1/files", key=RSA.token(team="closed")), 401)
    assert answer["message"].startswith("Authentication Error, Team=closed is blocked.")
    assert sim.requests() == []


def test_an_administrators_token_sees_all(jwt, sim):
    admin = RSA.token(scope="openid litellm_proxy_admin")
    file_id = jwt.upload(lines()).json()["id"]
    assert jwt.get(f"/v1/files/{file_id}", key=admin).status == 200
    assert jwt.get("/health", key=admin).status == 200
    assert jwt.upload(lines(), key=admin).status == 200
    assert jwt.get("/health", key=RSA.token(team="red", scope="litellm_proxy_admins")).status == 403


def forged_none():
    text = RSA.token(team="red").rsplit(".", 1)[0].split(".")[1]
    return b64(json.dumps({"alg": "none", "kid": "r1"})) + "." + text + "."


BAD = {
    "forged": (lambda: STRANGE.token(team="red"), "the token has a wrong signature"),
    "none": (forged_none, "the token is not signed with RS256, PS256 or ES256"),
    "hs256": (lambda: RSA.token(header={"alg": "HS256"}, team="red"), "the token is not signed with RS256, PS256 or ES256"),
    "other_alg": (lambda: RSA.token(header={"alg": "PS256"}, team="red"), "the token has a wrong signature"),
    "issuer": (lambda: RSA.token(iss="https://other", team="red"), "the token is of another issuer"),
    "audience": (lambda: RSA.token(aud="other", team="red"), "the token is for another audience"),
    "no_audience": (lambda: RSA.token(aud=None, team="red"), "the token is for another audience"),
    "no_end": (lambda: RSA.token(exp=None, team="red"), "the token never expires"),
    "early": (lambda: RSA.token(nbf=int(time.time()) + 600, team="red"), "the token is not valid yet"),
    "crit": (lambda: RSA.token(header={"crit": ["exp"]}, team="red"), "the token asks for extensions"),
    "type": (lambda: RSA.token(header={"typ": "logout+jwt"}, team="red"), "the token is of another type"),
    "team": (lambda: RSA.token(team=["red"]), "the token is malformed"),
    "large": (lambda: RSA.token(team="red", x="y" * 7000), "the token is malformed"),
    "dots": (lambda: "a.b.c", "the token is malformed"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_token_that_is_not_good_is_refused_and_not_repeated(jwt, sim, name):
    make, text = BAD[name]
    token = make()
    for _ in range(2):
        answer = jwt.get("/v1/files", key=token)
        error = refused(answer, 401, text)
        assert error["message"].startswith("Authentication Error, Validation fails: ")
        assert token.split(".")[1] not in answer.body.decode()
    assert jwt.upload(lines(), key=token).status == 401
    assert sim.requests() == []
    assert token not in jwt.log


def test_a_token_that_has_expired_is_refused(jwt, sim):
    now = int(time.time())
    refused(jwt.get("/v1/files", key=RSA.token(team="red", exp=now - 61)), 401, "Authentication Error, Token Expired")
    assert jwt.get("/v1/files", key=RSA.token(team="red", exp=now - 1)).status == 200  # clocks may differ by a minute


def test_the_master_key_is_one_as_before(jwt, sim):
    assert jwt.get("/v1/files").status == 200
    assert jwt.get("/v1/files", key=None).status == 401
    assert jwt.get("/v1/files", key="sk-no.token.this").status == 401
    assert jwt.get("/v1/files", headers={"api-key": MASTER_KEY}, key="a.b.c").status == 200


def test_a_new_key_of_the_issuer_is_fetched_when_a_token_names_it(start, sim, issuer):
    """At once where the issuer was not asked for half a minute; tokens cannot make it be asked more often."""
    began, new = time.monotonic(), Key("r2")
    gateway = start(config_of(sim, issuer.url), sim=sim)
    assert gateway.get("/v1/files", key=RSA.token(team="red")).status == 200
    issuer.keys = [new]

    def is_known():
        answer = gateway.get("/v1/files", key=new.token(team="red", n=time.monotonic_ns()))
        if answer.status != 200:
            refused(answer, 401, "the token names no key of the issuer")
        return answer.status == 200

    until(is_known, "the new key is fetched", timeout=PATIENCE + 60)
    assert issuer.asked <= 2 + (time.monotonic() - began) / 30
    refused(gateway.get("/v1/files", key=RSA.token(team="red")), 401, "the token names no key of the issuer")


def test_a_reload_keeps_the_issuers_keys(jwt, sim, issuer):
    assert jwt.get("/v1/files", key=RSA.token(team="red")).status == 200
    issuer.status = 500
    jwt.send(1)
    jwt.wait_line(r"generation 2 serves")
    assert jwt.get("/v1/files", key=EC.token(team="red")).status == 200


def test_a_killed_keeper_leaves_the_keys_and_the_next_one_fetches_them_anew(jwt, sim, issuer):
    assert jwt.get("/v1/files", key=RSA.token(team="red")).status == 200
    issuer.wait_asked(1, PATIENCE)
    os.kill(keeper_of(jwt), signal.SIGKILL)
    assert jwt.get("/v1/files", key=RSA.token(team="red", jti="new")).status == 200
    issuer.wait_asked(2, PATIENCE)
    assert jwt.get("/v1/files", key=EC.token(team="red")).status == 200


@pytest.mark.parametrize("status, body, headers, told", [
    (500, b"", {}, "the answer has status 500"),
    (302, b"", {"Location": "http://127.0.0.1:1/"}, "the answer has status 302"),
    (200, b"<html>", {}, r"lexical|invalid|malformed"),
    (200, b'{"keys":[]}', {}, "no key that can be used"),
    (200, b'{"keys":[' + b" " * (1 << 20) + b"]}", {}, "")], ids=["500", "redirect", "html", "empty", "large"])
def test_without_keys_of_the_issuer_tokens_are_503(start, sim, issuer, status, body, headers, told):
    issuer.status, issuer.body, issuer.headers = status, body, headers
    gateway = start(config_of(sim, issuer.url), sim=sim)
    answer = gateway.get("/v1/files", key=RSA.token(team="red"))
    error = envelope(answer, 503)
    assert error["type"] == "service_unavailable_error" and error["code"] == "503"
    assert answer.headers["retry-after"]
    assert gateway.get("/v1/files").status == 200
    gateway.wait_line(rf"jwt: no keys from http://127\.0\.0\.1:\d+/keys: .*{told}")


def test_keys_may_be_in_a_file(start, sim, tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [RSA.jwk()]}))
    gateway = start(config_of(sim, None, jwks_file=str(tmp_path / "keys.json")), sim=sim)
    assert gateway.get("/v1/files", key=RSA.token(team="red")).status == 200
    refused(gateway.get("/v1/files", key=EC.token(team="red")), 401, "the token names no key of the issuer")
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [EC.jwk()]}))
    gateway.send(1)
    gateway.wait_line(r"generation 2 serves")
    until(lambda: gateway.get("/v1/files", key=EC.token(team="red")).status == 200, "the new file counts")


def test_routes_of_tokens_may_be_few(start, sim, issuer):
    gateway = start(config_of(sim, issuer.url, rules={"team_id_jwt_field": "team", "team_allowed_routes": ["/v1/files"]}), sim=sim)
    assert gateway.get("/v1/files", key=RSA.token(team="red")).status == 200
    assert gateway.get("/v1/batches", key=RSA.token(team="red")).status == 403


def test_the_official_sdk_takes_a_token_as_its_key(jwt, sim):
    client = openai.OpenAI(api_key=EC.token(team="red"), base_url=f"http://127.0.0.1:{jwt.port}/v1", max_retries=0)
    made = client.files.create(file=("requests.jsonl", lines()), purpose="batch")
    batch = client.batches.create(input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.retrieve(batch.id).id == batch.id
    other = openai.OpenAI(api_key=STRANGE.token(team="red"), base_url=f"http://127.0.0.1:{jwt.port}/v1", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        other.files.list()


@pytest.mark.parametrize("version, team, wanted", [
    ("--http1.1", "red", "200"), ("--http1.1", "unknown", "403"), ("--http2-prior-knowledge", "red", "200")])
def test_an_upload_waits_for_its_token_and_loses_nothing(jwt, sim, tmp_path, version, team, wanted):
    """The first request with a token has to wait for its turn; its body comes afterwards."""
    data = lines(count=3000)
    (tmp_path / "large.jsonl").write_bytes(data)
    args = ["curl", "-sS", version, "-o", str(tmp_path / "answer"), "-w", "%{http_code}", "-F", "purpose=batch",
            "-F", f"file=@{tmp_path}/large.jsonl", "-H", f"Authorization: Bearer {EC.token(team=team, jti=version)}",
            f"http://127.0.0.1:{jwt.port}/v1/files"]
    assert subprocess.run(args, stdout=subprocess.PIPE, check=True, timeout=PATIENCE * 3).stdout.decode() == wanted
    answer = json.loads((tmp_path / "answer").read_text())
    assert wanted != "200" or answer["bytes"] >= len(data) // 2


def test_many_forged_tokens_hold_nobody_up(jwt, sim):
    """Each costs one signature, in a turn of its own; who polls meanwhile is served."""
    file_id = jwt.upload(lines(), key=RSA.token(team="red")).json()["id"]
    good = RSA.token(team="red")
    head, claims, signature = STRANGE.token(team="red").split(".")
    for number in range(300):
        forged = f"{head}.{claims}.{b64(number.to_bytes(8, 'big') * 32)}"
        assert jwt.get("/v1/files", key=forged).status == 401
        if number % 30 == 0:
            assert jwt.get(f"/v1/files/{file_id}", key=good).status == 200
    assert len(sim.requests()) <= 12
