"""Calls of Azure rows by Entra ID: the token of now, one call for it, a refusal that is cured, rotation under load, the official SDK."""

import pathlib
import re
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import test_python_sdk
from harness import (MASTER_KEY, azure_account, azure_deployment, balanced_config, entra_account, entra_client, envelope, keyless_account,
                     lines, sim_config, until)
from test_metrics import page

SECRET = "s3cret~of.app+1/&="
GLOBAL = "https://cognitiveservices.azure.com/.default"


def client(name="app-1", **more):
    return entra_client(name, **{"secrets": [SECRET], **more})


def row(sim, account, group, name="app-1", **params):
    """A row of a client with a secret; `params` change it, None takes a field out."""
    values = {"api_key": None, "tenant_id": "contoso", "client_id": name, "client_secret": SECRET,
              "azure_authority_host": sim.base("entra")}
    return azure_deployment(sim, account, group=group, **{**values, **params})


@pytest.fixture
def serve(start):
    """serve(sim, rows): a gateway. No secret, and no token that the simulator gave it, may be in its log or in what it answers."""
    made = []

    def make(sim, rows, workers=2, env=None, **sections):
        gateway = start({**balanced_config(sim, accounts=[]), "model_list": rows, **sections}, sim=sim, env=env, workers=workers)
        gateway.secrets.append(SECRET)
        made.append((gateway, sim))
        return gateway

    yield make
    for gateway, sim in made:
        gateway.secrets += [t["text"] for t in sim.tokens()]


def tried(sim, account, method="POST", path="files"):
    """Statuses of what was asked of an account, in order."""
    return [r["status"] for r in sim.requests(account) if r["method"] == method and path in r["target"]]


def good_calls(sim, name, **wanted):
    return sim.token_calls(client_id=name, status=200, **wanted)


def test_entra_01_10_21_a_cold_start_of_many_rows_and_workers_makes_one_token_call(make_sim, serve):
    sim = make_sim(sim_config([*(keyless_account(a) for a in "abcd"), azure_account("m"), azure_account("k"),
                               entra_account(clients=[client()])]))
    sim.fault({"delay_ms": 1000}, account="entra", times=1000)
    bare = {"tenant_id": None, "client_id": None, "client_secret": None, "azure_authority_host": None}
    limited = row(sim, "m", "m-entra"), azure_deployment(sim, "m", group="m-key")
    for r in limited:
        r["model_info"]["enqueued_token_limit"] = 300
    rows = [row(sim, "a", "cold"), row(sim, "b", "cold", **bare, litellm_credential_name="one"), row(sim, "c", "cold", **bare),
            row(sim, "d", "other-scope", azure_scope="https://ai.azure.com/.default"), azure_deployment(sim, "k", group="key"), *limited]
    values = {"tenant_id": "contoso", "client_id": "app-1", "client_secret": SECRET, "azure_authority_host": sim.base("entra")}
    env = {"AZURE_TENANT_ID": "contoso", "AZURE_CLIENT_ID": "app-1", "AZURE_CLIENT_SECRET": SECRET, "AZURE_AUTHORITY_HOST": sim.base("entra")}
    gateway = serve(sim, rows, workers=3, env=env, credential_list=[{"credential_name": "one", "credential_values": values}])
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda i: gateway.upload(lines("other-scope" if i % 10 == 0 else "cold")), range(100)))
    assert [a.status for a in answers] == [200] * 100, [a for a in answers if a.status != 200][:3]
    assert gateway.upload(lines("key")).status == 200
    assert len(sim.token_calls(scope=GLOBAL)) == 1 and len(sim.token_calls()) == 2, sim.token_calls()
    for account in "abcd":
        sent = sim.requests(account)
        assert sent and all(r["headers"]["authorization"].startswith("Bearer ") and "api-key" not in r["headers"] for r in sent), sent[:1]
    assert all(r["headers"].get("api-key") == "azure-key-k" and "authorization" not in r["headers"] for r in sim.requests("k"))

    # What a provider says may quote the token that it was sent.
    (text, *_) = (t["text"] for t in sim.tokens() if "cognitiveservices" in t["audience"])
    told = {"error": {"code": "bad", "message": f"This token is odd: {text}"}}
    for account in "abc":
        sim.fault({"status": 400, "body": told}, account=account, method="POST")
    answer = gateway.upload(lines("cold"))
    assert answer.status == 400 and text[:40] not in answer.body.decode() and "This token is odd" in answer.body.decode(), answer
    sim.clear_faults()

    # One resource by key and by Entra is one account: one list, ids that both rows open, one quota of enqueued tokens.
    files = [gateway.uploaded(lines(group, count=20)) for group in ("m-key", "m-entra")]
    listed = [f["id"] for f in gateway.get("/v1/files?limit=1000").json()["data"]]
    assert all(listed.count(f["id"]) == 1 for f in files), listed
    assert len([r for r in sim.requests("m") if r["method"] == "GET"]) == 1, sim.requests("m")
    assert gateway.create(files[0]["id"]).status == 200
    envelope(gateway.create(files[1]["id"]), 429, code="token_limit_exceeded")
    assert tried(sim, "m", path="batches") == [200]


def test_requests_that_wait_for_a_token_count_as_calls_of_their_worker(make_sim, serve):
    sim = make_sim(sim_config([keyless_account("a"), entra_account(clients=[client()])]))
    sim.fault({"delay_ms": 600_000}, account="entra")  # from the start on, until one is refused
    gateway = serve(sim, [row(sim, "a", "g")], workers=1, tranche_settings={"limits": {"max_upstream_calls": 5}})
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(gateway.get, "/v1/files/file-of-nobody") for _ in range(8)]
        until(lambda: any(call.done() for call in calls), "one is refused")
        sim.release()
        answers = [call.result() for call in calls]
    refused = [a for a in answers if a.status != 404]
    assert 1 <= len(refused) <= 3, answers
    for answer in refused:
        envelope(answer, 503, code="too_many_upstream_calls")


GROUPS = {"upload": "a", "create": "b", "get": "c", "content": "d", "slow": "e", "denied": "f", "twice": "g"}


def test_entra_16_17_18_19_a_dead_token_is_replaced_once_and_a_missing_role_never(make_sim, serve):
    clients = [client(f"app-{g}", object_id=f"oid-{g}") for g in GROUPS]
    sim = make_sim(sim_config([*(keyless_account(a) for a in GROUPS.values()), azure_account("k"),
                               entra_account(clients=clients, switches={"token_bytes": 16384})]))
    rows = [row(sim, a, g, f"app-{g}", order=1) for g, a in GROUPS.items()] + [azure_deployment(sim, "k", group="twice", order=2)]
    # The environment's key opens none of these accounts: a row's own credential goes before it (entra statement 1).
    gateway = serve(sim, rows, env={"AZURE_API_KEY": "azure-key-of-nobody"}, router_settings={"cooldown_time": 1})
    files = {g: gateway.uploaded(lines(g, count=2000 if g == "content" else 3))["id"] for g in GROUPS}
    until(lambda: min(s.value for s in page(gateway).all("tranche_entra_token_age_seconds")) >= 5, "the tokens have an age")
    assert len(sim.token_calls()) == len(GROUPS)

    def die(group, **how):
        assert sim.revoke(client_id=f"app-{group}", **how) == 1

    def cured(group):
        assert len(good_calls(sim, f"app-{group}")) == 2, sim.token_calls(client_id=f"app-{group}")
        assert not sim.tokens(client_id=f"app-{group}")[1]["refused"], sim.tokens()

    def answers_of(account, **which):  # upkeep may have been the one that saw the 401
        return [s for s in tried(sim, account, **which) if s != 401]

    # Told on the head, while the body, which is spooled to a file, is on its way.
    sim.fault({"status": 401, "early": True}, account="a", method="POST")
    gateway.uploaded(lines("upload", count=20_000))
    cured("upload")
    assert answers_of("a") == [201, 201] and len(sim.ledger("a")["files"]) == 2

    die("create", answer="bare")  # a 401 without `error`
    assert gateway.create(files["create"]).status == 200
    cured("create")
    assert answers_of("b", path="batches") == [200] and len(sim.ledger("b")["batches"]) == 1

    die("get", answer="challenge")  # CAE's is an ordinary 401
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: gateway.get(f"/v1/files/{files['get']}"), range(40)))
    assert [a.status for a in answers] == [200] * 40
    cured("get")  # one for all that saw the same token

    die("content")
    answer = gateway.get(f"/v1/files/{files['content']}/content")
    assert answer.status == 200 and len(answer.body.splitlines()) == 2000
    cured("content")

    # A 401 for a token that was replaced while the call was under way.
    sim.fault({"status": 401, "delay_ms": 600_000}, account="e", method="GET", path="*/content")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(gateway.get, f"/v1/files/{files['slow']}/content")
        sim.wait("e", "GET", "*/content", phase="received")
        die("slow")
        assert gateway.get(f"/v1/files/{files['slow']}").status == 200
        sim.release()
        assert slow.result().status == 200
    cured("slow")
    assert "closed -> open" not in gateway.log, gateway.log

    # A second 401 is the deployment's last word: breaker, and the next row.
    sim.fault({"status": 401}, account="g", method="POST", times=2)
    gateway.uploaded(lines("twice"))
    assert tried(sim, "g") == [201, 401, 401] and tried(sim, "k") == [201]
    assert len(good_calls(sim, "app-twice")) >= 2 and gateway.log.count("closed -> open for upload, auth, status 401") == 1

    sim.switch("f", role_missing="oid-denied")
    envelope(gateway.upload(lines("denied")), 502, code="upstream_auth")
    gateway.wait_line(r"upload failed: a role is missing .*oid-denied.*lacks the required data action.*Microsoft\.CognitiveServices")
    assert tried(sim, "f") == [201, 401] and len(good_calls(sim, "app-denied")) == 1
    sim.switch("f", role_missing="")  # granted, minutes later
    until(lambda: gateway.upload(lines("denied")).status == 200, "the row heals by itself")
    assert len(good_calls(sim, "app-denied")) == 1


def test_entra_13_without_a_token_503_and_other_rows_until_there_is_one(make_sim, serve):
    sim = make_sim(sim_config([*(keyless_account(a, max_files=0) for a in "ab"), azure_account("k"),
                               entra_account(clients=[client(expires_in=8)])]))
    rows = [row(sim, "a", "alone"), row(sim, "b", "both", order=1), azure_deployment(sim, "k", group="both", order=2)]
    gateway = serve(sim, rows)
    file = gateway.uploaded(lines("alone"))["id"]
    gateway.uploaded(lines("both"))
    sim.fault({"status": 503}, account="entra", times=100_000)
    asked = {}

    def ended():  # the old token serves to its end; when that comes the key's row takes over without a failure
        gateway.uploaded(lines("both"))
        asked["last"] = gateway.upload(lines("alone"))
        return asked["last"].status != 200

    until(ended, "the token ends")
    for answer in (asked["last"], gateway.create(file), gateway.get(f"/v1/files/{file}"), gateway.get(f"/v1/files/{file}/content")):
        envelope(answer, 503, code="upstream_auth_unavailable", type="server_error")
        assert 1 <= int(answer.headers["retry-after"]) <= 60, answer
    before = len(sim.requests("b"))
    for _ in range(5):
        gateway.uploaded(lines("both"))
    assert len(sim.requests("b")) == before
    sim.clear_faults()
    until(lambda: gateway.upload(lines("alone")).status == 200, "the row heals by itself")
    assert gateway.create(file).status == 200
    assert len(sim.ledger("a")["batches"]) == 1


# --- several credentials ---


def served(call):
    """Its answer once there is a token for it: a machine that is busy may need longer than a request waits. Nothing was done then."""
    def got():
        answer = call()
        return None if answer.status == 503 and b"upstream_auth_unavailable" in answer.body else answer

    answer = until(got, "a token")
    assert answer.status == 200, answer
    return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else None


def batch_life(gateway, group):
    """One batch from its upload to its end, with all that may be asked of it meanwhile."""
    file = served(lambda: gateway.upload(lines(group)))["id"]
    batch = served(lambda: gateway.create(file))["id"]
    for target in (f"batches/{batch}", f"files/{file}", f"files/{file}/content", f"batches?model={group}", f"files?model={group}",
                   "batches", "files"):
        served(lambda target=target: gateway.get(f"/v1/{target}"))
    served(lambda: gateway.request("POST", f"/v1/batches/{batch}/cancel"))
    served(lambda: gateway.delete(f"/v1/files/{file}"))


def reloaded(gateway):
    """Whether the new workers were ready in time, which those of a busy machine may not be."""
    at = len(gateway.lines)
    gateway.send(signal.SIGHUP)
    return gateway.wait_line(r"generation \d+ (serves|is refused)", start=at).group(1) == "serves"


def strangers(sim, accounts):
    """Whatever an account was sent, by upkeep and probes too, that was not got by its own client."""
    clients = {f"Bearer {t['text']}": t["client_id"] for t in sim.tokens()}
    seen = {a: sim.requests(a, probes=True, upkeep=True) for a in accounts}
    assert all(seen.values()), {a: len(s) for a, s in seen.items()}
    return [(a, clients.get(r["headers"].get("authorization")), r["method"], r["target"]) for a, all_of in seen.items() for r in all_of
            if clients.get(r["headers"].get("authorization")) != f"app-{a}"]


def test_no_account_is_ever_sent_a_token_of_another_accounts_credential(make_sim, serve):
    """Not while tokens are missing, not after a 401, and not when rows change places in a reload while calls are under way."""
    accounts = {"a": "contoso", "b": "contoso", "c": "contoso", "d": "fabrikam"}
    sim = make_sim(sim_config([*(keyless_account(a) for a in accounts),
                               entra_account(clients=[client(f"app-{a}", tenant=t) for a, t in accounts.items()])]))
    own, shared = ([row(sim, a, group or f"of-{a}", f"app-{a}", tenant_id=t) for a, t in accounts.items()] for group in (None, "any"))
    sim.fault({"delay_ms": 600_000}, account="entra", path="/contoso/*", times=3)
    sim.fault({"status": 503}, account="entra", path="/fabrikam/*", times=-1)
    gateway = serve(sim, [*own, *shared])
    with ThreadPoolExecutor(8) as pool:
        lives = [pool.submit(batch_life, gateway, group) for group in ("of-a", "of-b", "of-c", "any", "any", "any")]
        sim.wait("entra", "POST", "/contoso/*", count=3, phase="received")
        sim.release()
        for life in lives:
            life.result()
    envelope(gateway.upload(lines("of-d")), 503, code="upstream_auth_unavailable")
    assert not sim.requests("d", probes=True, upkeep=True) and not good_calls(sim, "app-d")
    sim.clear_faults()
    until(lambda: gateway.upload(lines("of-d")).status == 200, "the fourth one has a token, too")

    until(lambda: min(s.value for s in page(gateway).all("tranche_entra_token_age_seconds")) >= 5, "the tokens have an age")
    for a in accounts:
        assert sim.revoke(client_id=f"app-{a}") == 1
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda group: batch_life(gateway, group), ("of-a", "of-b", "of-c", "of-d")))
    assert strangers(sim, accounts) == []

    rest = [*reversed(shared), *reversed(own[1:])]  # the first credential is the last one now
    with ThreadPoolExecutor(8) as pool:
        lives = [pool.submit(batch_life, gateway, group) for group in ("of-b", "of-c", "of-d", "any") * 3]
        gateway.write_config({**balanced_config(sim, accounts=[]), "model_list": rest})
        until(lambda: reloaded(gateway), "the rows have changed places")
        for life in lives:
            life.result()
    for group in ("of-b", "of-c", "of-d", "any", "any"):
        batch_life(gateway, group)
    assert strangers(sim, accounts) == []


# --- rotation ---


def openssl(*args):
    return subprocess.run(["openssl", *args], capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout


def certificate(where, name):
    """A file with key and certificate, and the certificate alone."""
    key, cert, both = where / f"{name}.key", where / f"{name}.crt", where / f"{name}.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "2", "-keyout", key, "-out", cert)
    both.write_text(key.read_text() + cert.read_text())
    return both.read_text(), str(cert)


def replace(path, text):
    """As a mounted secret is rotated: in one step."""
    new = pathlib.Path(f"{path}.new")
    new.write_text(text)
    new.rename(path)


class Load:
    """Uploads and reads of each group, one after the other, until it is stopped; what failed."""

    def __init__(self, gateway, groups):
        self.gateway, self.failed, self.done, self.over = gateway, [], 0, threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(g,)) for g in groups]
        for t in self.threads:
            t.start()

    def run(self, group):
        while not self.over.is_set():
            try:
                answer = self.gateway.upload(lines(group))
                if answer.status == 200:
                    answer = self.gateway.get(f"/v1/files/{answer.json()['id']}")
            except Exception as problem:  # a connection that broke counts, too
                answer = problem
            self.done += 1
            if getattr(answer, "status", 0) != 200:
                self.failed.append((group, answer))

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join()
        assert not self.failed, self.failed[:3]


def test_entra_06_20_rotation_under_load_fails_no_request(make_sim, serve, tmp_path):
    (old_pem, old_cert), (new_pem, new_cert) = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    files = {n: tmp_path / n for n in ("secret", "certificate", "assertion")}
    for name, text in (("secret", "first~secret/1\n"), ("certificate", old_pem), ("assertion", "first.assertion.1")):
        files[name].write_text(text)
    first = {"secret": {"secrets": ["first~secret/1"]}, "certificate": {"secrets": [], "certificates": [old_cert]},
             "assertion": {"secrets": [], "assertions": ["first.assertion.1"]}, "reload": {"secrets": ["first~of/reload1"]}}
    sim = make_sim(sim_config([*(keyless_account(a, max_files=0) for a in "abcd"),
                               entra_account(clients=[client(n, expires_in=8, **m) for n, m in first.items()])]))
    fields = {"secret": {"client_secret_path": str(files["secret"])}, "assertion": {"azure_federated_token_file": str(files["assertion"])},
              "certificate": {"client_certificate_path": str(files["certificate"])}, "reload": {"client_secret": "first~of/reload1"}}
    rows = [row(sim, a, n, n, **{"client_secret": None, **fields[n]}) for n, a in zip(first, "abcd")]
    gateway = serve(sim, rows)
    gateway.secrets += ["first~secret/1", "second~secret/2", "first.assertion.1", "second.assertion.2", "first~of/reload1", "second~of/reload2"]
    load = Load(gateway, first)
    second = {"secret": ("secrets", "first~secret/1", "second~secret/2"), "certificate": ("certificates", old_cert, new_cert),
              "assertion": ("assertions", "first.assertion.1", "second.assertion.2"),
              "reload": ("secrets", "first~of/reload1", "second~of/reload2")}
    for name, (member, old, new) in second.items():  # both are good for a while
        sim.set_client(name, **{member: [new, old]})
    replace(files["secret"], "second~secret/2\n")
    replace(files["certificate"], new_pem)
    replace(files["assertion"], "second.assertion.2\n")
    rows[-1]["litellm_params"]["client_secret"] = "second~of/reload2"
    gateway.write_config({**balanced_config(sim, accounts=[]), "model_list": rows})
    gateway.send(signal.SIGHUP)

    def both_ways(condition):
        return until(lambda: all(condition(n) for n in first), "each credential has been asked for again")

    both_ways(lambda n: re.search(r"(secret|assertion) 1$|certificate", good_calls(sim, n)[-1]["credential"]) if good_calls(sim, n)[1:] else False)
    marks = {n: sim.token_calls()[-1]["order"] for n in first}
    for name, (member, _, new) in second.items():  # the old ones are gone
        sim.set_client(name, **{member: [new]})
    both_ways(lambda n: len([c for c in good_calls(sim, n) if c["order"] > marks[n]]) >= 2)
    load.stop()
    assert load.done >= 8
    refused = [c for c in sim.token_calls() if c["status"] != 200]
    assert not refused, refused


def test_the_official_sdk_works_before_rows_by_entra_id(make_sim, serve):
    sim = make_sim(sim_config([keyless_account("eu"), entra_account(clients=[client()])]))
    gateway = serve(sim, [row(sim, "eu", test_python_sdk.GROUP)])
    for one in (openai.OpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY, max_retries=0),
                openai.AzureOpenAI(azure_endpoint=gateway.url, api_key=MASTER_KEY, api_version="2024-10-21", max_retries=0)):
        with one:
            test_python_sdk.test_an_uploaded_file_can_be_retrieved_listed_read_and_deleted(one)
            test_python_sdk.test_a_batch_runs_from_upload_to_results(one, sim)
    assert len(sim.token_calls()) == 1
