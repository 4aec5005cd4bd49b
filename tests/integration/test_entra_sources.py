"""Where tokens of Entra ID come from: authorities, certificates, the places of managed identities, and what their answers may say."""

import base64
import json
import os
import pathlib
import subprocess
import time
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest
from harness import (azure_deployment, balanced_config, entra_account, entra_client, envelope, find_binary, keyless_account, lines,
                     program_env, sim_config, until)
from test_upstream_tls import authority  # noqa: F401 (a fixture)

SECRET = "s3cret~of.app+1/&="
GLOBAL = "https://cognitiveservices.azure.com"
MACHINE = [{"system": True, "client_id": "sys", "object_id": "oid-sys"},
           {"client_id": "uai", "object_id": "oid-uai", "resource_id": "/subscriptions/s/resourceGroups/g/uai"}]
DEAD_PROXY = {name: "http://127.0.0.1:9" for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")}


def entra_row(sim, account, group, tokens="entra", **params):
    """A row of a client with a secret; `params` change it, None takes a field out."""
    values = {"api_key": None, "tenant_id": "contoso", "client_id": "app-1", "client_secret": SECRET,
              "azure_authority_host": sim.base(tokens) if tokens else None}
    return azure_deployment(sim, account, group=group, **{**values, **params})


def world(make_sim, accounts, *tokens):
    """Azure accounts whose keys are switched off, and token services; each of these knows the same client."""
    services = tokens or (entra_account(clients=[entra_client(secrets=[SECRET])], identities=MACHINE),)
    return make_sim(sim_config([*(keyless_account(a) for a in accounts), *services]))


def service(name, **switches):
    return entra_account(name, clients=[entra_client(secrets=[SECRET])], switches=switches)


@pytest.fixture
def serve(start):
    """serve(sim, rows): a gateway; no token that the simulator gave to it may be in its log, or in what it answers.
    The model of the lines chooses the row, whatever litellm_settings are added: else every upload goes to the first one."""
    made = []

    def make(sim, rows, env=None, litellm_settings=None, **sections):
        config = {**balanced_config(sim, accounts=[]), "model_list": rows, **sections}
        config["litellm_settings"].update(litellm_settings or {})
        gateway = start(config, sim=sim, env=env)
        gateway.secrets.append(SECRET)
        made.append((gateway, sim))
        return gateway

    yield make
    for gateway, sim in made:
        gateway.secrets += [t["text"] for t in sim.tokens()]
        for target in ("/health", "/metrics"):
            gateway.get(target)  # looks for them in the answer


def works(gateway, group):
    answer = gateway.upload(lines(group))
    assert answer.status == 200, f"{answer}\n{gateway.log}"


def heals(gateway, group):
    return until(lambda: gateway.upload(lines(group)).status == 200, f"{group} works")


def carried(sim, account):
    """What proved us where the tokens were got that the account's uploads carried, in order."""
    proofs = {call["token"]: call["credential"] for call in sim.token_calls(status=200)}
    got = {f"Bearer {token['text']}": proofs[token["number"]] for token in sim.tokens()}
    return [got[r["headers"]["authorization"]] for r in sim.requests(account) if r["method"] == "POST"]


def check(tmp_path, config, env=None):
    path = tmp_path / "check.yaml"
    path.write_text(json.dumps(config))
    return subprocess.run([find_binary("tranche"), "check", "--config", str(path)], env=program_env(env), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)


# --- the authority ---


def test_entra_03_an_authority_is_a_host_however_it_is_written(make_sim, serve, authority, tmp_path):  # noqa: F811
    tls = entra_account("tls", tls=authority.sign(names="IP:127.0.0.1"), clients=[entra_client(secrets=[SECRET])])
    sim = world(make_sim, "abcde", service("entra"), tls)
    clear, secure = sim.base("entra"), f"127.0.0.1:{sim.ports['tls']}"
    hosts = {"a": clear, "b": clear + "/", "c": None, "d": secure, "e": f"https://{secure}/"}
    rows = [entra_row(sim, a, f"group-{a}", azure_authority_host=host) for a, host in hosts.items()]
    gateway = serve(sim, rows, env={"AZURE_AUTHORITY_HOST": clear + "//"}, tranche_settings={"upstream_ca_file": authority.cert})
    for a in hosts:
        works(gateway, f"group-{a}")
    for name in ("entra", "tls"):  # one text, one credential: one token call
        (call,) = sim.requests(name)
        assert call["target"] == "/contoso/oauth2/v2.0/token" and call["method"] == "POST", call
    config = {**balanced_config(sim, accounts=[]), "model_list": [entra_row(sim, "a", "g", azure_authority_host="http://login.example")]}
    told = check(tmp_path, config)
    assert told.returncode != 0 and "azure_authority_host" in told.stdout + told.stderr, told


# --- certificates ---


def openssl(*args):
    return subprocess.run(["openssl", *args], capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key with its certificate, in the forms in which people have them."""
    where = tmp_path_factory.mktemp("certificate")
    key, cert = where / "key.pem", where / "cert.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=app-1", "-days", "2", "-keyout", key, "-out", cert)
    openssl("pkcs8", "-topk8", "-in", key, "-out", where / "sealed.key", "-passout", "pass:pass-of-the-key")
    openssl("pkcs12", "-export", "-inkey", key, "-in", cert, "-out", where / "both.pfx", "-passout", "pass:pass-of-the-key")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-days", "2", "-keyout", where / "x", "-out", where / "other.pem")
    for name, parts in (("key-first.pem", (key, cert)), ("cert-first.pem", (cert, key)), ("chain.pem", (where / "other.pem", cert, key)),
                        ("sealed.pem", (cert, where / "sealed.key")), ("misfit.pem", (key, where / "other.pem"))):
        (where / name).write_text("".join(p.read_text() for p in parts))
    return where


def part(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_entra_07_a_certificate_signs_each_call_anew(make_sim, serve, certificate, tmp_path):
    client = entra_client(secrets=[], certificates=[str(certificate / "cert.pem")])
    sim = world(make_sim, "abcde", entra_account(clients=[client], switches={"assertion_alg": "PS256"}))
    password = {"client_certificate_password": "pass-of-the-key"}
    forms = {"a": {"client_certificate_path": "key-first.pem"}, "b": {"client_certificate_path": "cert-first.pem"},
             "c": {"client_certificate_path": "sealed.pem", **password}, "d": {"client_certificate_path": "both.pfx", **password},
             "e": {"client_certificate_path": "chain.pem", "client_send_certificate_chain": True}}
    rows = []
    for a, fields in forms.items():
        fields["client_certificate_path"] = str(certificate / fields["client_certificate_path"])
        rows.append(entra_row(sim, a, f"group-{a}", client_secret=None, **fields))
    gateway = serve(sim, rows)
    gateway.secrets.append("pass-of-the-key")
    for a in forms:
        works(gateway, f"group-{a}")
    seen = [parse_qs(r["body"]) for r in sim.requests("entra")]
    assert [c["source"] for c in sim.token_calls(status=200)] == ["certificate"] * 5, sim.token_calls()
    claims = []
    for form in seen:
        head, body, _ = form["client_assertion"][0].split(".")
        head, body = part(head), part(body)
        assert head["alg"] == "PS256" and head["typ"] == "JWT" and "x5t#S256" in head, head
        assert body["exp"] - body["nbf"] <= 600 and body["iss"] == body["sub"] == "app-1", body
        assert body["aud"] == sim.base("entra") + "/contoso/oauth2/v2.0/token", body
        claims.append((body["jti"], len(head.get("x5c", []))))
    assert len({jti for jti, _ in claims}) == 5 and sorted(n for _, n in claims)[:4] == [0] * 4 and max(n for _, n in claims) >= 1
    row = entra_row(sim, "a", "g", client_secret=None, client_certificate_path=str(certificate / "misfit.pem"))
    told = check(tmp_path, {**balanced_config(sim, accounts=[]), "model_list": [row]})
    assert told.returncode != 0 and "certificate" in told.stdout + told.stderr, told


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """The certificate of a server that no authority has signed."""
    where = tmp_path_factory.mktemp("stranger")
    pair = {"cert": str(where / "cert.pem"), "key": str(where / "key.pem")}
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
            "-keyout", pair["key"], "-out", pair["cert"])
    return pair


# --- managed identities ---

ARC_DIRECTORY = pathlib.Path("/var/opt/azcmagent/tokens")
SELECTORS = {"us": {"managed_identity_client_id": "uai"}, "sw": {"managed_identity_object_id": "oid-uai"},
             "asia": {"managed_identity_resource_id": "/subscriptions/s/resourceGroups/g/uai"}}
PLACES = {
    "imds": ("2018-02-01", "msi_res_id", lambda base: {"AZURE_POD_IDENTITY_AUTHORITY_HOST": base}),
    "app_service": ("2019-08-01", "mi_res_id", lambda base: {"IDENTITY_ENDPOINT": base + "/msi/token", "IDENTITY_HEADER": "header-of-the-app"}),
    "ml": ("2017-09-01", None, lambda base: {"MSI_ENDPOINT": base + "/MSI/auth", "MSI_SECRET": "secret-of-the-workspace"}),
    "cloud_shell": (None, None, lambda base: {"MSI_ENDPOINT": base + "/oauth2/token"}),
    "arc": ("2020-06-01", "msi_res_id", lambda base: {"IDENTITY_ENDPOINT": base + "/metadata/identity/oauth2/token", "IMDS_ENDPOINT": base}),
}


def arc_directory():
    try:
        ARC_DIRECTORY.mkdir(parents=True, exist_ok=True)
    except OSError:
        pytest.skip(f"{ARC_DIRECTORY} cannot be made here")
    return str(ARC_DIRECTORY)


def managed_world(make_sim, place, accounts, **switches):
    more = {"arc_directory": arc_directory()} if place == "arc" else {}
    tokens = entra_account(identities=MACHINE, app_service_header="header-of-the-app", ml_secret="secret-of-the-workspace",
                           switches=switches, **more)
    return world(make_sim, accounts, tokens)


def managed_row(sim, account, **fields):
    return azure_deployment(sim, account, group=f"group-{account}", api_key=None, azure_credential="ManagedIdentityCredential", **fields)


@pytest.mark.parametrize("place", PLACES)
def test_entra_08_09_each_place_of_a_managed_identity_is_asked_as_it_wants(make_sim, serve, place):
    version, resource_id, env_of = PLACES[place]
    names = {"us": "client_id", "sw": "object_id", "asia": resource_id} if resource_id else {"us": "clientid"} if place == "ml" else {}
    sim = managed_world(make_sim, place, ["eu", *names])
    env = {**env_of(sim.base("entra")), **DEAD_PROXY}
    gateway = serve(sim, [managed_row(sim, "eu"), *(managed_row(sim, a, **SELECTORS[a]) for a in names)], env=env)
    gateway.secrets += ["header-of-the-app", "secret-of-the-workspace"]
    for account in ["eu", *names]:
        works(gateway, f"group-{account}")
    issued = {c["credential"]: c for c in sim.token_calls(status=200)}
    assert set(issued) == {"no selector", *names.values()} and {c["source"] for c in issued.values()} == {place}, issued
    assert issued.pop("no selector")["client_id"] == "sys" and {c["client_id"] for c in issued.values()} <= {"uai"}
    for request in sim.requests("entra"):
        query = parse_qs(urlsplit(request["target"]).query)
        assert query.get("api-version") == ([version] if version else None), request
        if place == "cloud_shell":
            assert request["method"] == "POST" and parse_qs(request["body"]) == {"resource": [GLOBAL]}, request
        else:
            assert request["method"] == "GET" and query["resource"] == [GLOBAL] and len(query) <= 3, request
        if place in ("imds", "cloud_shell", "arc"):
            assert request["headers"]["metadata"] == "true", request


def test_entra_09_arcs_challenge_is_followed_to_its_directory_alone(make_sim, serve, tmp_path):
    """Else whoever answers on that port would be sent files of this machine. And who cannot choose among its identities is told."""
    bait = tmp_path / "bait.key"
    bait.write_text("what-nobody-may-read")
    named = ARC_DIRECTORY / f"{os.getpid()}.txt"
    arcs = {"a": {"arc_realm": "/etc/passwd"}, "b": {"arc_realm": str(bait)}, "c": {"arc_realm": str(named)},
            "d": {"arc_realm": f"{ARC_DIRECTORY}/../../../..{bait}"}, "e": {"arc_key_bytes": 5000}, "f": {"arc_selects": False}}
    services = [entra_account(f"of-{a}", identities=MACHINE, arc_directory=arc_directory(), switches=s) for a, s in arcs.items()]
    sim = world(make_sim, ["eu"], *services)
    named.write_text("what-does-not-end-in-key")
    why = {"e": "more than 4096 bytes", "f": "of another identity"}
    try:
        for a in arcs:
            base = sim.base(f"of-{a}")
            gateway = serve(sim, [managed_row(sim, "eu", **SELECTORS["us"])], env=PLACES["arc"][2](base))
            envelope(gateway.upload(lines("group-eu")), 503, code="upstream_auth_unavailable")
            (credential,) = gateway.get("/health").json()["credentials"]
            assert credential["state"] == "no_token" and credential["source"] == "arc", credential
            assert why.get(a, "directly in its directory") in credential["last_error"]["message"], credential
            followed = any("authorization" in r["headers"] for r in sim.requests(f"of-{a}"))
            assert followed == (a == "f"), sim.requests(f"of-{a}")
    finally:
        named.unlink()


# --- the environment ---


class Cluster:
    """The variables are those that the webhook of a cluster sets; the authority's host ends in a slash there. One resource, and a
    row for each way to an assertion, whose group has its name."""

    TEXTS = {"azure": "of-the-cluster", "file": "of-a-file", "env": "of-a-variable", "env_path": "of-a-file-that-a-variable-names"}

    def __init__(self, make_sim, where):
        self.paths = {kind: where / f"assertion of {kind}" for kind in self.TEXTS}
        for kind in self.TEXTS:
            self.give(kind)
        client = entra_client("workload", "fabrikam", secrets=[], assertions=list(self.TEXTS.values()))
        self.sim = world(make_sim, ["eu"], entra_account(clients=[client], identities=[]))

    def give(self, kind):
        self.paths[kind].write_text(f"\n  {self.TEXTS[kind]}\r\n")

    def served(self, serve, *plain):
        paths = {kind: str(path) for kind, path in self.paths.items()}
        references = {"azure": "oidc/azure/", "file": f"oidc/file/{paths['file']}", "env": "oidc/env/OF_JOB", "env_path": "oidc/env_path/PATH_OF_JOB"}
        env = {"AZURE_CLIENT_ID": "workload", "AZURE_TENANT_ID": "fabrikam", "AZURE_FEDERATED_TOKEN_FILE": paths["azure"],
               "AZURE_AUTHORITY_HOST": self.sim.base("entra") + "/", "OF_JOB": self.TEXTS["env"], "PATH_OF_JOB": paths["env_path"]}
        rows = [azure_deployment(self.sim, "eu", group=kind, api_key=None, azure_ad_token=text) for kind, text in references.items()]
        rows += [azure_deployment(self.sim, "eu", group=group, api_key=None) for group in plain]
        gateway = serve(self.sim, rows, env=env, litellm_settings={"enable_azure_ad_token_refresh": True})
        gateway.secrets += self.TEXTS.values()
        return gateway


def test_entra_04_05_what_a_cluster_gives_and_what_oidc_names_are_exchanged(make_sim, serve, tmp_path):
    cluster = Cluster(make_sim, tmp_path)
    gateway = cluster.served(serve, "plain")
    for group in (*cluster.TEXTS, "plain"):
        works(gateway, group)
    assert carried(cluster.sim, "eu") == [f"assertion {n}" for n in (1, 2, 3, 4, 1)], cluster.sim.token_calls()
    used = sorted((c["source"], c["client_id"], c["tenant"], c["credential"], c["status"]) for c in cluster.sim.token_calls())
    assert used == [("assertion", "workload", "fabrikam", f"assertion {n}", 200) for n in (1, 2, 3, 4)], used


def test_entra_05_a_row_without_its_assertion_is_not_served_with_another_rows_token(make_sim, serve, tmp_path):
    """Although all of them are of one resource, which would take it."""
    cluster = Cluster(make_sim, tmp_path)
    cluster.paths["file"].unlink()
    gateway = cluster.served(serve)
    others = [kind for kind in cluster.TEXTS if kind != "file"]
    for group in others:
        works(gateway, group)
    envelope(gateway.upload(lines("file")), 503, code="upstream_auth_unavailable")
    assert carried(cluster.sim, "eu") == [f"assertion {n}" for n in (1, 3, 4)], cluster.sim.token_calls()
    cluster.give("file")
    heals(gateway, "file")
    assert carried(cluster.sim, "eu")[3:] == ["assertion 2"], cluster.sim.token_calls()


def test_entra_02_25_scopes_of_clouds_and_secrets_of_mounted_files(make_sim, serve, tmp_path):
    scopes = {"eu": "https://cognitiveservices.azure.com", "ai": "https://ai.azure.com", "us": "https://cognitiveservices.azure.us"}
    accounts = [keyless_account("eu", token_scope="cognitiveservices"), keyless_account("ai", token_scope="ai"),
                keyless_account("us", token_scope="us"), entra_account(clients=[entra_client(secrets=[SECRET, "in-a-file"])])]
    sim = make_sim(sim_config(accounts))
    mounted = tmp_path / "mounted secret"
    mounted.write_text("in-a-file\n")
    rows = [azure_deployment(sim, "eu", group="eu", api_key=None),
            entra_row(sim, "ai", "ai", client_secret=None, client_secret_path=str(mounted), azure_scope=scopes["ai"] + "/.default"),
            entra_row(sim, "us", "us", azure_scope=scopes["us"] + "/.default")]
    env = {"AZURE_TENANT_ID": "contoso", "AZURE_CLIENT_ID": "app-1", "AZURE_CLIENT_SECRET": SECRET + "\n",
           "AZURE_AUTHORITY_HOST": sim.base("entra")}
    gateway = serve(sim, rows, env=env)
    gateway.secrets.append("in-a-file")
    for group in scopes:
        works(gateway, group)
    assert {t["audience"] for t in sim.tokens()} == set(scopes.values()) and len(sim.token_calls()) == 3, sim.token_calls()
    assert "AZURE_CLIENT_SECRET" in gateway.log and "white space" in gateway.log, gateway.log
    assert {c["credential"] for c in sim.token_calls(scope=scopes["ai"] + "/.default")} == {"secret 2"}


# --- answers ---


def test_entra_22_tokens_of_any_size_that_a_header_carries(make_sim, serve):
    good = {"a": {"token_bytes": 16384}, "b": {"token_type": "bearer"}, "c": {"token_bytes": 64}}
    bad = {"d": {"token_bytes": 16385}, "e": {"token_inserted": "\n"}, "f": {"token_inserted": "\u00e9"}, "g": {"token_type": "pop"}}
    byte = "the token has a byte in it that no header carries"
    why = {byte: 2, "the token has more than 16384 bytes": 1, "the token is of another type than Bearer": 1}
    sim = world(make_sim, [*good, *bad], *(service(f"of-{a}", **switches) for a, switches in {**good, **bad}.items()))
    gateway = serve(sim, [entra_row(sim, a, f"group-{a}", tokens=f"of-{a}") for a in (*good, *bad)])
    for a in good:
        works(gateway, f"group-{a}")
    for a in bad:
        envelope(gateway.upload(lines(f"group-{a}")), 503, code="upstream_auth_unavailable")
    told = [c["last_error"]["message"] for c in gateway.get("/health").json()["credentials"] if c["state"] == "no_token"]
    assert Counter(told) == why, told
    assert not [t for t in sim.tokens() if t["account"][3:] in bad and t["accepted"] + t["refused"]]
    assert len(sim.tokens("of-a")[0]["text"]) == 16384


def test_entra_23_an_odd_answer_harms_nobody(make_sim, serve, stranger):
    odd = {"a": {"status": 200, "body": "<html>sign in</html>"}, "b": {"truncate": 200}, "c": {"oversize": 80_000}, "d": {"gzip": True},
           "e": None, "f": {"close": "answer"}, "g": {"status": 200, "body": "{\"access_token\":"}, "h": None}
    untrusted = {"i": entra_account("of-i", tls=stranger, clients=[entra_client(secrets=[SECRET])])}
    services = [service(f"of-{a}") for a in odd]
    sim = world(make_sim, [*odd, *untrusted, "z"], *services, *untrusted.values(), service("trap"), service("of-z"))
    odd["e"] = {"status": 307, "headers": {"location": sim.base("trap") + "/contoso/oauth2/v2.0/token"}, "body": ""}
    for a, action in odd.items():
        if action is not None:
            sim.fault(action, account=f"of-{a}", times=-1)
    sim.switch("of-h", latency_ms=3_600_000)  # as good as never, and no fault that is cleared with the others
    rows = [entra_row(sim, a, f"group-{a}", tokens=f"of-{a}") for a in (*odd, "z")]
    rows.append(entra_row(sim, "i", "group-i", tokens=None, azure_authority_host=f"https://127.0.0.1:{sim.ports['of-i']}"))
    gateway = serve(sim, rows)
    def refused(a):
        envelope(gateway.upload(lines(f"group-{a}")), 503, code="upstream_auth_unavailable")
    works(gateway, "group-z")
    for a in (*odd, *untrusted):
        if a != "h":
            refused(a)
    assert not sim.requests("trap"), "a secret went where a redirect pointed"
    sim.clear_faults()
    heals(gateway, "group-a")
    heals(gateway, "group-f")
    refused("h")


# What the answer says, and for how long the token counts. Where both members are there, the earlier end does.
LIVES = {"number": 3599, "string": 3599, "on": 3599, "on_number": 3599, "strings": 3599, "numbers": 3599, "contradictory": 1799, "overstated": 3599,
         "date_us": 3599, "date_us_zone": 3599, "date_us_half_day": 3599, "date_dash": 3599, "date_iso": 3599, "date_iso_zone": 3599,
         "fraction": 3599, "none": 600, "zero": 600, "negative": 600, "huge": 600, "words": 600, "null": 600}
AHEAD = {"number": 600, "on": -600, "date_iso": 600}  # by another clock, which the answer's Date tells


def credentials(gateway):
    """What /health says of each credential, by the id of its client."""
    return {c["credential"].split()[1]: c for c in gateway.get("/health").json()["credentials"]}


def test_entra_12_every_spelling_of_the_end_is_read(make_sim, serve):
    names = [*LIVES, *(f"{name}-ahead" for name in AHEAD)]
    services = []
    for name in names:
        kind, ahead = name.removesuffix("-ahead"), name.endswith("-ahead")
        switches = {"expiry": kind, "clock_skew_s": AHEAD[kind] if ahead else 0}
        services.append(entra_account(f"of-{name}", clients=[entra_client(name, secrets=[SECRET])], switches=switches))
    sim = world(make_sim, ["eu"], *services)
    before = int(time.time())
    gateway = serve(sim, [entra_row(sim, "eu", f"group-{name}", tokens=f"of-{name}", client_id=name) for name in names])
    for name in names:
        works(gateway, f"group-{name}")
    found, after = credentials(gateway), time.time()
    assert set(found) == set(names) and {c["state"] for c in found.values()} == {"ok"}, found
    for name in names:
        life = LIVES[name.removesuffix("-ahead")]
        assert before + life - 2 <= found[name]["token_ends_at"] <= after + life + 2, (name, found[name])
    for name in (name for name, life in LIVES.items() if life == 600):
        gateway.wait_line(rf" warn .*client {name} .*600 s")
    for name, life in LIVES.items():
        warned = [line for line in gateway.lines if f"client {name} " in line and "600 s" in line and " warn " in line]
        assert bool(warned) == (life == 600), (name, gateway.log)
