"""`tranche check --online`: one token of each credential, one list of each account, and what they say, without a secret
(entra statements 1, 6, 7, 9, 15, 18)."""

import json
import re
import subprocess

import pytest
from harness import (MASTER_KEY, PATIENCE, azure_account, azure_deployment, entra_account, entra_client, find_binary, free_port,
                     keyless_account, program_env)
from planted import found

SECRET = "kL8~Q.7hY2-vB5n_Wq0Zx9Cd3Fg6Jm1Pt4Rs"
OLD_SECRET = "aZ3~M.1tR8-wE6y_Ui5Op2Lk9Jh4Gf7Ds0Vc"
ASSERTION = "onlineassertion.Qw4Er7Ty1Ui0Op3As6Df9Gh2Jk5Lz8.Xc1Vb4Nm7"
AZURE_KEY = "9Zx8Cv7Bn6Mq5Wl4Ek3Rj2Th1Yg0Uf9Id8Os7"
OPENAI_KEY = "sk-proj-1As2Df3Gh4Jk5Lz6Xx7Cc8Vv9Bb0Nn"
HEADER = "853b9a84identityheader5bfa4b22a3f30c3ff"
SECRETS = {"secret": SECRET, "old": OLD_SECRET, "assertion": ASSERTION, "azure": AZURE_KEY, "openai": OPENAI_KEY, "header": HEADER}


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A file with key and certificate, and the certificate alone."""
    place = tmp_path_factory.mktemp("pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
                    "-subj", "/CN=app"], cwd=place, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    (place / "both.pem").write_text((place / "cert.pem").read_text() + (place / "key.pem").read_text())
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "local.key", "-out", "local.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], cwd=place, check=True, capture_output=True,
                   stdin=subprocess.DEVNULL)
    return place


@pytest.fixture
def world(make_sim, pem):
    return make_sim({"control_port": 0, "accounts": [
        keyless_account("eu"), keyless_account("us"), keyless_account("cert"), keyless_account("fed"), keyless_account("own"),
        azure_account("sw", key=AZURE_KEY),
        {"name": "oai", "kind": "openai", "port": 0, "key": OPENAI_KEY, "models": ["gpt-4o-mini"]},
        entra_account(clients=[entra_client(secrets=(SECRET, {"value": OLD_SECRET, "state": "expired"})),
                               entra_client("app-2", secrets=(), certificates=[(pem / "cert.pem").read_text()]),
                               entra_client("app-3", secrets=(), assertions=[ASSERTION])],
                      app_service_header=HEADER)]})


def row(sim, account, **params):
    return azure_deployment(sim, account, **{"api_key": None, **params})


def by_secret(sim, account, secret=SECRET):
    return row(sim, account, tenant_id="contoso", client_id="app-1", client_secret=secret)


def openai_row(sim, key=OPENAI_KEY):
    return {"model_name": "mini", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": sim.base("oai") + "/v1", "api_key": key}}


@pytest.fixture
def check(tmp_path):
    """check(sim, rows, env) -> the finished program; nothing that it says has a secret or a token in it."""
    def run(sim, rows, *args, env=None, **sections):
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"model_list": rows, "general_settings": {"master_key": MASTER_KEY}, **sections}))
        done = subprocess.run([find_binary("tranche"), "check", "--online", "--config", str(path), *args],
                              env=program_env({"AZURE_AUTHORITY_HOST": sim.base("entra"), **(env or {})}),
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE * 3, check=False)
        keys = {**SECRETS, **{f"token {t['number']}": t["text"] for t in sim.tokens()}}
        assert found((done.stdout + done.stderr).encode(), keys, step=4) == []
        return done
    return run


def online(done):
    """The lines behind "online", but those of what else there is to know of an account."""
    return [line.strip() for line in done.stdout.partition("\nonline\n")[2].splitlines() if not line.startswith("    ")]


def details(done):
    """What is said of each account besides, by its name."""
    found, name = {}, None
    for line in done.stdout.partition("\nonline\n")[2].splitlines():
        if account := re.match(r"  account (\S+),", line):
            name = account.group(1)
        elif line.startswith("    "):
            found.setdefault(name, []).append(line.strip())
    return found


def lists(sim, account):
    return [r for r in sim.control("GET", f"/control/requests?account={account}").json() if "/batches" in r["target"]]


def test_each_credential_is_asked_for_one_token_and_each_account_for_one_list(world, check, pem, tmp_path):
    assertion = tmp_path / "assertion"
    assertion.write_text(ASSERTION + "\n")
    done = check(world, [by_secret(world, "eu"), by_secret(world, "us"),
                         row(world, "fed", tenant_id="contoso", client_id="app-3", azure_ad_token=f"oidc/file/{assertion}"),
                         azure_deployment(world, "sw", api_key=AZURE_KEY), openai_row(world)])
    assert done.returncode == 0, done.stdout + done.stderr
    said = online(done)
    assert len([line for line in said if re.search(r": good: a token for \d+ s$", line)]) == 2, said
    assert len([line for line in said if line.endswith(": good: status 200, a list of batches")]) == 5, said
    assert len(said) == 7
    assert sorted(c["source"] for c in world.token_calls()) == ["assertion", "secret"]  # two rows of one credential: one call
    assert {account: len(lists(world, account)) for account in ("eu", "us", "fed", "sw", "oai")} == dict.fromkeys(("eu", "us", "fed", "sw", "oai"), 1)


def test_the_forms_that_the_environment_chooses_are_asked_too(world, check, pem):
    refresh = {"litellm_settings": {"enable_azure_ad_token_refresh": True}}
    done = check(world, [row(world, "cert")], **refresh, env={
        "AZURE_TENANT_ID": "contoso", "AZURE_CLIENT_ID": "app-2", "AZURE_CERTIFICATE_PATH": str(pem / "both.pem")})
    assert done.returncode == 0, done.stdout
    done = check(world, [row(world, "own")], **refresh, env={
        "IDENTITY_ENDPOINT": world.base("entra") + "/msi/token", "IDENTITY_HEADER": HEADER})
    assert done.returncode == 0, done.stdout
    assert [c["source"] for c in world.token_calls(status=200)] == ["certificate", "app_service"]


def test_entra_15_a_refusal_is_told_by_number_first_line_and_id(world, check):
    done = check(world, [by_secret(world, "eu", "wrong~Secret.4Tr7Ty1Ui0Op3As6Df9"), by_secret(world, "us", OLD_SECRET),
                         azure_deployment(world, "sw", api_key="another-key-0123456789abcdef"), openai_row(world)])
    assert done.returncode == 3, done.stdout
    said = online(done)
    refused = [line for line in said if re.search(r": failed: status 401, invalid_client, AADSTS\d+: .*\(correlation id [0-9a-f-]{36}\)$", line)]
    assert [re.search(r"AADSTS(\d+)", line).group(1) for line in refused] == ["7000215", "7000222"], said
    assert len([line for line in said if line.endswith(": failed: not asked, since there is no token")]) == 2
    assert [line for line in said if re.match(r"account \S+, by key: failed: status 401", line)], said
    assert [line for line in said if re.match(r"account \S+, by key: good: ", line)], said
    assert said[-1] == "5 of 6 failed"
    assert lists(world, "eu") == [] and lists(world, "us") == []


def test_entra_18_whose_role_is_missing_is_told_with_principal_and_action(world, check):
    world.switch("eu", role_missing="*")
    done = check(world, [by_secret(world, "eu")])
    assert done.returncode == 3
    assert re.search(r": failed: status 401, PermissionDenied: .*[Pp]rincipal", online(done)[1]), done.stdout


def test_entra_15_what_was_sent_is_hidden_in_what_is_answered(world, check):
    echo = f"AADSTS7000215: Invalid client secret '{SECRET}' provided.\r\nTrace ID: 1"
    world.fault({"status": 401, "body": {"error": "invalid_client", "error_description": echo}}, account="entra", times=1)
    world.fault({"status": 400, "body": {"error": {"code": "bad", "message": f"the key {AZURE_KEY} is bad"}}}, account="sw", times=1)
    done = check(world, [by_secret(world, "eu"), azure_deployment(world, "sw", api_key=AZURE_KEY)])
    assert done.returncode == 3
    said = online(done)
    assert "AADSTS7000215: Invalid client secret '***' provided" in said[0]
    assert any("the key *** is bad" in line for line in said), said


def test_who_does_not_answer_or_answers_nonsense_has_failed(world, check):
    world.fault({"status": 200, "body": "<html>Sign in</html>"}, account="sw", times=1)
    world.fault({"status": 200, "body": "<html>Sign in</html>"}, account="entra", times=1)
    gone = openai_row(world)
    gone["litellm_params"]["api_base"] = f"http://127.0.0.1:{free_port()}/v1"
    done = check(world, [by_secret(world, "eu"), azure_deployment(world, "sw", api_key=AZURE_KEY), gone])
    assert done.returncode == 3
    text = "\n".join(online(done))
    assert "failed: status 200, the answer is no JSON object" in text
    assert "failed: status 200, and what came is no list of batches" in text
    assert re.search(r"account 127\.0\.0\.1:\d+, by key: failed: .*connect", text), text


def test_what_answers_is_told_with_its_deployments_its_clock_and_tls(world, check, make_sim, pem):
    secure = make_sim({"control_port": 0, "accounts": [
        {"name": "tls", "kind": "openai", "port": 0, "key": OPENAI_KEY, "tls": {"cert": str(pem / "local.pem"), "key": str(pem / "local.key")}}]})
    world.switch("sw", clock_skew_s=4000)
    tls = {"model_name": "safe", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": f"https://localhost:{secure.ports['tls']}/v1",
                                                   "api_key": OPENAI_KEY}}
    rows = [azure_deployment(world, "sw", api_key=AZURE_KEY), openai_row(world, key="sk-proj-wrong-0As1Df2Gh3Jk4Lz5"), tls]
    trusted = {"tranche_settings": {"upstream_ca_file": str(pem / "local.pem")}}
    done = check(world, rows, **trusted)
    sw, oai, safe = (details(done)[f"{host}:{port}"] for host, port in (
        ("127.0.0.1", world.ports["sw"]), ("127.0.0.1", world.ports["oai"]), ("localhost", secure.ports["tls"])))
    assert "deployments that can be asked: gpt-4o-batch-sw (gpt-4o-batch)" in sw and "TLS: none (http://)" in sw, done.stdout
    assert any(re.match(r"clock: (39\d\d|4000|4001) s ahead of this machine's: ", line) for line in sw), sw
    assert "deployments without an answer: gpt-4o-mini (mini)" in oai and "clock: as this machine's, within 60 s" in oai, oai
    assert any(re.match(r"TLS: verified, its certificate is good for (?:1d \d+h|2d 0h) \(20.*\): have it renewed$", line) for line in safe), safe
    done = check(world, [tls])
    assert done.returncode == 3
    assert any("upstream_ca_file" in line for line in details(done)[f"localhost:{secure.ports['tls']}"]), done.stdout


def test_nobody_is_asked_where_the_configuration_is_wrong(world, check):
    broken = by_secret(world, "eu")
    done = check(world, [broken], router_settings={"num_retries": "many"})
    assert done.returncode == 1
    assert "\nonline\n" not in done.stdout
    assert world.token_calls() == []


def test_online_belongs_to_check():
    done = subprocess.run([find_binary("tranche"), "serve", "--online"], env=program_env(), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "--online belongs to check" in done.stderr
