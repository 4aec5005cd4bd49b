"""What is asked twice is done once: by Idempotency-Key, and by what SDKs say when they repeat."""

import contextlib
import hmac
import http.client
import os
import signal
import threading
import time

import pytest
from harness import (GROUP, azure_account, azure_deployment, balanced_config, envelope, is_probe, is_upkeep, lines, sim_config,
                     until)


def keyed(gateway, file_id, key="key-1", headers=(), **more):
    return gateway.create(file_id, headers={"Idempotency-Key": key, **dict(headers)}, **more)


def repeated(gateway, file_id, count=1, **more):
    return gateway.create(file_id, headers={"x-stainless-retry-count": str(count)}, **more)


def same_answer(a, b):
    assert a.status == b.status == 200, (a, b)
    assert a.body == b.body


def sealed(seal, text):
    """A marker as crypto/marker.h seals it."""
    prk = hmac.new(b"\0" * 32, seal.encode(), "sha256").digest()
    key = hmac.new(prk, b"tranche id seal\1", "sha256").digest()
    return text + hmac.new(key, b"t" + text.encode(), "sha256").hexdigest()[:16]


# --- Idempotency-Key on creates ---


@pytest.mark.database
def test_the_same_key_and_request_get_the_same_answer(gateway, sim):
    file = gateway.uploaded()
    first = keyed(gateway, file["id"])
    for _ in range(6):  # whichever worker takes it
        again = keyed(gateway, file["id"])
        same_answer(first, again)
        assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert sim.created("batches") == 1


def test_another_key_is_another_batch(gateway, sim):
    file = gateway.uploaded()
    a, b = keyed(gateway, file["id"], "one"), keyed(gateway, file["id"], "two")
    assert a.json()["id"] != b.json()["id"] and sim.created("batches") == 2


@pytest.mark.database
def test_the_same_key_with_another_request_is_a_conflict(gateway, sim):
    file = gateway.uploaded()
    keyed(gateway, file["id"])
    answer = keyed(gateway, file["id"], metadata={"a": "b"})
    envelope(answer, 409, code="idempotency_key_reused")
    assert answer.headers["x-should-retry"] == "false"
    assert sim.created("batches") == 1


@pytest.mark.database
def test_of_many_at_once_one_wins_and_the_others_wait(gateway, sim):
    file = gateway.uploaded()
    sim.fault({"delay_ms": 200}, method="POST", path="/openai/batches*", times=1)
    got = []
    threads = [threading.Thread(target=lambda: got.append(keyed(gateway, file["id"]))) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a.status for a in got] == [200] * 12
    assert len({a.body for a in got}) == 1
    assert sim.created("batches") == 1


def test_a_refused_create_leaves_its_key_free(gateway, sim):
    file = gateway.uploaded()
    sim.fault({"status": 400, "body": {"error": {"code": "invalidPayload", "message": "no"}}},
              method="POST", path="/openai/batches*", times=2)
    envelope(keyed(gateway, file["id"]), 400)
    assert keyed(gateway, file["id"]).status == 200
    assert sim.created("batches") == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"], ids=["empty", "256", "accent"])
def test_a_key_that_is_none_is_told(gateway, sim, key):
    file = gateway.uploaded()
    answer = gateway.create(file["id"], headers={"Idempotency-Key": key.encode("latin-1")})
    envelope(answer, 400)
    assert sim.created("batches") == 0


def test_the_longest_key_is_one(gateway, sim):
    file = gateway.uploaded()
    same_answer(keyed(gateway, file["id"], "k" * 255), keyed(gateway, file["id"], "k" * 255))
    assert sim.created("batches") == 1


@pytest.mark.database
def test_a_key_is_remembered_over_a_reload(gateway, sim):
    file = gateway.uploaded()
    first = keyed(gateway, file["id"])
    gateway.send(signal.SIGHUP)
    gateway.wait_line("generation 2 serves")
    same_answer(first, keyed(gateway, file["id"]))
    assert sim.created("batches") == 1


def test_a_key_is_found_upstream_by_a_gateway_that_has_forgotten_it(start, sim):
    first = start(balanced_config(sim), sim=sim)
    file = first.uploaded()
    made = keyed(first, file["id"]).json()
    first.finish(sim)
    second = start(balanced_config(sim), sim=sim)
    again = keyed(second, file["id"])
    assert again.status == 200 and again.json()["id"] == made["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert sim.created("batches") == 1


@pytest.mark.parametrize("ask", [keyed, repeated], ids=["key", "retry"])
def test_what_was_made_days_ago_is_no_answer_to_a_new_request(start, sim, ask):
    """The nightly job: the same file, the same words, each day a batch of its own."""
    config = balanced_config(sim, accounts=["eu"])
    first = start(config, sim=sim)
    file = first.uploaded()
    assert ask(first, file["id"]).status == 200
    first.finish(sim)
    (old,) = sim.ledger("eu")["batches"]
    listed = {"id": old["id"], "object": "batch", "status": "completed", "metadata": old["metadata"],
              "created_at": int(time.time()) - 3 * 86400}
    sim.fault({"status": 200, "body": {"object": "list", "data": [listed], "has_more": False}},
              account="eu", method="GET", path="/openai/batches", times=1000)
    answer = ask(start(config, sim=sim), file["id"])
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers, answer
    assert sim.created("batches") == 2


def test_a_key_is_found_behind_hundreds_of_newer_batches(start, sim):
    """No page is the last one to look at while its batches are younger than the key's day."""
    config = balanced_config(sim, accounts=["eu"])
    first = start(config, sim=sim)
    file = first.uploaded()
    made = keyed(first, file["id"]).json()
    first.finish(sim)
    (old,) = sim.ledger("eu")["batches"]
    now = int(time.time())

    def page(n):
        data = [{"id": f"batch_{n}_{i}", "object": "batch", "status": "completed", "created_at": now} for i in range(100)]
        return {"object": "list", "data": data, "has_more": True}

    sim.control("POST", "/control/switches", {"account": "eu", "set": {"unknown_after": "ignore"}})
    for n in range(8):
        sim.fault({"status": 200, "body": page(n)}, account="eu", method="GET", path="/openai/batches", times=1)
    answer = keyed(start(config, sim=sim), file["id"])
    assert answer.status == 200 and answer.json()["id"] == made["id"] and old["id"] in made["id"]
    assert sim.created("batches") == 1


def test_a_key_is_looked_for_in_every_account_that_may_have_its_batch(start, make_sim):
    """A batch that was moved may lie in any account, not only in the first ones of the list."""
    names = [f"az{n:02}" for n in range(12)]
    sim = make_sim(sim_config([azure_account(n) for n in names]))
    rows = [azure_deployment(sim, n, group="others") for n in names]
    rows[0] = azure_deployment(sim, names[0], weight=1)
    rows[-1] = azure_deployment(sim, names[-1], weight=0)
    config = balanced_config(sim, accounts=(), model_list=rows)
    first = start(config, sim=sim)
    file = first.uploaded()
    sim.fault({"status": 429}, account=names[0], method="POST", path="/openai/batches*", times=1)
    made = keyed(first, file["id"])
    assert made.status == 200 and sim.created("batches", [names[-1]]) == 1
    first.finish(sim)
    again = keyed(start(config, sim=sim), file["id"])
    assert again.status == 200 and again.json()["id"] == made.json()["id"], again
    assert sim.created("batches") == 1


def test_when_nobody_can_tell_nothing_is_created(start, sim):
    first = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = first.uploaded()
    keyed(first, file["id"])
    first.finish(sim)
    second = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches*", times=1000)
    answer = keyed(second, file["id"])
    envelope(answer, 503, code="repeat_unknown")
    assert sim.created("batches") == 1
    sim.clear_faults()
    assert keyed(second, file["id"]).status == 200
    assert sim.created("batches") == 1


def test_a_lost_create_that_is_not_found_stays_unknown(gateway, sim):
    file = gateway.uploaded()
    sim.fault({"close": "head"}, method="POST", path="/openai/batches*", times=1)  # ends before it is executed
    first = keyed(gateway, file["id"])
    if first.status == 502:
        for _ in range(2):
            answer = keyed(gateway, file["id"])
            envelope(answer, 502, code="create_outcome_unknown")
            assert answer.headers["x-should-retry"] == "false"
        assert sim.created("batches") == 0
    else:
        assert sim.created("batches") == 1


def test_an_answer_too_long_to_be_kept_is_asked_for_again(gateway, sim):
    pairs = {f"key{n}": "v" * 500 for n in range(15)}
    file = gateway.uploaded()
    first = keyed(gateway, file["id"], metadata=pairs)
    again = keyed(gateway, file["id"], metadata=pairs)
    assert first.status == again.status == 200
    assert first.json()["id"] == again.json()["id"] and again.json()["metadata"] == pairs
    assert sim.created("batches") == 1


# --- Idempotency-Key on uploads ---


@pytest.mark.database
def test_an_upload_with_the_same_key_is_made_once(gateway, sim):
    first = gateway.upload(headers={"Idempotency-Key": "u1"})
    again = gateway.upload(headers={"Idempotency-Key": "u1"})
    same_answer(first, again)
    assert sim.created("files") == 1


EXPIRES = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "1209600"}


@pytest.mark.parametrize("other", [{"data": lines(count=4)}, {"filename": "other.jsonl"}, {"fields": {"purpose": "user_data"}},
                                   {"fields": EXPIRES}, {"fields": {"target_model_names": GROUP}},
                                   {"fields": {"custom_llm_provider": "azure"}}],
                         ids=["bytes", "name", "purpose", "expiry", "groups", "provider"])
def test_an_upload_of_something_else_under_the_same_key_is_a_conflict(gateway, sim, other):
    gateway.upload(headers={"Idempotency-Key": "u1"})
    answer = gateway.upload(headers={"Idempotency-Key": "u1"}, **other)
    envelope(answer, 409, code="idempotency_key_reused")
    assert sim.created("files") == 1


def test_uploads_at_once_with_one_key_are_one_file(gateway, sim):
    got = []
    sim.fault({"delay_ms": 200}, method="POST", path="/openai/files*", times=1)
    threads = [threading.Thread(target=lambda: got.append(gateway.upload(headers={"Idempotency-Key": "u"}))) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a.status for a in got] == [200] * 6 and len({a.body for a in got}) == 1
    assert sim.created("files") == 1


def test_a_refused_upload_leaves_its_key_free(gateway, sim):
    envelope(gateway.upload(b"not json\n", headers={"Idempotency-Key": "u1"}), 400)
    assert gateway.upload(headers={"Idempotency-Key": "u1"}).status == 200


# --- what SDKs say when they repeat ---


@pytest.mark.database
def test_an_sdks_retry_of_a_create_is_the_same_create(gateway, sim):
    file = gateway.uploaded()
    first = gateway.create(file["id"], headers={"x-stainless-retry-count": "0"})
    same_answer(first, repeated(gateway, file["id"]))
    assert sim.created("batches") == 1


def test_the_same_create_on_purpose_is_another_batch(gateway, sim):
    file = gateway.uploaded()
    ids = [gateway.create(file["id"], headers={"x-stainless-retry-count": "0"}).json()["id"] for _ in range(3)]
    assert len(set(ids)) == 3 == sim.created("batches")
    assert repeated(gateway, file["id"]).json()["id"] == ids[-1]


@pytest.mark.parametrize("field", [None, 1, 2], ids=["the_same", "another_owner", "another_request"])
def test_after_a_restart_only_the_same_request_of_the_same_owner_is_taken_for_the_one_before(start, sim, field):
    """What the provider lists carries markers of this gateway's seal; the one in question differs in one field."""
    seal = "a-seal-key-of-the-tests"
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"seal_keys": [seal]})
    first = start(config, sim=sim)
    file = first.uploaded()
    first.created(file["id"])
    first.finish(sim)
    (old,) = sim.ledger("eu")["batches"]
    fields = old["metadata"]["tranche"][:-16].split(".")
    if field is not None:
        fields[field] = f"{int(fields[field], 16) ^ 1:016x}"
    # Newer than the start of the second gateway: it says nothing of one before that.
    listed = {"id": old["id"], "object": "batch", "status": "in_progress", "created_at": int(time.time()) + 30,
              "metadata": {"tranche": sealed(seal, ".".join(fields))}}
    sim.fault({"status": 200, "body": {"object": "list", "data": [listed], "has_more": False}},
              account="eu", method="GET", path="/openai/batches", times=1000)
    answer = repeated(start(config, sim=sim), file["id"])
    assert answer.status == 200 and ("idempotent-replayed" in answer.headers) == (field is None), answer
    assert sim.created("batches") == (1 if field is None else 2)


def test_a_retry_after_a_refusal_is_made(gateway, sim):
    file = gateway.uploaded()
    sim.fault({"status": 400, "body": {"error": {"code": "x", "message": "no"}}}, method="POST", path="/openai/batches*", times=2)
    envelope(gateway.create(file["id"]), 400)
    assert repeated(gateway, file["id"]).status == 200
    assert sim.created("batches") == 1


@pytest.mark.database
def test_a_lost_create_is_found_by_a_later_retry(gateway, sim):
    """The answer is lost, and the provider lists no batches until we have given up looking."""
    file = gateway.uploaded()
    sim.fault({"close": "answer"}, method="POST", path="/openai/batches*", times=1)
    sim.fault({"status": 503}, method="GET", path="/openai/batches*", times=1000)
    answer = gateway.create(file["id"])
    envelope(answer, 502, code="create_outcome_unknown")
    envelope(repeated(gateway, file["id"]), 502, code="create_outcome_unknown")
    sim.clear_faults()
    found = repeated(gateway, file["id"])
    assert found.status == 200 and found.headers["idempotent-replayed"] == "true"
    assert sim.created("batches") == 1
    same_answer(found, repeated(gateway, file["id"], 2))


def test_a_worker_that_dies_in_a_create_leaves_one_batch_and_the_retry_gets_it(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim, workers=1)
    gateway.deaths_expected = True
    file = gateway.uploaded()
    sim.fault({"hang": "answer", "ms": 600_000}, account="eu", method="POST", path="/openai/batches*", times=1)
    outcome = []

    def create():
        try:
            outcome.append(gateway.create(file["id"]))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=create)
    before = set(gateway.workers())
    thread.start()
    until(lambda: sim.created("batches") == 1, "the batch is made, and its answer hangs")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    thread.join()
    sim.release()
    assert isinstance(outcome[0], OSError), outcome
    sim.wait("eu", "POST", "/openai/batches*", phase="answered")
    answer = until(lambda: try_again(gateway, file["id"]), "the gateway serves again")
    assert answer.status == 200, answer
    assert sim.created("batches") == 1
    assert answer.json()["id"] == gateway.get("/v1/batches").json()["data"][0]["id"]


def try_again(gateway, file_id):
    try:
        return repeated(gateway, file_id)
    except OSError:
        return None


def test_a_moved_batch_is_found_by_its_key_wherever_it_went(start, make_sim):
    """Ten accounts, the batch at the last one, and a gateway that has forgotten all about it."""
    names = [f"a{n}" for n in range(10)]
    sim = make_sim(sim_config([azure_account(a, deployments=[{
        "name": f"gpt-4o-batch-{a}", "model": "gpt-4o", "sku": "GlobalBatch", "refusal": "fast",
        "enqueued_token_limit": 600 if a == "a0" else 0}]) for a in names]))
    order = {"a0": 1, "a9": 2}
    rows = [azure_deployment(sim, a, order=order.get(a, 3)) for a in names]
    config = balanced_config(sim, accounts=(), model_list=rows)
    first = start(config, sim=sim)
    file = first.uploaded(lines(count=20))
    made = keyed(first, file["id"]).json()
    assert sim.created("batches", ["a9"]) == 1
    first.finish(sim)
    again = keyed(start(config, sim=sim), file["id"])
    assert again.status == 200 and again.json()["id"] == made["id"] and again.json()["input_file_id"] == file["id"]
    assert sim.created("batches") == 1


def test_a_batch_that_is_not_listed_yet_after_a_restart_is_not_made_again(start, sim):
    """The gateway was killed with a create on its way; the provider lists the batch a moment later."""
    first = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = first.uploaded()
    made = first.created(file["id"])
    first.finish(sim)
    seen = len([r for r in sim.requests("eu", probes=True, upkeep=True) if r["method"] == "GET" and "/openai/batches?" in r["target"]])
    second = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    sim.wait("eu", "GET", "/openai/batches", count=seen + 2)  # the prober's: is it healthy, what runs there
    sim.fault({"status": 200, "body": {"object": "list", "data": [], "has_more": False}}, account="eu", method="GET",
              path="/openai/batches", times=1)
    again = repeated(second, file["id"])
    assert again.status == 200 and again.json()["id"] == made["id"]
    assert sim.created("batches") == 1


def killed_in_a_create(start, sim, config, **more):
    """A gateway that was killed, all of it, while the provider still had to carry a keyed create out."""
    gateway = start(config, sim=sim)
    gateway.deaths_expected = True
    file = gateway.uploaded()
    sim.fault({"hang": "head", **more}, account="eu", method="POST", path="/openai/batches*", times=1)

    def create():
        with contextlib.suppress(OSError, http.client.HTTPException):
            keyed(gateway, file["id"])

    thread = threading.Thread(target=create)
    thread.start()
    sim.wait("eu", "POST", "/openai/batches*", phase="received")
    os.killpg(gateway.pid, signal.SIGKILL)
    thread.join()
    return file


def test_a_key_that_is_used_again_right_after_a_crash_makes_no_second_batch(start, sim):
    """The provider carries the create out when the gateway that sent it is gone and the next one has asked."""
    config = balanced_config(sim, accounts=["eu"])
    file = killed_in_a_create(start, sim, config, ms=1500)
    again = keyed(start(config, sim=sim), file["id"])
    sim.wait("eu", "POST", "/openai/batches*", count=len(creates(sim, "eu")))
    assert again.status == 200 and sim.created("batches") == 1, again


def creates(sim, account):
    return [r for r in sim.requests(account) if r["method"] == "POST" and "/openai/batches?" in r["target"]]


def announced_with_a_key(gateway, file_id):
    return keyed(gateway, file_id, headers={"x-stainless-retry-count": "1"})


@pytest.mark.parametrize("ask, again", [(keyed, keyed), (keyed, announced_with_a_key), (repeated, repeated)],
                         ids=["key", "key_and_retry", "retry"])
def test_a_repeat_that_comes_to_another_node_makes_no_second_batch(start, sim, ask, again):
    """Two nodes behind one address: the same accounts, the same seals, each with a memory of its own."""
    config = balanced_config(sim, tranche_settings={"seal_keys": ["a-seal-key-of-the-tests"]})
    one, other = start(config, sim=sim), start(config, sim=sim)
    file = one.uploaded()
    made = ask(one, file["id"])
    assert made.status == 200, made
    found = again(other, file["id"])
    assert found.status == 200 and found.json()["id"] == made.json()["id"], found
    assert found.headers["idempotent-replayed"] == "true" and sim.created("batches") == 1


def test_a_create_that_is_under_way_at_another_node_is_waited_for(start, sim):
    """The client's connection to the first node broke, and its provider has not carried the create out yet."""
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"seal_keys": ["a-seal-key-of-the-tests"]})
    one, other = start(config, sim=sim), start(config, sim=sim)
    file = one.uploaded()
    sim.fault({"hang": "head", "ms": 1000}, account="eu", method="POST", path="/openai/batches*", times=1)
    first = []
    thread = threading.Thread(target=lambda: first.append(one.create(file["id"])))
    thread.start()
    sim.wait("eu", "POST", "/openai/batches*", phase="received")
    again = repeated(other, file["id"])
    thread.join()
    assert again.status == first[0].status == 200 and again.json()["id"] == first[0].json()["id"], again
    assert sim.created("batches") == 1


def test_a_key_is_found_although_other_accounts_do_not_answer(start, make_sim):
    """Several accounts are asked at once, and the one that has the batch ends the search."""
    names = ["a0", "a1", "a2", "a3"]
    sim = make_sim(sim_config([azure_account(n) for n in names]))
    order = {"a0": 1, "a3": 2}
    config = balanced_config(sim, accounts=(), model_list=[azure_deployment(sim, n, order=order.get(n, 3)) for n in names])
    first = start(config, sim=sim)
    file = first.uploaded()
    sim.fault({"status": 429}, account="a0", method="POST", path="/openai/batches*", times=1)
    made = keyed(first, file["id"])
    assert made.status == 200 and sim.created("batches", ["a3"]) == 1, made
    first.finish(sim)
    for name in names[:3]:
        sim.fault({"hang": "answer"}, account=name, method="GET", path="/openai/batches", times=1000)
    again = keyed(start(config, sim=sim), file["id"])
    assert again.status == 200 and again.json()["id"] == made.json()["id"], again
    assert sim.created("batches") == 1


def test_of_several_like_it_a_retry_gets_the_newest_wherever_it_is(start, sim):
    """The same create twice on purpose, the second one moved, and a gateway that has forgotten both."""
    config = balanced_config(sim)
    first = start(config, sim=sim)
    file = first.uploaded()
    first.created(file["id"])
    (home,) = [a for a in ("eu", "us", "sw") if sim.created("batches", [a])]
    sim.advance(2000)
    sim.fault({"status": 429}, account=home, method="POST", path="/openai/batches*", times=1)
    made = first.created(file["id"])
    assert sim.created("batches", [home]) == 1 and sim.created("batches") == 2
    first.finish(sim)
    again = repeated(start(config, sim=sim), file["id"])
    assert again.status == 200 and again.json()["id"] == made["id"]
    assert sim.created("batches") == 2


def test_after_a_restart_the_day_before_is_read_once_and_not_for_each_key(start, sim):
    config = balanced_config(sim, accounts=["eu"])
    gateway = start(config, sim=sim, workers=1)
    file = gateway.uploaded()
    hour_ago = int(time.time()) - 3600
    listed = [{"id": f"batch_{i}", "object": "batch", "status": "completed", "created_at": hour_ago} for i in range(100)]
    # No more than these, whatever page is asked for.
    sim.fault({"status": 200, "body": {"object": "list", "data": listed}}, account="eu", method="GET", path="/openai/batches", times=1000)

    def pages():
        return len([r for r in sim.requests("eu") if r["method"] == "GET" and "&after=batch_99" in r["target"]])

    assert keyed(gateway, file["id"], "one").status == 200
    assert pages() == 1
    for key in ("two", "three"):
        assert keyed(gateway, file["id"], key).status == 200
    assert pages() == 1 and sim.created("batches") == 3


def lists_for_clients(sim):
    return len([r for r in sim.requests("eu") if r["method"] == "GET" and r["target"].split("?")[0].endswith("/openai/batches")
                and not is_probe(r) and not is_upkeep(r)])


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k"}], ids=["announced", "keyed"])
def test_a_retry_of_what_this_gateway_refused_a_moment_ago_reads_no_lists(start, sim, key):
    """A client that waits for room would otherwise have all accounts' lists read each time it asks."""
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    if key:  # the day before the start is read once
        assert gateway.create(file["id"], headers={"Idempotency-Key": "first"}).status == 200
    before = sim.created("batches")
    fault = sim.fault({"status": 429}, account="eu", method="POST", path="/openai/batches*", times=1000)
    assert gateway.create(file["id"], headers=key).status == 429
    asked = lists_for_clients(sim)
    for n in range(1, 4):
        assert gateway.create(file["id"], headers={**key, "x-stainless-retry-count": str(n)}).status == 429
    assert lists_for_clients(sim) == asked
    sim.clear_faults()
    assert gateway.create(file["id"], headers={**key, "x-stainless-retry-count": "4"}).status == 200
    assert lists_for_clients(sim) == asked and sim.created("batches") == before + 1, fault


def test_a_retry_of_what_somebody_else_may_have_taken_is_looked_for(start, sim):
    """The try before this one did not come here."""
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 429}, account="eu", method="POST", path="/openai/batches*", times=1)
    assert gateway.create(file["id"]).status == 429
    asked = lists_for_clients(sim)
    assert gateway.create(file["id"], headers={"x-stainless-retry-count": "2"}).status == 200
    assert lists_for_clients(sim) > asked and sim.created("batches") == 1
