"""A batch that failed late and runs elsewhere, for those who poll it together, who wait for news of it, and who know it already."""

import os
import signal

import pytest
from harness import PATIENCE, keeper_of, prober_of, until
from sealed_ids import native_of
from test_journal_people import types_of
from test_late_moves import RANKS, config, events, full, get, kill, listed, made, refused, two, wait_moved  # noqa: F401 (fixtures)
from test_long_polls import Waiting, all_held
from wire import H2

LOOKS = {"watch_ms": 200, "long_poll_ms": 200}


@pytest.fixture
def moving(start, two, tmp_path):  # noqa: F811
    """moving(...) -> a gateway of one worker, and a batch that eu will fail and that us will not have before `two.release()`"""

    def make(hang=None, **settings):
        settings = {"timeouts": LOOKS, **settings}
        gateway = start(config(two, f"sqlite://{tmp_path}/j.db", **settings), sim=two, workers=1)
        _, batch = made(gateway, two)
        two.fault({"hang": hang, "ms": 600_000} if hang else {"delay_ms": 600_000}, account="us", method="POST", path="/openai/batches*")
        return gateway, batch

    return make


def fails(gateway, sim, batch):
    """eu has failed it, and its create at us is under way."""
    refused(sim)
    sim.wait("us", "POST", "/openai/batches*", phase="received", timeout=PATIENCE * 4)


def runs(gateway, sim, batch):
    sim.release()
    wait_moved(gateway, batch)


def test_who_waits_for_news_gets_them_from_where_it_runs(moving, two):  # noqa: F811
    gateway, batch = moving()
    waiting = [Waiting(gateway, {"id": batch}) for _ in range(3)]
    all_held(gateway, 3)
    fails(gateway, two, batch)
    assert get(gateway, batch)["status"] == "validating"
    all_held(gateway, 3)  # that it has failed there is no news
    runs(gateway, two, batch)
    until(lambda: two.advance(60_000) or get(gateway, batch)["status"] != "validating", "it runs")
    for one in waiting:
        answer = one.early()
        assert answer.status == 200 and answer.headers["preference-applied"] == "wait", answer
        seen = answer.json()
        assert seen["id"] == batch and seen["status"] in ("in_progress", "finalizing", "completed") and seen["errors"] is None, seen
        assert answer.headers["x-tranche-moves"] == "1", answer
    all_held(gateway, 0)


def test_who_begins_to_wait_while_it_moves_waits_on(moving, two):  # noqa: F811
    gateway, batch = moving()
    fails(gateway, two, batch)
    assert Waiting(gateway, {"id": batch}, seconds=1).end().json()["status"] == "validating"
    waiting = Waiting(gateway, {"id": batch})
    all_held(gateway, 1)
    runs(gateway, two, batch)
    until(lambda: two.advance(60_000) or get(gateway, batch)["status"] != "validating", "it runs")
    assert waiting.early().json()["status"] in ("in_progress", "finalizing", "completed")


def test_a_cancel_is_news_to_who_waits_while_no_deployment_has_room(start, full, tmp_path):  # noqa: F811
    gateway = start(config(full, f"sqlite://{tmp_path}/j.db", timeouts=LOOKS), sim=full, workers=1)
    _, batch = made(gateway, full)
    refused(full)
    until(lambda: "moving" in types_of(events(gateway, batch)), "it moves", timeout=PATIENCE * 4)
    waiting = Waiting(gateway, {"id": batch})
    all_held(gateway, 1)
    until(lambda: gateway.post(f"/v1/batches/{batch}/cancel").status == 200, "it is cancelled")
    seen = waiting.early().json()
    assert (seen["id"], seen["status"], seen["errors"]) == (batch, "cancelled", None), seen


def polls_of(sim, native):
    return [r for r in sim.requests("eu", upkeep=True) if r["method"] == "GET" and native in r["target"]]


def test_those_who_share_a_call_that_began_before_the_move_are_told_of_the_batch_behind_it(moving, two):  # noqa: F811
    gateway, batch = moving(hang="answer")
    fails(gateway, two, batch)
    native = native_of(batch)
    before = len(polls_of(two, native))
    two.fault({"delay_ms": 600_000}, account="eu", method="GET", path=f"*/batches/{native}", times=1)
    with H2(gateway.port) as conn:
        streams = [conn.request("GET", f"/v1/batches/{batch}") for _ in range(5)]
        two.wait("eu", "GET", f"*/batches/{native}", phase="received", count=before + 1)
        kill(gateway, prober_of(gateway))  # the next one finds the batch
        wait_moved(gateway, batch)
        two.release()
        for stream in streams:
            answer = conn.answer(stream)
            seen = answer.json()
            assert answer.status == 200 and (seen["id"], seen["errors"]) == (batch, None) and seen["status"] in RANKS, answer
            assert answer.headers["x-tranche-moves"] == "1", answer


@pytest.mark.parametrize("cache_ms", [0, 3_600_000])
def test_its_tag_stays_while_it_moves_and_what_is_remembered_never_shows_it_failed(moving, two, cache_ms):  # noqa: F811
    gateway, batch = moving(poll_cache_ms=cache_ms)
    fails(gateway, two, batch)
    first = gateway.get(f"/v1/batches/{batch}")
    tag = {"If-None-Match": first.headers["etag"]}
    assert first.json()["status"] == "validating"
    again = gateway.get(f"/v1/batches/{batch}", headers=tag)
    assert (again.status, again.body) == (304, b""), again
    runs(gateway, two, batch)

    def look():
        answer = gateway.get(f"/v1/batches/{batch}", headers=tag)
        assert answer.status == 304 or answer.json()["errors"] is None, answer
        two.advance(30_000)
        return answer.status == 200 and answer.json()["status"] != "validating"

    if cache_ms == 0:
        until(look, "it runs")
    else:  # what the first provider said is not what is remembered of the other one
        seen = gateway.get(f"/v1/batches/{batch}")
        assert seen.json()["status"] in RANKS and seen.headers["x-tranche-moves"] == "1", seen


def test_a_list_shows_a_moved_batch_no_earlier_than_the_poll_before_it(moving, two):  # noqa: F811
    """in_progress by a poll, validating by the list behind it: the list knew only what the keeper had told."""
    gateway, batch = moving()
    fails(gateway, two, batch)
    runs(gateway, two, batch)
    assert listed(gateway)[batch]["status"] == "validating"
    keeper = keeper_of(gateway)
    os.kill(keeper, signal.SIGSTOP)
    try:
        for wanted in RANKS[1:]:
            seen = until(lambda wanted=wanted: two.advance(10_000) or (lambda b: RANKS.index(b["status"]) >= RANKS.index(wanted) and b)(get(gateway, batch)),
                         f"it is {wanted}")
            shown = listed(gateway)[batch]
            assert RANKS.index(shown["status"]) >= RANKS.index(seen["status"]), (seen, shown)
            assert shown["request_counts"]["completed"] >= seen["request_counts"]["completed"], (seen, shown)
            if seen["status"] == "completed":
                assert (shown["output_file_id"], shown["errors"], shown["failed_at"]) == (seen["output_file_id"], None, None), (seen, shown)
                assert shown["completed_at"] == seen["completed_at"], (seen, shown)
    finally:
        os.kill(keeper, signal.SIGCONT)
