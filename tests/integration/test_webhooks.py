"""Webhooks as their receivers see them (webhook statements D20 to D28): the official SDKs verify what is sent, secrets rotate, what
fails is tried again, and nothing but the public internet is ever connected to."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import time

import pytest
from harness import MASTER_KEY, PATIENCE, balanced_config, envelope, find_binary, free_port, keeper_of, kill_child, program_env, until
from hook_receiver import Receiver, signature, signatures
from openai import InvalidWebhookSignatureError, OpenAI
from postgres import empty
from test_upstream_tls import Authority

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOCAL = {"webhook_allow_http": True, "webhook_allow_addresses": ["127.0.0.1/32"]}
NODE = pathlib.Path(__file__).parent / "node"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def config_of(sim, url, **settings):
    return balanced_config(sim, tranche_settings={"database": url, "seal_keys": ["sk-0123456789abcdef-seal"], **LOCAL, **settings})


def call(gateway, method, target, body=None, key=MASTER_KEY):
    answer = gateway.request(method, target, None if body is None else json.dumps(body).encode(), headers=JSON if body is not None else None, key=key)
    return answer


def made(gateway, url, key=MASTER_KEY, **fields):
    answer = call(gateway, "POST", "/webhooks", {"url": url, **fields}, key=key)
    assert answer.status == 200, answer
    return answer.json()


def tell(gateway, hook):
    """Have it sent an event. Returns the event's id. A busy machine's database may not answer in time; then there is one event more."""
    answer = until(lambda: (lambda a: a.status != 503 and a)(call(gateway, "POST", f"/webhooks/{hook}/test", {})), "the database answers")
    assert answer.status == 200, answer
    return answer.json()["id"]


def story(gateway, hook, event):
    return next(e for e in gateway.get(f"/webhooks/{hook}/events?limit=100").json()["data"] if e["id"] == event)


def wait_story(gateway, hook, event, **wanted):
    return until(lambda: (lambda s: s if all(s[k] == v for k, v in wanted.items()) else None)(story(gateway, hook, event)),
                 f"event {event} with {wanted}")


def by_python(delivery, secret):
    try:
        return OpenAI(api_key="none").webhooks.unwrap(delivery.body, delivery.headers, secret=secret)
    except InvalidWebhookSignatureError:
        return None


def by_node(pairs):
    """[(delivery, secret)] -> what the Node SDK says of each; None: refused."""
    asked = json.dumps([{"payload": d.body.decode(), "headers": d.headers, "secret": s} for d, s in pairs])
    done = subprocess.run(["node", "unwrap.mjs"], cwd=NODE, env=program_env(), input=asked, capture_output=True, text=True,
                          timeout=PATIENCE * 5, check=False)
    assert done.returncode == 0, done.stderr
    return [None if "error" in one else one for one in json.loads(done.stdout.splitlines()[-1])]


def check_secrets_hidden(gateway, *secrets):
    for secret in secrets:
        assert secret not in gateway.log and secret not in gateway.get("/webhooks").body.decode()


def test_the_official_sdks_verify_what_is_sent_also_while_a_secret_rotates(start, sim, url, receiver):
    gateway = start(config_of(sim, url, webhooks=[{"url": receiver.url("/configured"), "secret": "os.environ/A_WEBHOOK_SECRET"}]), sim=sim,
                    env={"A_WEBHOOK_SECRET": SECRET})
    listed = until(lambda: gateway.get("/webhooks").json()["data"], "the endpoint of the configuration is there")
    assert [h["source"] for h in listed] == ["config"] and listed[0]["url"] == receiver.url("")  # its path is not shown
    hook = made(gateway, receiver.url("/made"))
    first, secret = hook["id"], hook["secret"]
    assert secret.startswith("whsec_")
    event = tell(gateway, listed[0]["id"])
    configured = receiver.wait("/configured")[0]
    assert configured.id == event
    assert set(configured.headers) == {"host", "content-type", "content-length", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature"}
    assert configured.headers["content-type"] == "application/json"
    assert abs(int(configured.headers["webhook-timestamp"]) - time.time()) < PATIENCE
    assert signatures(configured) == [signature(SECRET, configured)]
    body = json.loads(configured.body)
    assert body == {"id": event, "object": "event", "created_at": body["created_at"], "type": "batch.completed", "data": {"id": body["data"]["id"]}}
    tell(gateway, first)
    before = receiver.wait("/made")[0]
    rotated = call(gateway, "POST", f"/webhooks/{first}/rotate", {}).json()
    assert rotated["secret"] != secret and rotated["old_secret_until"] > time.time() + 23 * 3600
    tell(gateway, first)
    after = receiver.wait("/made", 2)[1]
    assert signatures(before) == [signature(secret, before)]
    assert signatures(after) == [signature(rotated["secret"], after), signature(secret, after)]
    pairs = [(configured, SECRET), (before, secret), (after, rotated["secret"]), (after, secret), (before, rotated["secret"]), (configured, secret)]
    good = [True, True, True, True, False, False]
    for (delivery, key), is_good, node in zip(pairs, good, by_node(pairs)):
        python = by_python(delivery, key)
        assert (python is not None) == is_good and (node is not None) == is_good, delivery
        if is_good:
            assert type(python).__name__ == "BatchCompletedWebhookEvent" and python.id == delivery.id == node["id"]
            assert node["type"] == "batch.completed" and node["batch"] == python.data.id
    check_secrets_hidden(gateway, SECRET, secret, rotated["secret"], "/configured")


def test_what_fails_is_tried_again_and_410_switches_off(start, sim, url, receiver):
    gateway = start(config_of(sim, url), sim=sim)
    receiver.answer("/again", 500)
    receiver.answer("/busy", (429, {"retry-after": "6"}))
    receiver.answer("/moved", (302, {"location": receiver.url("/elsewhere")}))
    receiver.answer("/gone", 410)
    receiver.answer("/long", (200, {}, b"x" * 2_000_000))
    hooks = {name: made(gateway, receiver.url(f"/{name}"))["id"] for name in ("again", "busy", "moved", "gone", "long")}
    events = {name: tell(gateway, hook) for name, hook in hooks.items()}
    # The same event and bytes, with a time and a signature of its own (D23)
    one, two = receiver.wait("/again", 2)
    assert one.id == two.id == events["again"] and one.body == two.body
    assert int(two.headers["webhook-timestamp"]) >= int(one.headers["webhook-timestamp"]) + 5
    assert one.headers["webhook-signature"] != two.headers["webhook-signature"]
    told = wait_story(gateway, hooks["again"], events["again"], state="delivered")
    assert (told["tries"], told["last_status"], told["next_try_at"]) == (2, 200, None)
    # Who asks for time gets it
    one, two = receiver.wait("/busy", 2)
    assert int(two.headers["webhook-timestamp"]) >= int(one.headers["webhook-timestamp"]) + 6
    wait_story(gateway, hooks["busy"], events["busy"], state="delivered", tries=2)
    # A redirect is a failure, and nobody follows it
    wait_story(gateway, hooks["moved"], events["moved"], state="delivered", tries=2)
    assert receiver.at("/elsewhere") == []
    # 410: nothing any more, until somebody says so; what was not delivered can be told again
    told = wait_story(gateway, hooks["gone"], events["gone"], state="given_up", last_status=410)
    shown = gateway.get(f"/webhooks/{hooks['gone']}").json()
    assert shown["enabled"] is False and "410" in shown["disabled_reason"]
    envelope(call(gateway, "POST", f"/webhooks/{hooks['gone']}/test", {}), 409)
    assert call(gateway, "PATCH", f"/webhooks/{hooks['gone']}", {"enabled": True}).json()["enabled"] is True
    assert call(gateway, "POST", f"/webhooks/events/{events['gone']}/replay", {}).json()["endpoints"] == 1
    again = receiver.wait("/gone", 2)
    assert again[0].id == again[1].id and again[0].body == again[1].body
    wait_story(gateway, hooks["gone"], events["gone"], state="delivered")
    # Of a long answer no more is read than is good for anything
    wait_story(gateway, hooks["long"], events["long"], state="delivered", tries=1)


def test_a_receiver_that_is_away_gets_it_when_it_is_back(start, sim, tmp_path):
    gone = Receiver(port=free_port())  # which nobody gets while it is away
    url, port = gone.url("/x"), gone.port
    gone.close()
    gateway = start(config_of(sim, f"sqlite://{tmp_path}/journal.db"), sim=sim)
    hook = made(gateway, url)["id"]
    event = tell(gateway, hook)
    told = until(lambda: s if (s := story(gateway, hook, event))["last_error"] else None, "the failure is told")
    assert told["tries"] >= 1 and told["state"] == "pending" and told["last_status"] is None
    back = Receiver(port=port)
    try:
        assert back.wait("/x")[0].id == event
        assert wait_story(gateway, hook, event, state="delivered")["tries"] >= 2
        gateway.wait_line(rf"webhook {hook} .* does not take events: connect")
        gateway.wait_line(rf"webhook {hook} .* takes events again")
    finally:
        back.close()


def test_only_addresses_of_the_public_internet_are_connected_to(start, sim, tmp_path, receiver):
    gateway = start(config_of(sim, f"sqlite://{tmp_path}/journal.db", webhook_allow_addresses=["10.1.0.0/16"]), sim=sim)
    for host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fd00::1]", "100.64.0.1"):
        answer = call(gateway, "POST", "/webhooks", {"url": f"https://{host}/x"})
        envelope(answer, 422, param="url")
    for wrong in ("https://u:p@h.example/", "ftp://h.example/", "https://127.1/", "https://h.example/#x"):
        envelope(call(gateway, "POST", "/webhooks", {"url": wrong}), 422, param="url")
    # A name is judged by what it is when it is connected to
    hook = made(gateway, receiver.url("/x", host="localhost"))["id"]
    event = tell(gateway, hook)
    told = until(lambda: (lambda s: s if s["tries"] >= 2 and s["last_error"] and s["next_try_at"] else None)(story(gateway, hook, event)),
                 "it was tried twice")
    assert "forbidden" in told["last_error"] and told["last_status"] is None and told["state"] == "pending"
    assert receiver.deliveries == []


def test_clear_text_is_refused_unless_it_is_allowed(start, sim, tmp_path, receiver):
    gateway = start(config_of(sim, f"sqlite://{tmp_path}/journal.db", webhook_allow_http=False), sim=sim)
    envelope(call(gateway, "POST", "/webhooks", {"url": receiver.url("/x")}), 422, param="url")


def test_a_receivers_certificate_is_verified(start, sim, tmp_path):
    where = tmp_path / "tls"
    where.mkdir()
    ours, other = Authority(where, "ours"), Authority(where, "other")
    good, bad = Receiver(tls=ours.sign()), Receiver(tls=other.sign())
    try:
        gateway = start(config_of(sim, f"sqlite://{tmp_path}/journal.db", webhook_allow_http=False, webhook_ca_file=ours.cert), sim=sim)
        hooks = [made(gateway, r.url("/x"))["id"] for r in (good, bad)]
        events = [tell(gateway, hook) for hook in hooks]
        assert good.wait("/x")[0].id == events[0]
        until(lambda: story(gateway, hooks[1], events[1])["last_error"], "the other one is refused")
        assert bad.deliveries == []
    finally:
        good.close()
        bad.close()


def hosts_may_be_ours():
    """Whether this machine lets us give a program a file of hosts of its own."""
    done = subprocess.run(["unshare", "-rm", "mount", "--bind", "/etc/hostname", "/etc/hosts"], capture_output=True, check=False) \
        if shutil.which("unshare") else None
    return done is not None and done.returncode == 0


def test_a_name_that_turns_private_between_two_tries_is_refused(start, sim, tmp_path, monkeypatch):
    if not hosts_may_be_ours():
        pytest.skip("no mount namespaces here (unshare -rm)")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 hook.example\n127.0.0.1 localhost\n")
    public = Receiver(host="127.0.0.2", port=free_port())  # free at the other address, too
    private = Receiver(host="127.0.0.1", port=public.port)
    program = tmp_path / "tranche"
    program.write_text("#!/bin/sh\nexec unshare -rm sh -c 'mount --bind \"$0\" /etc/hosts && exec \"$@\"' "
                       f"{hosts} {find_binary('tranche')} \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setattr("harness.find_binary", lambda name: str(program) if name == "tranche" else find_binary(name))
    try:
        gateway = start(config_of(sim, f"sqlite://{tmp_path}/journal.db", webhook_allow_addresses=["127.0.0.2"]), sim=sim)
        public.answer("/x", 503)
        hook = made(gateway, public.url("/x", host="hook.example"))["id"]
        tell(gateway, hook)
        public.wait("/x")
        hosts.write_text("127.0.0.1 hook.example\n127.0.0.1 localhost\n")
        event = tell(gateway, hook)
        until(lambda: "forbidden" in (story(gateway, hook, event)["last_error"] or ""), "the private address is refused")
        assert private.deliveries == [] and len(public.deliveries) == 1
    finally:
        public.close()
        private.close()


def test_a_tenant_has_its_own_and_is_shown_no_others(start, sim, tmp_path, receiver):
    gateway = start(config_of(sim, f"sqlite://{tmp_path}/journal.db"), sim=sim)
    alice, bob = (gateway.post("/key/generate", json.dumps({"key_alias": name}).encode(), headers=JSON).json()["key"] for name in ("alice", "bob"))
    hook = made(gateway, receiver.url("/x"), key=alice)["id"]
    assert [h["id"] for h in gateway.get("/webhooks", key=alice).json()["data"]] == [hook]
    assert gateway.get("/webhooks", key=bob).json()["data"] == []
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test"), ("GET", "/events")):
        envelope(call(gateway, method, f"/webhooks/{hook}{path}", None if method == "GET" else {}, key=bob), 404)
    event = tell(gateway, hook)
    receiver.wait("/x")
    envelope(call(gateway, "POST", f"/webhooks/events/{event}/replay", {}, key=bob), 404)
    assert call(gateway, "POST", f"/webhooks/events/{event}/replay", {}, key=alice).json()["endpoints"] == 1
    receiver.wait("/x", 2)
    assert call(gateway, "DELETE", f"/webhooks/{hook}", key=alice).json()["deleted"] is True
    envelope(gateway.get(f"/webhooks/{hook}", key=alice), 404)
    envelope(gateway.get("/webhooks", key="sk-nobody-0123456789"), 401)


def test_secrets_survive_a_change_of_the_seal_key(start, sim, tmp_path, receiver):
    url = f"sqlite://{tmp_path}/journal.db"
    gateway = start(config_of(sim, url), sim=sim)
    hook = made(gateway, receiver.url("/x"))
    gateway.stop()
    gateway = start(config_of(sim, url, seal_keys=["sk-another-0123456789abc", "sk-0123456789abcdef-seal"]), sim=sim)
    tell(gateway, hook["id"])
    assert signatures(receiver.wait("/x")[0]) == [signature(hook["secret"], receiver.at("/x")[0])]
    gateway.stop()  # it was sealed anew: the old key is not needed any more
    gateway = start(config_of(sim, url, seal_keys=["sk-another-0123456789abc"]), sim=sim)
    tell(gateway, hook["id"])
    assert signatures(receiver.wait("/x", 2)[1]) == [signature(hook["secret"], receiver.at("/x")[1])]
    gateway.stop()
    gateway = start(config_of(sim, url, seal_keys=["sk-a-third-0123456789abc"]), sim=sim)
    gateway.wait_line(rf"webhook {hook['id']} cannot be told of events: no seal key")


def test_without_a_database_nothing_is_different(start, sim):
    gateway = start(balanced_config(sim, tranche_settings={"database": "none"}), sim=sim)
    envelope(gateway.get("/webhooks"), 404, code="unknown_url")
    gateway.created(gateway.uploaded()["id"], webhook={"x": 1})  # its provider may know what that is
    sent = next(r for r in sim.requests() if r["method"] == "POST" and "/batches" in r["target"])
    assert json.loads(sent["body"])["webhook"] == {"x": 1}


def test_a_batchs_end_is_told_with_its_results_readable(start, sim, url, receiver):
    gateway = start(config_of(sim, url), sim=sim)
    everything, failures = (made(gateway, receiver.url(path), events=events)["id"] for path, events in (
        ("/all", None), ("/cancelled", ["batch.cancelled"])))
    file = gateway.uploaded()["id"]
    done, dropped = gateway.created(file)["id"], gateway.created(file)["id"]
    assert gateway.post(f"/v1/batches/{dropped}/cancel").status == 200
    gateway.wait_batch(sim, dropped, "cancelled")
    gateway.wait_batch(sim, done)
    told = {json.loads(d.body)["data"]["id"]: d for d in receiver.wait("/all", 2)}
    assert {batch: json.loads(d.body)["type"] for batch, d in told.items()} == {done: "batch.completed", dropped: "batch.cancelled"}
    results = gateway.get(f"/v1/batches/{done}").json()["output_file_id"]
    assert len(gateway.get(f"/v1/files/{results}/content").body.splitlines()) == 3
    assert [json.loads(d.body)["data"]["id"] for d in receiver.wait("/cancelled")] == [dropped]
    assert story(gateway, failures, receiver.at("/cancelled")[0].id)["batch_id"] == dropped
    # However often it is asked for, an end is told once
    for batch in (done, dropped):
        gateway.get(f"/v1/batches/{batch}")
    tell(gateway, everything)
    receiver.wait("/all", 3)
    assert len(receiver.at("/cancelled")) == 1


def kills(start, sim, url, receiver, batches, times):
    """Batches end while their keeper is killed again and again. Returns how often it was."""
    gateway = start(config_of(sim, url, webhooks=[{"url": receiver.url("/x"), "secret": SECRET}]), sim=sim)
    gateway.deaths_expected = True
    file = gateway.uploaded()["id"]
    ids = [gateway.created(file)["id"] for _ in range(batches)]
    sim.advance(3_600_000)
    seed = int(os.environ.get("TRANCHE_SEED", time.time()))
    print(f"TRANCHE_SEED={seed}")
    moments = sorted(random.Random(seed).sample(range(1, batches), times))
    for number, batch in enumerate(ids):
        if number in moments:
            kill_child(keeper_of(gateway))
        gateway.wait_batch(sim, batch)
    receiver.wait("/x", batches, timeout=PATIENCE * 10)
    until(lambda: {json.loads(d.body)["data"]["id"] for d in receiver.at("/x")} == set(ids), "each batch is told of", timeout=PATIENCE * 10)
    events = {}
    for delivery in receiver.at("/x"):
        assert signatures(delivery) == [signature(SECRET, delivery)]
        events.setdefault(json.loads(delivery.body)["data"]["id"], set()).add((delivery.id, delivery.body))
    assert all(len(seen) == 1 for seen in events.values())  # perhaps twice, but one event
    return len(moments)


def test_no_event_is_lost_when_the_keeper_is_killed(start, sim, url, receiver):
    assert kills(start, sim, url, receiver, batches=12, times=3) == 3


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_event_of_a_thousand_batches_is_lost_by_fifty_kills(start, sim, url, receiver):
    assert kills(start, sim, url, receiver, batches=1000, times=50) == 50


def test_a_batch_may_have_an_endpoint_of_its_own(start, sim, url, receiver):
    gateway = start(config_of(sim, url), sim=sim)
    file = gateway.uploaded()["id"]
    own = {"url": receiver.url("/own"), "secret": SECRET, "events": ["batch.completed"]}
    for wrong, param in (("text", "webhook"), ({}, "webhook.url"), ({"url": "ftp://h.example/", "secret": SECRET}, "webhook.url"),
                         ({"url": "https://10.0.0.1/", "secret": SECRET}, "webhook.url"), ({"url": own["url"]}, "webhook.secret"),
                         ({**own, "secret": "short"}, "webhook.secret"), ({**own, "events": []}, "webhook.events"), ({**own, "x": 1}, "webhook")):
        envelope(gateway.create(file, webhook=wrong), 400, param=param)
    assert sim.created("batches") == 0
    # As an SDK sends it; a repeat with another endpoint is another request
    client = OpenAI(base_url=f"{gateway.url}/v1", api_key=MASTER_KEY, max_retries=0)
    wanted = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "extra_headers": {"Idempotency-Key": "one"}}
    batch = client.batches.create(**wanted, extra_body={"webhook": own}).id
    assert client.batches.create(**wanted, extra_body={"webhook": own}).id == batch
    envelope(gateway.create(file, webhook={**own, "url": receiver.url("/other")}, headers={"Idempotency-Key": "one"}), 409)
    other = gateway.created(file, webhook=None)["id"]
    assert sim.created("batches") == 2
    for one in (batch, other):
        gateway.wait_batch(sim, one)
    delivery = receiver.wait("/own")[0]
    assert json.loads(delivery.body)["data"]["id"] == batch and signatures(delivery) == [signature(SECRET, delivery)]
    assert gateway.get("/webhooks").json()["data"] == []  # it is nobody's to manage
    everything = made(gateway, receiver.url("/all"))["id"]
    tell(gateway, everything)
    receiver.wait("/all")  # what was due before has been told by now
    assert [json.loads(d.body)["data"]["id"] for d in receiver.at("/own")] == [batch]
    assert SECRET not in gateway.log and "webhook" not in json.dumps([r for r in sim.requests() if "/batches" in r["target"]])


def test_what_a_retry_sends_says_nothing_of_its_secret(start, sim, url, receiver):
    gateway = start(config_of(sim, url), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])["id"]
    gateway.post(f"/v1/batches/{batch}/cancel")
    gateway.wait_batch(sim, batch, "cancelled")

    def retry(**fields):
        answer = gateway.post(f"/v1/batches/{batch}/retry", {"webhook": {"url": receiver.url("/own"), "secret": SECRET, **fields}},
                              headers={"Idempotency-Key": "one"})
        assert answer.status == 200, answer
        return answer.json()
    # Its fingerprint goes to the provider: with another secret it is the same.
    new = retry()["id"]
    assert retry(secret="another-secret-of-a-receiver")["id"] == new
    envelope(gateway.post(f"/v1/batches/{batch}/retry", {"webhook": {"url": receiver.url("/other"), "secret": SECRET}},
                          headers={"Idempotency-Key": "one"}), 409, code="idempotency_key_reused")
    gateway.wait_batch(sim, new)
    delivery = receiver.wait("/own")[0]
    assert json.loads(delivery.body)["data"]["id"] == new and signatures(delivery) == [signature(SECRET, delivery)]
    assert "webhook" not in json.dumps([r for r in sim.requests() if "/batches" in r["target"]])


def test_an_endpoint_of_its_own_outlives_an_outage_of_the_database(start, sim, tmp_path, receiver, cluster):
    gateway = start(config_of(sim, empty(cluster).url, state_dir=str(tmp_path)), sim=sim)
    file = gateway.uploaded()["id"]
    until(lambda: gateway.get("/webhooks").status == 200, "the database is there")
    cluster.stop()
    try:
        batch = gateway.created(file, webhook={"url": receiver.url("/own"), "secret": SECRET})["id"]
        kept = [path.read_bytes() for path in tmp_path.rglob("*.outbox")]
        assert any(receiver.url("/own").encode() in one for one in kept) and not any(SECRET.encode() in one for one in kept)
    finally:
        cluster.start()
    gateway.wait_batch(sim, batch)
    delivery = receiver.wait("/own")[0]
    assert json.loads(delivery.body)["data"]["id"] == batch and signatures(delivery) == [signature(SECRET, delivery)]
