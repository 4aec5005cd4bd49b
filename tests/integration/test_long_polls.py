"""Who polls with `Prefer: wait=N` is answered when something has changed, and costs next to nothing meanwhile (RFC 7240)."""

import contextlib
import signal
import threading
import time

import openai
import pytest
from harness import MASTER_KEY, PATIENCE, balanced_config, envelope, until
from sealed_ids import native_of
from test_polls import lists_are_read, polls
from wire import H1, H2

LONG = 60  # seconds of a wait that something ends before


def config_of(sim, look, **settings):
    return balanced_config(sim, tranche_settings={"timeouts": {"watch_ms": 3_600_000, "long_poll_ms": look, "shutdown_grace_ms": 600_000},
                                                  **settings})


@pytest.fixture
def world(start, sim):
    """world("200ms") -> a gateway of one worker that looks so often, and a batch."""
    def make(look, workers=1, **settings):
        gateway = start(config_of(sim, look, **settings), sim=sim, workers=workers)
        lists_are_read(gateway, sim)
        return gateway, gateway.created(gateway.uploaded()["id"])

    return make


class Waiting:
    """A client that waits, in a thread of its own."""

    def __init__(self, gateway, batch, seconds=LONG, **headers):
        self.answer, self.took = None, None
        self.what = (gateway, f"/v1/batches/{batch['id']}", {"Prefer": f"wait={seconds}", **headers})
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        gateway, target, headers = self.what
        began = time.monotonic()
        answer = gateway.get(target, headers=headers, timeout=LONG + PATIENCE)
        self.took = time.monotonic() - began
        self.answer = answer

    def end(self):
        self.thread.join(LONG + PATIENCE)
        assert self.answer is not None
        return self.answer

    def early(self):
        """The answer, which came before its time was over."""
        answer = self.end()
        assert self.took < LONG
        return answer


def held(gateway):
    (line,) = [line for line in gateway.get("/metrics").body.decode().splitlines() if line.startswith("tranche_long_polls ")]
    return int(line.split()[1])


def all_held(gateway, number):
    until(lambda: held(gateway) == number, f"{number} polls are held")


def test_who_waits_is_answered_when_the_batch_goes_on(world, sim):
    gateway, batch = world("200ms")
    waiting = Waiting(gateway, batch)
    all_held(gateway, 1)
    before = len(polls(sim, native_of(batch["id"])))
    sim.advance(60_000)
    answer = waiting.early()
    assert answer.status == 200 and answer.json()["status"] == "in_progress"
    assert answer.headers["preference-applied"] == "wait" and answer.headers["x-tranche-cache"] == "shared"
    all_held(gateway, 0)
    assert len(polls(sim, native_of(batch["id"]))) - before >= 1
    assert gateway.get(f"/v1/batches/{batch['id']}").json() == answer.json()


def test_a_hundred_who_wait_for_one_batch_cost_one_question(world, sim):
    gateway, batch = world("60s")
    target = f"/v1/batches/{batch['id']}"
    with H2(gateway.port) as conn:
        first = conn.request("GET", target, {"Prefer": f"wait={LONG}"})
        all_held(gateway, 1)
        streams = [conn.request("GET", target, {"Prefer": "wait=1"}) for _ in range(99)]
        for stream in streams:
            answer = conn.answer(stream)
            assert answer.status == 200 and answer.json() == batch and answer.headers["x-tranche-cache"] == "shared"
        assert len(polls(sim, native_of(batch["id"]))) == 1
        conn.reset(first)
    all_held(gateway, 0)


def test_all_who_wait_are_told_at_one_look(world, sim):
    gateway, batch = world("200ms")
    with H2(gateway.port) as conn:
        first = conn.request("GET", f"/v1/batches/{batch['id']}", {"Prefer": f"wait={LONG}"})
        all_held(gateway, 1)
        streams = [first] + [conn.request("GET", f"/v1/batches/{batch['id']}", {"Prefer": f"wait={LONG}"}) for _ in range(59)]
        all_held(gateway, 60)
        sim.advance(60_000)
        assert {conn.answer(stream).json()["status"] for stream in streams} == {"in_progress"}
    all_held(gateway, 0)


def test_who_knows_another_state_does_not_wait(world):
    gateway, batch = world("60s")
    answer = Waiting(gateway, batch, **{"If-None-Match": '"of yesterday"'}).early()
    assert answer.status == 200 and answer.json() == batch and "preference-applied" not in answer.headers
    other = Waiting(gateway, batch)  # and it does not where others wait already
    all_held(gateway, 1)
    assert Waiting(gateway, batch, **{"If-None-Match": '"of yesterday"'}).early().json() == batch
    gateway.send(signal.SIGTERM)
    assert other.early().status == 200


def test_who_knows_the_state_is_told_that_nothing_has_changed(world):
    gateway, batch = world("60s")
    tag = gateway.get(f"/v1/batches/{batch['id']}").headers["etag"]
    answer = Waiting(gateway, batch, seconds=1, **{"If-None-Match": tag}).end()
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert answer.headers["preference-applied"] == "wait"


def test_a_batch_that_has_ended_is_not_waited_for(world, sim):
    gateway, batch = world("60s")
    gateway.wait_batch(sim, batch["id"])
    answer = Waiting(gateway, batch).early()
    assert answer.json()["status"] == "completed" and "preference-applied" not in answer.headers


def test_a_cancel_is_news_to_who_waits(world):
    gateway, batch = world("200ms")
    waiting = Waiting(gateway, batch)
    all_held(gateway, 1)
    assert gateway.post(f"/v1/batches/{batch['id']}/cancel").status == 200
    assert waiting.early().json()["status"] in ("cancelling", "cancelled")


def test_a_worker_that_ends_answers_who_waits(world):
    gateway, batch = world("60s", workers=2)
    waiting = [Waiting(gateway, batch) for _ in range(6)]
    all_held(gateway, 6)
    gateway.send(signal.SIGTERM)
    for one in waiting:
        assert one.early().json() == batch
    assert gateway.wait() == 0


def test_looks_for_those_who_wait_leave_room_for_requests(world, sim):
    """Who waits where half of the worker's calls are in use is looked after by nobody, and asks himself at the end."""
    gateway, batch = world("100ms", limits={"max_upstream_calls": 2})
    other = gateway.created(gateway.uploaded()["id"])
    sim.fault({"hang": "answer", "ms": int(10_000 * PATIENCE)}, method="GET", path=f"/openai/batches/{native_of(other['id'])}", times=1)
    with H2(gateway.port) as conn:
        conn.request("GET", f"/v1/batches/{other['id']}")
        until(lambda: any(native_of(other["id"]) in r["target"] for r in sim.requests()), "a request is in flight")
        answer = Waiting(gateway, batch, seconds=2).end()
        assert answer.json() == batch and answer.headers["x-tranche-cache"] == "miss"
        assert len(polls(sim, native_of(batch["id"]))) == 2
    sim.release()


def test_a_client_that_leaves_is_waited_for_by_nobody(world, sim):
    gateway, batch = world("200ms")
    native = native_of(batch["id"])
    with contextlib.closing(H1(gateway.port)) as conn:
        conn.request("GET", f"/v1/batches/{batch['id']}", {"Prefer": f"wait={LONG}"})
        all_held(gateway, 1)
    all_held(gateway, 0)
    asked = len(polls(sim, native))
    other = gateway.created(gateway.uploaded()["id"])
    with H2(gateway.port) as conn:
        conn.request("GET", f"/v1/batches/{other['id']}", {"Prefer": f"wait={LONG}"})
        until(lambda: len(polls(sim, native_of(other["id"]))) > 3, "what is waited for is looked at several times")
    assert len(polls(sim, native)) == asked


def test_a_provider_that_fails_for_a_while_does_not_end_a_wait(world, sim):
    gateway, batch = world("100ms")
    native = native_of(batch["id"])
    waiting = Waiting(gateway, batch)
    all_held(gateway, 1)
    sim.fault({"status": 500}, method="GET", path=f"/openai/batches/{native}", times=3)
    until(lambda: len([r for r in polls(sim, native) if r["status"] == 500]) == 3, "it has failed three times")
    sim.advance(60_000)
    assert waiting.early().json()["status"] == "in_progress"


def test_a_provider_that_fails_to_the_end_is_asked_once_more(world, sim):
    """And what it says then is answered, as without a wait."""
    gateway, batch = world("100ms")
    waiting = Waiting(gateway, batch, seconds=3)
    all_held(gateway, 1)
    sim.fault({"status": 500}, method="GET", path=f"/openai/batches/{native_of(batch['id'])}", times=10_000)
    answer = waiting.end()
    envelope(answer)
    assert answer.status >= 500 and "x-tranche-cache" not in answer.headers


@pytest.mark.parametrize("field", ["wait=soon", "wait", "respond-async", "wait=0", 'wait="', "waits=60", "wait=0, wait=60"])
def test_what_asks_for_no_wait_does_not_wait(world, field):
    gateway, batch = world("60s")
    answer = gateway.get(f"/v1/batches/{batch['id']}", headers={"Prefer": field}, timeout=LONG + PATIENCE)
    assert answer.status == 200 and answer.json() == batch and "preference-applied" not in answer.headers


def test_files_and_lists_do_not_wait(world):
    gateway, batch = world("60s")
    for target in (f"/v1/files/{batch['input_file_id']}", "/v1/batches", "/v1/files"):
        answer = gateway.get(target, headers={"Prefer": f"wait={LONG}"}, timeout=LONG + PATIENCE)
        assert answer.status == 200 and "preference-applied" not in answer.headers


def test_what_is_remembered_of_a_running_batch_does_not_end_a_wait(world, sim):
    gateway, batch = world("200ms", poll_cache_ms=3_600_000)
    waiting = Waiting(gateway, batch)
    all_held(gateway, 1)
    sim.advance(60_000)
    assert waiting.early().json()["status"] == "in_progress"


def test_an_official_sdk_waits_with_one_header(world, sim):
    gateway, batch = world("200ms")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=MASTER_KEY, max_retries=0, timeout=LONG + PATIENCE)
    seen = []

    def follow():
        last = None
        while last is None or last.status not in ("completed", "failed", "expired", "cancelled"):
            last = client.batches.retrieve(batch["id"], extra_headers={"Prefer": f"wait={LONG}"})
            seen.append((last.status, last.request_counts.completed, last.request_counts.failed))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    while thread.is_alive():
        until(lambda: held(gateway) == 1 or not thread.is_alive(), "it waits")
        sim.advance(60_000)
    assert seen[-1][0] == "completed" and len(seen) == len(set(seen)), "it was answered what it knew"
    client.close()
