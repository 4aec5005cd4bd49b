"""Polling: a batch that has ended stays so, and who polls too often may be answered from memory."""

import json

import pytest
from harness import GROUP, PROVIDER_KEYS, balanced_config, envelope, http_request, until
from sealed_ids import native_of

ACCOUNTS = ("eu", "us", "sw")


def account_of(sim, native):
    return next(a for a in ACCOUNTS if native in [b["id"] for b in sim.ledger(a)["batches"]])


def upstream(sim, account, native):
    """The batch as its provider shows it, marker and all."""
    answer = http_request(sim.ports[account], "GET", f"/openai/batches/{native}?api-version=2024-10-21",
                          headers={"api-key": PROVIDER_KEYS[account]})
    return answer.json()


def enqueued(gateway):
    placement = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 1}).json()
    return sum(c["enqueued_tokens"] for c in placement["candidates"])


@pytest.fixture
def gateway(start, sim):
    """Without rounds of its own that look at lists meanwhile."""
    return start(balanced_config(sim, tranche_settings={"timeouts": {"watch_ms": 3_600_000}}), sim=sim)


def lists_are_read(gateway, sim):
    """As they are at the start, for the ledgers."""
    for account in ACCOUNTS:
        gateway.wait_line(rf"account 127\.0\.0\.1:{sim.ports[account]}: quota ledger recovered")


@pytest.fixture
def ended(gateway, sim):
    """A batch that has ended, and what one of its provider's replicas says a moment later: that it runs. The reading of the lists at
    the start is over by then: what a list shows that is read after that is taken for what runs at the account."""
    lists_are_read(gateway, sim)
    batch = gateway.created(gateway.uploaded()["id"])
    native = native_of(batch["id"])
    account = account_of(sim, native)
    running = upstream(sim, account, native)
    assert running["status"] in ("validating", "in_progress") and "tranche" in running["metadata"]
    done = gateway.wait_batch(sim, batch["id"])
    until(lambda: enqueued(gateway) == 0, "the tokens of an ended batch are free")
    return done, running, account


def test_a_batch_that_has_ended_never_runs_again_whatever_a_replica_says(gateway, sim, ended):
    done, running, account = ended
    sim.fault({"status": 200, "body": running}, account=account, method="GET", path=f"/openai/batches/{running['id']}",
              times=1000)
    for _ in range(8):  # two workers share the connections
        assert gateway.get(f"/v1/batches/{done['id']}").json() == done
    assert len([r for r in sim.requests(account) if r["target"].startswith(f"/openai/batches/{running['id']}")]) >= 8
    assert enqueued(gateway) == 0, "an ended batch holds tokens again"


def test_a_list_shows_an_ended_batch_as_ended_whatever_a_replica_says(gateway, sim, ended):
    done, running, account = ended
    page = {"object": "list", "data": [running], "has_more": False}
    sim.fault({"status": 200, "body": page}, account=account, method="GET", path="/openai/batches", times=1000)
    for _ in range(4):
        (shown,) = gateway.get("/v1/batches").json()["data"]
        assert shown == done
    assert enqueued(gateway) == 0, "an ended batch holds tokens again"


def test_an_ended_batch_that_a_list_passes_over_holds_no_tokens_again(gateway, sim, ended):
    done, running, account = ended
    newer = {**running, "id": "batch_00000000-0000-4000-8000-000000000000", "created_at": running["created_at"] + 1, "metadata": {}}
    page = {"object": "list", "data": [newer, running], "has_more": False}
    sim.fault({"status": 200, "body": page}, account=account, method="GET", path="/openai/batches", times=1000)
    (shown,) = gateway.get("/v1/batches?limit=1").json()["data"]
    assert native_of(shown["id"]) == newer["id"]
    assert enqueued(gateway) == 0


def test_an_ended_batch_that_got_more_to_tell_tells_it(gateway, sim, ended):
    done, running, account = ended
    later = {**upstream(sim, account, running["id"]), "usage": {"total_tokens": 5}}
    sim.fault({"status": 200, "body": later}, account=account, method="GET", path=f"/openai/batches/{running['id']}")
    assert gateway.get(f"/v1/batches/{done['id']}").json() == {**done, "usage": {"total_tokens": 5}}


def test_a_batch_that_is_gone_upstream_is_gone(gateway, sim, ended):
    done, running, account = ended
    sim.fault({"status": 404}, account=account, method="GET", path=f"/openai/batches/{running['id']}")
    envelope(gateway.get(f"/v1/batches/{done['id']}"), 404)


def remembering(start, sim):
    """It answers polls from memory, and asks the accounts nothing by itself once it has read their lists."""
    gateway = start(balanced_config(sim, tranche_settings={"poll_cache_ms": 3_600_000, "timeouts": {"watch_ms": 3_600_000}}), sim=sim)
    lists_are_read(gateway, sim)
    return gateway


@pytest.fixture
def cached(start, sim):
    return remembering(start, sim)


def polls(sim, native):
    return [r for r in sim.requests() if r["target"].startswith(f"/openai/batches/{native}") and r["method"] == "GET"]


def test_a_poll_within_the_configured_time_asks_nobody_in_any_worker(cached, sim):
    batch = cached.created(cached.uploaded()["id"])
    native = native_of(batch["id"])
    sim.advance(60_000)
    for _ in range(8):
        assert cached.get(f"/v1/batches/{batch['id']}").json() == batch  # as the create showed it
    assert polls(sim, native) == []


def test_a_cancel_is_seen_by_the_next_poll(cached, sim):
    batch = cached.created(cached.uploaded()["id"])
    cancelled = cached.post(f"/v1/batches/{batch['id']}/cancel").json()
    assert cancelled["status"] == "cancelling"
    for _ in range(4):
        assert cached.get(f"/v1/batches/{batch['id']}").json() == cancelled


def test_a_list_is_news_for_the_polls_behind_it(cached, sim):
    batch = cached.created(cached.uploaded()["id"])
    sim.advance(60_000)
    (listed,) = cached.get("/v1/batches").json()["data"]
    assert listed["status"] == "in_progress"
    assert cached.get(f"/v1/batches/{batch['id']}").json() == listed
    assert polls(sim, native_of(batch["id"])) == []


def test_a_poll_from_memory_shows_a_moved_batch_with_its_clients_own_file(start, sim):
    gateway = remembering(start, sim)
    file = gateway.uploaded()
    home = next(a for a in ACCOUNTS if native_of(file["id"]) in [f["id"] for f in sim.ledger(a)["files"]])
    sim.fault({"status": 429}, account=home, method="POST", path="/openai/batches", times=1000)
    batch = gateway.created(file["id"])
    assert batch["input_file_id"] == file["id"]
    assert account_of(sim, native_of(batch["id"])) != home
    assert gateway.get(f"/v1/batches/{batch['id']}").json() == batch
    assert polls(sim, native_of(batch["id"])) == []


@pytest.mark.parametrize("word", ["no-cache", "max-age=0", "no-store, No-Cache"])
def test_a_client_that_wants_nothing_from_memory_gets_the_providers_word(cached, sim, word):
    batch = cached.created(cached.uploaded()["id"])
    sim.advance(60_000)
    assert cached.get(f"/v1/batches/{batch['id']}", headers={"Cache-Control": "max-age=00, private"}).json() == batch
    fresh = cached.get(f"/v1/batches/{batch['id']}", headers={"Cache-Control": word})
    assert fresh.headers["x-tranche-cache"] == "miss" and fresh.json()["status"] == "in_progress"
    assert cached.get(f"/v1/batches/{batch['id']}").json() == fresh.json()


def test_by_default_polls_in_one_moment_cost_one_call_and_the_next_moment_sees_the_news(start, sim):
    """100 ms: thousands of polls a second become ten calls, and a client that waits a second between two sees each change."""
    config = balanced_config(sim, tranche_settings={"timeouts": {"watch_ms": 3_600_000}, "seccomp": "kill"})
    gateway = start(json.dumps(config), sim=sim)
    lists_are_read(gateway, sim)
    batch = gateway.created(gateway.uploaded()["id"])

    def hit():
        return gateway.get(f"/v1/batches/{batch['id']}").headers["x-tranche-cache"] == "hit"

    until(lambda: hit() or hit(), "a poll that follows another one at once is answered from memory")
    sim.advance(60_000)
    until(lambda: gateway.get(f"/v1/batches/{batch['id']}").json()["status"] == "in_progress", "the change is seen")


def test_what_is_older_than_the_configured_time_is_asked_for_again(start, sim):
    gateway = start(balanced_config(sim, tranche_settings={"poll_cache_ms": 1}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])

    def asked():
        gateway.get(f"/v1/batches/{batch['id']}")
        return len(polls(sim, native_of(batch["id"]))) >= 2

    until(asked, "two polls reach the provider")


def test_a_batch_too_large_for_memory_is_asked_for_each_time(cached, sim):
    metadata = {f"key-{n}": "x" * 500 for n in range(12)}
    batch = cached.created(cached.uploaded()["id"], metadata=metadata)
    for n in range(3):
        assert cached.get(f"/v1/batches/{batch['id']}").json()["metadata"] == metadata
        assert len(polls(sim, native_of(batch["id"]))) == n + 1


def test_what_is_answered_from_memory_is_a_strangers_as_little_as_ever(cached, sim):
    batch = cached.created(cached.uploaded()["id"])
    assert cached.get(f"/v1/batches/{batch['id']}").status == 200
    forged = batch["id"][:-1] + ("a" if batch["id"][-1] != "a" else "b")
    envelope(cached.get(f"/v1/batches/{forged}"), 404)
    assert json.dumps("tranche") not in cached.get(f"/v1/batches/{batch['id']}").body.decode()
