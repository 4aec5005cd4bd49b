"""The page for operators over HTTP: who gets in, what its session is, what it may load, and what its state tells. How it looks and
behaves in a browser: test_page_browser.py."""

import base64
import contextlib
import hashlib
import pathlib
import re
import time

import pytest
from harness import GROUP, MASTER_KEY, alive, balanced_config, direct_config, envelope, lines, until
from tenants import KEYS, tenants  # noqa: F401
from wire import H2, sanitized, wire_certificate  # noqa: F401


def resident(gateway):
    """Bytes of all its children."""
    return sum(int(line.split()[1]) * 1024 for pid in gateway.workers()
               for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))


def login(gateway, key=MASTER_KEY, **headers):
    return gateway.post("/ui/login", key=key, headers=headers)


def cookie_of(answer):
    assert answer.status == 200, answer
    return answer.headers["set-cookie"].split(";")[0]


class Viewer:
    """A browser that has logged in."""

    def __init__(self, gateway, key=MASTER_KEY):
        self.gateway = gateway
        answer = login(gateway, key)
        self.cookie = cookie_of(answer)
        self.csrf = answer.json()["csrf"]

    def get(self, target="/ui/state", **headers):
        return self.gateway.get(target, key=None, headers={"Cookie": self.cookie, **headers})

    def post(self, target, csrf=None, **headers):
        return self.gateway.post(target, key=None, headers={"Cookie": self.cookie, "x-tranche-csrf": csrf or self.csrf, **headers})

    def state(self):
        answer = self.get()
        assert answer.status == 200, answer
        return answer.json()


def test_the_document_is_for_everybody_and_may_load_nothing_but_itself(gateway):
    answer = gateway.get("/ui", key=None)
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8", answer
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    document = answer.body.decode()
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        parts = re.findall(rf"<{element}>(.*?)</{element}>", document, re.S)
        assert len(parts) == 1 and len(parts[0]) > 1000
        assert policy[directive] == "'sha256-" + base64.b64encode(hashlib.sha256(parts[0].encode()).digest()).decode() + "'"
    assert {k: v for k, v in policy.items() if not k.endswith("-src") or k == "default-src"} == {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
    assert policy["connect-src"] == "'self'" and policy["img-src"] == "data:"
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|url\(|https?://(?!www\.w3\.org/2000/svg)|innerHTML|insertAdjacentHTML|document\.write|\beval\b", document)
    assert (answer.headers["x-content-type-options"], answer.headers["x-frame-options"], answer.headers["referrer-policy"]) == (
        "nosniff", "DENY", "no-referrer")
    assert answer.headers["cache-control"] == "no-store"
    assert gateway.get("/ui/", key=None).body == answer.body
    head = gateway.request("HEAD", "/ui", key=None)
    assert (head.status, head.body) == (200, b"")


@pytest.mark.plain
def test_streams_that_take_nothing_hold_no_copy_of_the_document(start, sim):
    gateway = start(balanced_config(sim), sim=sim, workers=1)
    size = len(gateway.get("/ui", key=None).body)
    with contextlib.ExitStack() as stack:
        stranger = [stack.enter_context(H2(gateway.port, window=0)) for _ in range(8)]
        before = resident(gateway)
        for client in stranger:
            streams = [client.request("GET", "/ui", key=None) for _ in range(100)]
            assert all(client.wait_head(s)["content-length"] == str(size) for s in streams)
        grown = resident(gateway) - before
        if not sanitized():
            assert grown < 800 * size // 2, f"{grown} bytes for 800 streams"
        assert gateway.get("/ui", key=None).status == 200


def test_a_session_is_a_cookie_that_scripts_and_other_sites_never_see(gateway):
    envelope(gateway.get("/ui/state", key=None), 401, code="no_session")
    envelope(gateway.get("/ui/state"), 401, code="no_session")  # a key is for the login alone
    envelope(login(gateway, key=None), 401)
    answer = login(gateway)
    assert answer.json()["who"] == "master key"
    attributes = [a.strip() for a in answer.headers["set-cookie"].split(";")]
    assert re.fullmatch(r"tranche_session=v1\.[0-9a-f]{8}\.[A-Za-z0-9+/=]+", attributes[0])
    assert attributes[1:] == ["Path=/ui", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]
    assert MASTER_KEY not in repr(answer)
    assert login(gateway, **{"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}).status in (200, 401)
    viewer = Viewer(gateway)
    seen = viewer.get()
    assert seen.status == 200 and seen.headers["cache-control"] == "no-store"
    assert seen.headers["x-tranche-csrf"] == viewer.csrf
    assert viewer.get(Cookie=f"a=b; {viewer.cookie}; c=d").status == 200
    for wrong in (viewer.cookie[:-2] + "A=", viewer.cookie.split("=")[0] + "=", "other=" + viewer.cookie.split("=", 1)[1]):
        envelope(viewer.get(Cookie=wrong), 401, code="no_session")
    for target in ("/health", "/v1/batches", "/metrics"):  # and opens nothing else
        assert viewer.get(target).status == 401
    gateway.wait_line("page: master key has logged in")


def attributes(answer):
    return [a.strip() for a in answer.headers["set-cookie"].split(";")][1:]


def test_over_tls_the_session_never_goes_in_the_clear(start, sim, wire_certificate):
    cert, key = wire_certificate
    gateway = start(balanced_config(sim, tranche_settings={"tls": {"cert_file": str(cert), "key_file": str(key)}}), sim=sim)
    gateway.tls = True
    viewer = Viewer(gateway)
    assert attributes(login(gateway)) == ["Path=/ui", "Max-Age=43200", "HttpOnly", "SameSite=Strict", "Secure"]
    assert viewer.get().status == 200
    assert attributes(viewer.post("/ui/logout"))[-1] == "Secure"


@pytest.mark.parametrize("scheme, secure", [("https", True), ("http", False), ("", False), ("httpss", False), (None, False)])
def test_behind_a_proxy_that_ends_tls_the_session_never_goes_in_the_clear(start, sim, scheme, secure):
    """In the clear without one, the browser would not take a Secure cookie."""
    key = "sk-a-key-that-serves-behind-a-proxy-too-0d4b7f"  # a weak one is for this machine alone
    gateway = start(balanced_config(sim, general_settings={"master_key": key}), sim=sim)
    answer = login(gateway, key, **({} if scheme is None else {"X-Forwarded-Proto": scheme}))
    assert answer.status == 200 and ("Secure" in attributes(answer)) == secure, answer


def test_below_a_root_path_the_cookie_is_for_the_page_there(start, sim):
    gateway = start(balanced_config(sim), sim=sim, env={"SERVER_ROOT_PATH": "/llm/"})
    for root in ("/llm", ""):  # a proxy in front may have cut it off
        answer = gateway.post(f"{root}/ui/login")
        assert "; Path=/llm/ui; Max-Age=43200;" in answer.headers["set-cookie"], answer
        session = {"Cookie": cookie_of(answer), "x-tranche-csrf": answer.json()["csrf"]}
        assert gateway.get(f"{root}/ui/state", key=None, headers=session).status == 200
        ended = gateway.post(f"{root}/ui/logout", key=None, headers=session)
        assert "=; Path=/llm/ui; Max-Age=0;" in ended.headers["set-cookie"], ended


def test_an_open_page_does_not_fill_the_access_log(start, sim):
    """Its looks are no lines of it. What failed is, and what was done."""
    gateway = start(balanced_config(sim), sim=sim, workers=1)
    viewer = Viewer(gateway)
    for _ in range(5):
        assert viewer.get().status == 200
    envelope(gateway.get("/ui/state", key=None), 401, code="no_session")
    assert viewer.post("/ui/logout").status == 200
    gateway.wait_line('"route":"ui.logout"')  # one process writes them in the order in which they ended
    looks = [line for line in gateway.log.splitlines() if '"route":"ui.state"' in line]
    assert len(looks) == 1 and '"status":401' in looks[0], looks
    assert '"route":"ui.login"' in gateway.log


def test_what_changes_something_needs_the_token_of_its_session(gateway):
    viewer, other = Viewer(gateway), Viewer(gateway)
    for wrong in ("x", other.csrf, viewer.csrf[:-1], viewer.csrf.upper() + "0"):
        envelope(viewer.post("/ui/logout", csrf=wrong), 403, code="csrf")
    envelope(gateway.post("/ui/logout", key=None, headers={"Cookie": viewer.cookie}), 403, code="csrf")
    assert viewer.get().status == 200
    answer = viewer.post("/ui/logout")
    assert answer.status == 200 and "=; Path=/ui; Max-Age=0;" in answer.headers["set-cookie"], answer
    for _ in range(4):  # whichever worker is asked
        envelope(viewer.get(), 401, code="no_session")
    assert other.get().status == 200
    gateway.wait_line("page: master key has logged out")
    assert gateway.get("/ui/logout").status == 405


def test_logins_that_fail_are_limited_and_say_when_to_come_back(gateway):
    def fail():
        return login(gateway, key="sk-wrong-0f1e2d3c4b5a")

    assert fail().status == 401 and login(gateway).status == 200
    answer = until(lambda: (a := fail()).status == 429 and a, "one too many has failed")
    refused = envelope(answer, 429, code="login_limit")
    assert 1 <= int(answer.headers["retry-after"]) <= 10 and "Try again in" in refused["message"]
    began = time.monotonic()
    assert login(gateway).status == 200, "whoever shares the operator's address keeps him out"
    more = 0
    while fail().status == 401:
        more += 1
    assert more <= 1 + (time.monotonic() - began) / 10, "a good login makes room for more that fail"
    assert gateway.get("/v1/models").status == 200
    assert gateway.get("/ui", key=None).status == 200


def test_without_the_setting_there_is_no_page(start, sim):
    gateway = start(balanced_config(sim, tranche_settings={"ui": False}), sim=sim)
    for method, target in (("GET", "/ui"), ("GET", "/ui/state"), ("POST", "/ui/login"), ("POST", "/ui/logout")):
        envelope(gateway.request(method, target), 404, code="unknown_url")


def test_a_gateway_without_a_key_lets_its_neighbours_in_and_no_other_page(start, sim):
    gateway = start({k: v for k, v in direct_config(sim).items() if k != "general_settings"}, sim=sim)
    viewer = Viewer(gateway, key=None)
    assert viewer.state()["version"]
    assert viewer.get(**{"Sec-Fetch-Site": "cross-site"}).status == 403
    envelope(viewer.get(Host="evil.example"), 421)


def test_a_key_of_a_tenant_does_not_open_it_and_an_admin_key_does(tenants, sim):  # noqa: F811
    gateway = tenants()
    viewer = Viewer(gateway, KEYS["admin"])
    for name in ("a1", "lone", "blocked", "unknown"):
        answer = login(gateway, KEYS[name])
        assert answer.status == (403 if name in ("a1", "lone") else 401), (name, answer)
        assert "set-cookie" not in answer.headers
    gateway.as_("a1").created(gateway.as_("a1").uploaded(lines(count=3))["id"])

    def held():
        state = viewer.state()
        return {(r["kind"], r["name"]): r for r in state["tenants"]["rows"]} or None

    rows = until(held, "the tenants' tokens are shown")
    assert set(rows) == {("key", "alias-a1"), ("team", "team-a")}
    assert rows["key", "alias-a1"]["batches"] == 1 and rows["key", "alias-a1"]["tokens"] > 0


def test_an_alias_is_printable_ascii_in_a_header(tenants):  # noqa: F811
    gateway = tenants(settings={"admin": {"key_alias": "ops \u00e9"}})
    viewer = Viewer(gateway, KEYS["admin"])
    assert viewer.get().headers["x-tranche-session-of"] == "ops ??"
    assert login(gateway, KEYS["admin"]).json()["who"] == "ops ??"


def test_the_state_tells_what_health_and_metrics_tell(gateway, sim):
    gateway.wait_line("generation 1 serves")  # all children were started
    viewer = Viewer(gateway)
    file = gateway.uploaded(lines(count=5))
    batch = gateway.created(file["id"])

    def settled():
        state = viewer.state()
        counted = state["ledger"]["total"] == 1 and sum(m[1] for m in state["minutes"]) >= 2
        return state if counted and {w["pid"] for w in state["workers"]} == set(gateway.workers()) else None

    state = until(settled, "the batch is in the ledger and its requests are counted")
    assert [b["id"] for b in state["ledger"]["batches"]] == [batch["id"]]
    assert state["deployments"]["total"] == 3 and len(state["deployments"]["rows"]) == 3
    by_id = {d["id"]: d for d in state["deployments"]["rows"]}
    runs = by_id[state["ledger"]["batches"][0]["deployment"]]
    assert runs["group"] == GROUP and runs["quota"]["batches"] == 1 and runs["quota"]["enqueued"] > 0
    assert runs["quota"]["limit_from"] in ("unknown", "header")
    assert {b["operation"] for b in runs["breakers"]} == {"upload", "create", "read"}
    assert all(b["state"] == "closed" and b["admits"] for b in runs["breakers"])
    assert sorted(w["role"] for w in state["workers"] if w["role"] != "keeper") == ["prober", "worker", "worker"]
    assert {w["pid"] for w in state["workers"]} == set(gateway.workers())
    assert state["journal"] is (gateway.database is not None) and (state["journal"] or state["batches"] == {})
    assert state["tenants"] == {"keys": 0, "rows": []}
    assert state["reload_failed"] is False and state["keys_problem"] is None and state["spool_limit"] > 0
    assert any("has logged in" in e["text"] for e in state["events"])


def test_a_deployment_in_trouble_stands_first_with_its_reason(gateway, sim):
    viewer = Viewer(gateway)
    sim.fault({"status": 401, "body": '{"error":{"message":"<b>no</b>"}}'}, account="sw", times=1000)

    def troubled():
        gateway.get("/v1/batches")  # which asks all accounts
        state = viewer.state()
        first = state["deployments"]["rows"][0]
        # The prober may have found its account unhealthy before a breaker opens.
        opened = any(not b["admits"] and b["reason"] == "auth" for b in first["breakers"])
        told = first["failures"].get("auth") and first.get("last_error", {}).get("status") == 401
        return first if opened and told and state["deployments"]["troubled"] == 1 else None

    first = until(troubled, "a breaker has opened")
    assert "gpt-4o-batch-sw" in first["model"]
    assert any(not b["admits"] and b["reason"] == "auth" and b["for_s"] > 0 for b in first["breakers"])
    assert first["failures"]["auth"] >= 1 and first["last_error"]["status"] == 401
    sim.clear_faults()


def test_many_viewers_cost_one_writing_of_the_state(start, sim):
    gateway = start(balanced_config(sim), sim=sim, workers=1)
    viewer = Viewer(gateway)
    until(lambda: viewer.get().body == viewer.get().body, "two that look within a second see the same text")


def test_with_a_journal_batches_come_from_there(start, sim, tmp_path):
    gateway = start(balanced_config(sim, tranche_settings={"database": f"sqlite://{tmp_path}/journal.db"}), sim=sim)
    made = gateway.created(gateway.uploaded(lines(count=7))["id"])
    viewer = Viewer(gateway)

    def shown():
        state = viewer.state()
        part = state["batches"]["open"]
        return state if part.get("list", {}).get("data") else None

    state = until(shown, "the journal's batches are shown")
    row = state["batches"]["open"]["list"]["data"][0]
    assert row["id"] == made["id"] and row["model"] == GROUP
    assert row["deployment"] in {d["id"] for d in state["deployments"]["rows"]}
    assert state["journal"] is True and state["batches"]["open"]["failed"] is False and state["database"]["up"] is True


def shown(state, account):
    return next(d for d in state["deployments"]["rows"] if d["model"].endswith(f"-{account}"))


def admitted(state, account):
    return {b["operation"]: b["admits"] for b in shown(state, account)["breakers"]}


def test_a_deployment_is_cooled_down_and_brought_back_by_hand(gateway, sim):
    viewer = Viewer(gateway)
    ids = {account: shown(viewer.state(), account)["id"] for account in ("eu", "us", "sw")}
    envelope(viewer.post(f"/ui/deployments/{ids['eu']}/cool", csrf="x"), 403, code="csrf")
    envelope(gateway.post(f"/ui/deployments/{ids['eu']}/cool"), 401, code="no_session")
    assert all(admitted(viewer.state(), "eu").values())
    for account in ("eu", "us"):
        answer = viewer.post(f"/ui/deployments/{ids[account]}/cool")
        assert (answer.status, answer.json()) == (200, {"cooled_for_s": 900}), answer
    state = until(lambda: (s := viewer.state()) and not admitted(s, "eu")["upload"] and not admitted(s, "us")["upload"] and s, "both rest")
    assert admitted(state, "eu") == {"upload": False, "create": False, "read": True}
    upload, = [b for b in shown(state, "eu")["breakers"] if b["operation"] == "upload"]
    assert upload["reason"] == "cancelled" and 600 < upload["for_s"] <= 900
    before = sim.created("files", ["sw"])
    for _ in range(4):
        gateway.uploaded(lines(count=2))
    assert sim.created("files", ["sw"]) == before + 4 and sim.created("files", ["eu", "us"]) == 0
    assert viewer.post(f"/ui/deployments/{ids['eu']}/restore").json() == {"restored": True}
    until(lambda: all(admitted(viewer.state(), "eu").values()), "it is admitted again")
    gateway.wait_line(f"page: master key cools down deployment {ids['us']}")
    gateway.wait_line(f"page: master key brings back deployment {ids['eu']}")
    envelope(viewer.post("/ui/deployments/nobody/cool"), 404, code="deployment_not_found")


def test_the_only_deployment_is_cooled_down_and_the_gateway_stays_ready(start, sim):
    config = direct_config(sim)
    config["files_settings"] = config["files_settings"][:1]
    gateway = start(config, sim=sim)
    viewer = Viewer(gateway)
    row, = viewer.state()["deployments"]["rows"]
    assert viewer.post(f"/ui/deployments/{row['id']}/cool").status == 200
    until(lambda: not all(b["admits"] for b in viewer.state()["deployments"]["rows"][0]["breakers"]), "it rests")
    for _ in range(4):  # whichever worker is asked
        answer = gateway.get("/health/readiness", key=None)
        assert answer.status == 200, answer


def test_who_asks_after_a_change_sees_it_though_the_text_was_being_written(start, sim):
    gateway = start(balanced_config(sim), sim=sim, workers=1)
    viewer = Viewer(gateway)
    row = shown(viewer.state(), "eu")["id"]
    headers = {"cookie": viewer.cookie, "x-tranche-csrf": viewer.csrf}
    with H2(gateway.port) as client:
        def ask(method, target):
            return client.request(method, target, headers=headers, key=None)

        for done, admits in (("cool", False), ("restore", True)) * 3:
            assert client.answer(ask("POST", f"/ui/deployments/{row}/restore")).status == 200  # the text is old now
            _, changed, after = ask("GET", "/ui/state"), ask("POST", f"/ui/deployments/{row}/{done}"), ask("GET", "/ui/state")
            assert client.answer(changed).status == 200
            assert admitted(client.answer(after).json(), "eu")["upload"] is admits


def test_where_nothing_is_cooled_down_a_hand_does_not_either(start, sim):
    gateway = start(balanced_config(sim, router_settings={"disable_cooldowns": True}), sim=sim)
    viewer = Viewer(gateway)
    row = viewer.state()["deployments"]["rows"][0]["id"]
    envelope(viewer.post(f"/ui/deployments/{row}/cool"), 409, code="cooldowns_disabled")


def test_a_batch_is_cancelled_by_who_has_a_session_and_its_token(gateway, sim):
    viewer = Viewer(gateway)
    batch = gateway.created(gateway.uploaded(lines(count=3))["id"])
    envelope(viewer.post(f"/ui/batches/{batch['id']}/cancel", csrf="x"), 403, code="csrf")
    assert gateway.get(f"/v1/batches/{batch['id']}").json()["status"] in ("validating", "in_progress")
    answer = viewer.post(f"/ui/batches/{batch['id']}/cancel")
    assert answer.status == 200 and answer.json()["id"] == batch["id"], answer
    assert answer.json()["status"] in ("cancelling", "cancelled")
    gateway.wait_line(f"page: master key cancels batch {batch['id']}")
    assert viewer.post("/ui/batches/batch_nobody/cancel").status == 404


def test_a_worker_is_drained_and_another_one_takes_its_place(gateway):
    viewer = Viewer(gateway)
    old = next(w["pid"] for w in viewer.state()["workers"] if w["role"] == "worker")
    envelope(viewer.post(f"/ui/workers/{old}/drain", csrf="x"), 403, code="csrf")
    assert viewer.post(f"/ui/workers/{old}/drain").json() == {"drains": True}

    def replaced():
        state = viewer.state()
        pids = [w["pid"] for w in state["workers"] if w["role"] == "worker" and not w["draining"]]
        return state if old not in pids and len(pids) == 2 and not alive(old) else None

    assert until(replaced, "another worker serves, and the old one is gone")["restarts"] == 0
    assert gateway.get("/v1/models").status == 200
    gateway.wait_line(f"page: master key has worker {old} drained and replaced")
    for pid in (old, 0, 1, "x"):
        envelope(viewer.post(f"/ui/workers/{pid}/drain"), 404, code="worker_not_found")
