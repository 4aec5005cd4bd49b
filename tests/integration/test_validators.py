"""Who polls with If-None-Match is told what has changed, and nothing twice; and an answer says whether its provider was asked."""

import contextlib

import pytest
from harness import balanced_config, envelope
from sealed_ids import native_of
from test_polls import lists_are_read, polls
from wire import H1, H2

QUIET = {"timeouts": {"watch_ms": 3_600_000}}


@pytest.fixture
def quiet(start, sim):
    """It looks at nothing by itself once it has read the lists."""
    gateway = start(balanced_config(sim, tranche_settings=QUIET), sim=sim)
    lists_are_read(gateway, sim)
    return gateway


def made(gateway):
    return gateway.created(gateway.uploaded()["id"])


@pytest.mark.parametrize("what", ["batches", "files"])
def test_who_has_an_object_already_is_told_so(quiet, what):
    batch = made(quiet)
    target = f"/v1/{what}/{batch['id' if what == 'batches' else 'input_file_id']}"
    first = quiet.get(target)
    tag = first.headers["etag"]
    assert first.status == 200 and first.headers["cache-control"] == "private, no-cache"
    assert quiet.get(target).headers["etag"] == tag
    for field in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = quiet.get(target, headers={"If-None-Match": field})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["cache-control"] == "private, no-cache"
        assert not {"content-type", "transfer-encoding"} & set(answer.headers)
    other = quiet.get(target, headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, first.body)


def test_a_batch_that_went_on_is_answered_anew(quiet, sim):
    batch = made(quiet)
    target = f"/v1/batches/{batch['id']}"
    tag = quiet.get(target).headers["etag"]
    sim.advance(60_000)
    later = quiet.get(target, headers={"If-None-Match": tag})
    assert later.status == 200 and later.json()["status"] == "in_progress" and later.headers["etag"] != tag


def test_what_is_not_there_is_not_told_to_be_unchanged(quiet):
    batch = made(quiet)
    forged = batch["id"][:-1] + ("a" if batch["id"][-1] != "a" else "b")
    envelope(quiet.get(f"/v1/batches/{forged}", headers={"If-None-Match": "*"}), 404)


def test_a_cancel_is_done_whatever_its_client_has(quiet, sim):
    batch = made(quiet)
    tag = quiet.get(f"/v1/batches/{batch['id']}").headers["etag"]
    answer = quiet.post(f"/v1/batches/{batch['id']}/cancel", headers={"If-None-Match": tag})
    assert answer.status == 200 and answer.json()["status"] == "cancelling"
    assert "etag" not in answer.headers


def test_a_connection_goes_on_after_a_304(quiet):
    batch = made(quiet)
    target = f"/v1/batches/{batch['id']}"
    tag = quiet.get(target).headers["etag"]
    with contextlib.closing(H1(quiet.port)) as conn:
        for _ in range(3):
            assert conn.request("GET", target, {"If-None-Match": tag}).answer().status == 304
            assert conn.request("GET", target).answer().json() == batch
    with H2(quiet.port) as conn:
        for _ in range(3):
            assert conn.answer(conn.request("GET", target, {"If-None-Match": tag})).status == 304
            assert conn.answer(conn.request("GET", target)).json() == batch


def test_an_answer_says_whether_its_provider_was_asked(start, sim):
    gateway = start(balanced_config(sim, tranche_settings={**QUIET, "poll_cache_ms": 3_600_000}), sim=sim)
    lists_are_read(gateway, sim)
    batch = made(gateway)
    for _ in range(3):
        assert gateway.get(f"/v1/batches/{batch['id']}").headers["x-tranche-cache"] == "hit"
    assert polls(sim, native_of(batch["id"])) == []
    assert gateway.get(f"/v1/files/{batch['input_file_id']}").headers["x-tranche-cache"] == "miss"
    assert "x-tranche-cache" not in gateway.get("/v1/batches").headers
    assert "x-tranche-cache" not in gateway.get("/v1/files/file-unknown").headers  # no more than that it is not there
