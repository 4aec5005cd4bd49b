"""Who polls the same thing at the same time: one call to the provider for all of them, an answer of its own for each, and never what
was before a cancel."""

import contextlib

import pytest
from harness import balanced_config, envelope, until
from sealed_ids import native_of
from test_download_bounds import refused
from test_polls import ACCOUNTS, account_of, lists_are_read, polls, upstream
from test_tenant_objects import SEAL, tenants  # noqa: F401
from wire import H1, H2

QUIET = {"timeouts": {"watch_ms": 3_600_000}}
HELD = {"delay_ms": 3_600_000}  # until sim.release()


def opened(start, sim, workers=1, **settings):
    """It looks at nothing by itself once it has read the lists."""
    gateway = start(balanced_config(sim, tranche_settings={**QUIET, **settings}), sim=sim, workers=workers)
    lists_are_read(gateway, sim)
    return gateway


@pytest.fixture
def gateway(start, sim):
    return opened(start, sim)


def made(gateway):
    return gateway.created(gateway.uploaded()["id"])


def hold(sim, batch, times=1, **action):
    """The provider's answers to so many polls wait. @return the batch's id there"""
    native = native_of(batch["id"])
    sim.fault({**HELD, **action}, account=account_of(sim, native), method="GET", path=f"*/batches/{native}", times=times)
    return native


def as_it_is(sim, batch):
    """What its provider says of it now."""
    native = native_of(batch["id"])
    return {"status": 200, "body": upstream(sim, account_of(sim, native), native)}


def held(sim, native, count=1):
    """So many polls have reached the provider."""
    sim.wait(account_of(sim, native), "GET", f"*/batches/{native}", count=count, phase="received")


def seen(conn):
    """The worker has looked at all that was sent on this connection so far."""
    assert conn.answer(conn.request("GET", "/health/liveliness")).status == 200


def asked(conn, batch, times, query=""):
    """So many polls that the worker has begun. @return their streams"""
    streams = [conn.request("GET", f"/v1/batches/{batch['id']}{query}") for _ in range(times)]
    seen(conn)
    return streams


def caches(answers):
    return sorted(answer.headers["x-tranche-cache"] for answer in answers)


def test_polls_of_one_batch_at_one_time_are_one_call(gateway, sim):
    batch = made(gateway)
    native = hold(sim, batch)
    with H2(gateway.port) as conn:
        streams = asked(conn, batch, 10)
        held(sim, native)
        sim.release()
        answers = [conn.answer(stream) for stream in streams]
    assert [answer.json() for answer in answers] == [batch] * 10
    assert caches(answers) == ["miss"] + ["shared"] * 9
    assert len({answer.headers["x-request-id"] for answer in answers}) == 10
    assert len(polls(sim, native)) == 1
    assert gateway.get(f"/v1/batches/{batch['id']}").headers["x-tranche-cache"] == "miss", "an answer is shared by who waited for it alone"
    assert len(polls(sim, native)) == 2


def test_each_one_is_told_what_is_new_to_it(gateway, sim):
    batch = made(gateway)
    target = f"/v1/batches/{batch['id']}"
    tag = gateway.get(target).headers["etag"]
    native = hold(sim, batch)
    with H2(gateway.port) as conn:
        streams = [conn.request(method, target, headers) for method, headers in (
            ("GET", {}), ("GET", {"If-None-Match": tag}), ("GET", {"If-None-Match": '"other"'}), ("HEAD", {}))]
        seen(conn)
        held(sim, native, 2)
        sim.release()
        answers = [conn.answer(stream) for stream in streams]
    assert [answer.status for answer in answers] == [200, 304, 200, 200]
    assert [answer.body for answer in answers] == [answers[0].body, b"", answers[0].body, b""]
    assert {answer.headers["etag"] for answer in answers} == {tag}
    assert len(polls(sim, native)) == 2


def test_more_than_may_share_one_call_share_two(gateway, sim):
    batch = made(gateway)
    native = hold(sim, batch, times=2)
    with H2(gateway.port) as conn:
        streams = asked(conn, batch, 40)
        held(sim, native, 2)
        sim.release()
        answers = [conn.answer(stream) for stream in streams]
    assert [answer.json() for answer in answers] == [batch] * 40
    assert caches(answers) == ["miss"] * 2 + ["shared"] * 38
    assert len(polls(sim, native)) == 2


def test_files_are_asked_for_together_too(gateway, sim):
    file = gateway.uploaded()
    native = native_of(file["id"])
    sim.fault(HELD, method="GET", path=f"*/files/{native}")
    with H2(gateway.port) as conn:
        streams = [conn.request("GET", f"/v1/files/{file['id']}") for _ in range(3)]
        seen(conn)
        sim.release()
        answers = [conn.answer(stream) for stream in streams]
    assert [answer.json() for answer in answers] == [file] * 3
    assert caches(answers) == ["miss", "shared", "shared"]


def test_who_leaves_breaks_off_nobody_elses_poll(gateway, sim):
    batch = made(gateway)
    native = hold(sim, batch)
    with H2(gateway.port) as conn, contextlib.closing(H1(gateway.port).request("GET", f"/v1/batches/{batch['id']}")) as first:
        held(sim, native)
        others = asked(conn, batch, 3)
        first.close()  # whose call it was
        until(lambda: '"status":499' in gateway.log, "the first one has left")
        conn.reset(others.pop())
        seen(conn)
        sim.release()
        answers = [conn.answer(stream) for stream in others]
    assert [answer.json() for answer in answers] == [batch] * 2
    assert caches(answers) == ["shared"] * 2
    assert len(polls(sim, native)) == 1


@pytest.mark.parametrize("status", [403, 404, 409])
def test_a_failure_is_told_to_all_who_waited_for_it(gateway, sim, status):
    batch = made(gateway)
    sim.fault({"status": status}, method="GET", path=f"*/batches/{native_of(batch['id'])}")
    alone = gateway.get(f"/v1/batches/{batch['id']}")
    native = hold(sim, batch, status=status)
    with H2(gateway.port) as conn:
        streams = asked(conn, batch, 4)
        held(sim, native, 2)
        sim.release()
        answers = [conn.answer(stream) for stream in streams]
    for answer in answers:
        assert envelope(answer) == envelope(alone)
        assert answer.status == alone.status and "x-tranche-cache" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4
    assert len(polls(sim, native)) == 2


def test_what_can_be_asked_again_is_asked_again_for_all(gateway, sim):
    batch = made(gateway)
    native = hold(sim, batch, status=500)
    with H2(gateway.port) as conn:
        streams = asked(conn, batch, 4)
        held(sim, native)
        sim.release()
        answers = [conn.answer(stream) for stream in streams]
    assert [answer.json() for answer in answers] == [batch] * 4
    assert 2 <= len(polls(sim, native)) <= 5


def test_a_poll_after_a_cancel_is_not_told_what_was_before_it(gateway, sim):
    batch = made(gateway)
    # The provider answers late, with what it knew when it was asked.
    native = hold(sim, batch, **as_it_is(sim, batch))
    with H2(gateway.port) as conn:
        before = asked(conn, batch, 2)
        held(sim, native, 2)  # behind as_it_is()
        cancelled = gateway.post(f"/v1/batches/{batch['id']}/cancel").json()
        assert cancelled["status"] == "cancelling"
        for _ in range(2):
            after = gateway.get(f"/v1/batches/{batch['id']}")
            assert after.json() == cancelled and after.headers["x-tranche-cache"] == "miss"
        sim.release()
        assert [conn.answer(stream).json()["status"] for stream in before] == [batch["status"]] * 2
    assert gateway.get(f"/v1/batches/{batch['id']}").json() == cancelled


def test_what_was_before_a_cancel_is_not_remembered_behind_it(start, sim):
    """In no worker, whichever had asked and whichever has cancelled."""
    batch = made(opened(start, sim))  # whose polls the other gateway has not seen
    gateway = opened(start, sim, workers=2, poll_cache_ms=3_600_000)
    native = hold(sim, batch, **as_it_is(sim, batch))
    with H2(gateway.port) as conn:
        before = asked(conn, batch, 2)
        held(sim, native, 2)  # behind as_it_is()
        cancelled = gateway.post(f"/v1/batches/{batch['id']}/cancel").json()
        assert cancelled["status"] == "cancelling"
        for _ in range(4):
            assert gateway.get(f"/v1/batches/{batch['id']}").json() == cancelled
        sim.release()
        assert [conn.answer(stream).json()["status"] for stream in before] == [batch["status"]] * 2
    for _ in range(4):
        after = gateway.get(f"/v1/batches/{batch['id']}")
        assert after.json() == cancelled and after.headers["x-tranche-cache"] == "hit"


def test_a_list_that_was_asked_for_before_a_cancel_is_no_news_behind_it(start, sim):
    gateway = opened(start, sim, workers=2, poll_cache_ms=3_600_000, timeouts={**QUIET["timeouts"], "list_ms": 3_600_000})
    batch = made(gateway)
    native = native_of(batch["id"])
    account = account_of(sim, native)
    page = {"object": "list", "data": [upstream(sim, account, native)], "has_more": False}
    sim.fault({**HELD, "status": 200, "body": page}, account=account, method="GET", path="/openai/batches", times=1000)  # probes, too
    with H2(gateway.port) as conn:
        listing = conn.request("GET", "/v1/batches")
        until(lambda: [r for r in sim.requests(account) if r["target"].startswith("/openai/batches?")], "the list is asked for")
        cancelled = gateway.post(f"/v1/batches/{batch['id']}/cancel").json()
        sim.release()
        assert [shown["status"] for shown in conn.answer(listing).json()["data"]] == [batch["status"]]
    for _ in range(4):
        assert gateway.get(f"/v1/batches/{batch['id']}").json() == cancelled


def test_a_file_is_gone_for_who_asks_after_it_was_deleted(gateway, sim):
    file = gateway.uploaded()
    native = native_of(file["id"])
    account = next(a for a in ACCOUNTS if native in [f["id"] for f in sim.ledger(a)["files"]])
    sim.fault({**HELD, "status": 200, "body": {**file, "id": native}}, account=account, method="GET", path=f"*/files/{native}")
    with H2(gateway.port) as conn:
        before = conn.request("GET", f"/v1/files/{file['id']}")
        sim.wait(account, "GET", f"*/files/{native}", phase="received")
        assert gateway.delete(f"/v1/files/{file['id']}").json()["deleted"]
        envelope(gateway.get(f"/v1/files/{file['id']}"), 404)
        sim.release()
        assert conn.answer(before).status == 200


def test_who_shares_a_call_sees_its_own_view_and_a_stranger_nothing(tenants, sim):  # noqa: F811
    gateway = tenants({"seal_keys": [SEAL]}, workers=1)
    batch = gateway.as_("a1").made()[1]
    native = hold(sim, batch)
    keys = {name: gateway.as_(name).key for name in ("a1", "a2", "master", "b1")}
    target = f"/v1/batches/{batch['id']}"
    with H2(gateway.port) as conn:
        streams = {name: conn.request("GET", target, key=key) for name, key in keys.items()}
        assert conn.answer(streams.pop("b1")).status == 404
        # Tenants take turns: when it has had another one, those of team A have had theirs.
        assert conn.answer(conn.request("GET", target, key=keys["b1"])).status == 404
        seen(conn)
        held(sim, native)
        sim.release()
        answers = {name: conn.answer(stream) for name, stream in streams.items()}
    assert all(answer.json() == batch for answer in answers.values())
    assert "x-litellm-model-id" in answers["master"].headers
    assert not {"x-litellm-model-id", "x-litellm-model-api-base"} & (set(answers["a1"].headers) | set(answers["a2"].headers))
    assert caches(answers.values()) == ["miss", "shared", "shared"]
    assert len(polls(sim, native)) == 1


def test_who_wants_more_than_the_batch_asks_for_itself(gateway, sim):
    batch = made(gateway)
    native = hold(sim, batch, times=3)
    with H2(gateway.port) as conn:
        plain = asked(conn, batch, 2)
        expanded = asked(conn, batch, 2, "?expand=events")
        held(sim, native, 3)
        sim.release()
        answers = [conn.answer(stream) for stream in plain + expanded]
    assert [answer.headers["x-tranche-cache"] for answer in answers] == ["miss", "shared", "miss", "miss"]
    assert ["x-tranche-partial" in answer.headers for answer in answers] == [False, False, True, True]
    assert len(polls(sim, native)) == 3


def test_who_shares_a_call_has_a_place_as_for_its_own(start, sim):
    gateway = opened(start, sim, limits={"max_upstream_calls": 5})
    batch = made(gateway)
    hold(sim, batch)
    with H2(gateway.port) as conn:
        streams = asked(conn, batch, 5)
        refused(gateway.get(f"/v1/batches/{batch['id']}"), "too_many_upstream_calls")
        conn.reset(streams.pop())
        seen(conn)
        streams += asked(conn, batch, 1)
        sim.release()
        assert [conn.answer(stream).json() for stream in streams] == [batch] * 5
    assert gateway.get(f"/v1/batches/{batch['id']}").json() == batch
