"""One intent makes one batch, also when the gateway that began it has ended: what the next one finds out from its providers'
lists, and what it refuses because nobody could find it out. The simulator's ledger is the judge."""

import contextlib
import json
import time

import pytest
from harness import GROUP, MASTER_KEY, PROVIDER_KEYS, balanced_config, direct_config, envelope, is_probe, is_upkeep, until
from wire import H1, waiting_at

SEALS = {"seal_keys": ["a-seal-key-of-the-tests"]}
SIXTEEN = {f"pair{n}": f"value {n}" for n in range(16)}
KEY, RETRY = {"Idempotency-Key": "key-1"}, {"x-stainless-retry-count": "1"}
ASKS = pytest.mark.parametrize("ask", [KEY, RETRY], ids=["keyed", "announced"])
BLOB_VERSION = "?api-version=2025-04-01-preview"


@pytest.fixture(autouse=True)
def one_place(tmp_path, monkeypatch):
    """The gateways of a test find the record of how the one before ended."""
    (tmp_path / "state").mkdir()
    monkeypatch.setitem(SEALS, "state_dir", str(tmp_path / "state"))


def alone(sim, **more):
    return balanced_config(sim, accounts=["eu"], tranche_settings=SEALS, **more)


def next_one(start, sim, before, config):
    """The gateway ends, and another one begins."""
    before.finish(sim)
    return start(config, sim=sim)


def beside(start, sim, directory):
    """Another gateway, with a state directory of its own."""
    (directory / "other").mkdir()
    return start(balanced_config(sim, accounts=["eu"], tranche_settings={**SEALS, "state_dir": str(directory / "other")}), sim=sim)


def is_replay_of(again, made):
    assert again.status == 200 and again.json()["id"] == made.json()["id"], again
    assert again.headers["idempotent-replayed"] == "true", again


def blob(gateway, url="https://store.blob.example/in/a.jsonl?sig=1", **more):
    body = {"input_blob": url, "endpoint": "/v1/chat/completions", "completion_window": "24h",
            "output_folder": {"url": "https://store.blob.example/out"}}
    return gateway.post("/v1/batches?model=" + GROUP, body, **more)


def blobs(sim):
    return balanced_config(sim, accounts=(), tranche_settings=SEALS, model_list=[
        {"model_name": GROUP, "model_info": {"mode": "batch"}, "litellm_params": {
            "model": "azure/gpt-4o-batch-eu", "api_base": sim.base("eu"), "api_key": PROVIDER_KEYS["eu"],
            "api_version": "2025-04-01-preview"}}])


# --- a key that is used again ---


@pytest.mark.parametrize("other", [{"metadata": {"night": "2"}}, {"endpoint": "/v1/embeddings"}], ids=["metadata", "endpoint"])
@pytest.mark.parametrize("where", ["after_a_restart", "at_another_node"])
def test_a_key_that_was_used_for_another_request_gets_a_conflict(start, sim, tmp_path, where, other):
    """It used to get the other request's batch."""
    first = start(alone(sim), sim=sim)
    file = first.uploaded()
    assert first.create(file["id"], headers=KEY, metadata={"night": "1"}).status == 200
    second = beside(start, sim, tmp_path) if where == "at_another_node" else next_one(start, sim, first, alone(sim))
    answer = second.create(file["id"], headers=KEY, **{"metadata": {"night": "1"}, **other})
    envelope(answer, 409, code="idempotency_key_reused")
    assert answer.headers["x-should-retry"] == "false"
    assert sim.created("batches") == 1


@pytest.mark.parametrize("hint", [{"target": "/openai/v1/batches"}, {"headers": {"x-litellm-model": "gpt-4o-mini"}}],
                         ids=["path", "model"])
def test_a_key_that_was_used_for_another_provider_or_model_gets_a_conflict(direct, sim, hint):
    """What decides is not only in the body."""
    file = direct.uploaded(target="/azure/v1/files")
    assert direct.create(file["id"], target="/azure/v1/batches", headers=KEY).status == 200
    answer = direct.create(file["id"], **{"target": "/azure/v1/batches", **hint, "headers": {**KEY, **hint.get("headers", {})}})
    envelope(answer, 409, code="idempotency_key_reused")
    assert sim.created("batches") == 1


# --- how long ago the first try may have been ---


@pytest.mark.parametrize("headers, minutes, found", [
    ({"x-stainless-retry-count": "1"}, 12, True), ({"x-stainless-retry-count": "1"}, 30, False),
    ({"x-stainless-retry-count": "2"}, 23, True), ({"x-stainless-retry-count": "2"}, 60, False),
    ({"x-stainless-retry-count": "1", "x-stainless-read-timeout": "3600.0"}, 55, True),
    ({"x-stainless-retry-count": "1", "x-stainless-timeout": "3600"}, 55, True),
    ({"x-stainless-retry-count": "1", "x-stainless-timeout": "5"}, 12, True)])
def test_a_repeat_is_the_create_before_it_as_far_back_as_its_time_outs_reach(start, sim, headers, minutes, found):
    """An SDK waits ten minutes for each answer: its third try comes 20 minutes after the first one."""
    first = start(alone(sim), sim=sim)
    file = first.uploaded()
    assert first.create(file["id"]).status == 200
    (old,) = sim.ledger("eu")["batches"]
    listed = {"id": old["id"], "object": "batch", "status": "in_progress", "input_file_id": old["input_file_id"],
              "metadata": old["metadata"], "created_at": int(time.time()) - 60 * minutes}
    first.finish(sim)
    sim.fault({"status": 200, "body": {"object": "list", "data": [listed], "has_more": False}}, account="eu", method="GET",
              path="/openai/batches", times=1000)
    answer = start(alone(sim), sim=sim).create(file["id"], headers=headers)
    assert answer.status == 200 and ("idempotent-replayed" in answer.headers) == found, answer
    assert sim.created("batches") == (1 if found else 2)


# --- batches that carry no marker ---


@ASKS
def test_a_batch_with_sixteen_pairs_is_found_by_what_it_is(start, sim, ask):
    first = start(alone(sim), sim=sim)
    file = first.uploaded()
    made = first.create(file["id"], headers=ask, metadata=SIXTEEN)
    assert made.status == 200 and made.headers["x-tranche-unmarked"] == "metadata-full"
    second = next_one(start, sim, first, alone(sim))
    turned = dict(reversed(SIXTEEN.items()))  # a provider keeps no order, and the client asks the same
    is_replay_of(second.create(file["id"], headers=ask, metadata=SIXTEEN), made)
    assert turned == SIXTEEN and sim.created("batches") == 1


@ASKS
def test_sixteen_pairs_that_differ_in_one_are_no_proof_that_there_is_no_batch(start, sim, ask):
    """The provider shows a batch of this file that carries no marker: it may be the one, so nothing is made."""
    first = start(alone(sim), sim=sim)
    file = first.uploaded()
    assert first.create(file["id"], headers=ask, metadata=SIXTEEN).status == 200
    second = next_one(start, sim, first, alone(sim))
    answer = second.create(file["id"], headers=ask, metadata={**SIXTEEN, "pair3": "another"})
    envelope(answer, 409, code="create_outcome_unknown")
    assert answer.headers["x-should-retry"] == "false" and sim.created("batches") == 1
    assert second.create(file["id"], metadata={**SIXTEEN, "pair3": "another"}).status == 200  # as a new one it is made


@ASKS
def test_the_first_batch_of_a_file_with_sixteen_pairs_is_made(start, sim, ask):
    """Other files have batches of the same words, and this one has none."""
    first = start(alone(sim), sim=sim)
    assert first.create(first.uploaded()["id"], metadata=SIXTEEN).status == 200
    file = first.uploaded()
    assert first.create(file["id"], headers={"Idempotency-Key": "with-a-marker"}).status == 200  # is known for another one
    answer = next_one(start, sim, first, alone(sim)).create(file["id"], headers=ask, metadata=SIXTEEN)
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers
    assert sim.created("batches") == 3


@ASKS
def test_a_batch_whose_metadata_its_provider_dropped_is_not_made_again(start, sim, ask):
    first = start(alone(sim), sim=sim)
    file = first.uploaded()
    assert first.create(file["id"], headers=ask).status == 200
    (old,) = sim.ledger("eu")["batches"]
    listed = {k: old[k] for k in ("id", "input_file_id", "endpoint", "created_at") if k in old}
    listed |= {"object": "batch", "status": "validating", "metadata": None}
    first.finish(sim)
    sim.fault({"status": 200, "body": {"object": "list", "data": [listed], "has_more": False}}, account="eu", method="GET",
              path="/openai/batches", times=1000)
    answer = start(alone(sim), sim=sim).create(file["id"], headers=ask)
    envelope(answer, 409, code="create_outcome_unknown")
    assert sim.created("batches") == 1


@ASKS
def test_a_blob_that_has_a_batch_is_not_made_into_a_second_one(start, sim, ask):
    first = start(blobs(sim), sim=sim)
    assert blob(first, headers=ask).status == 200
    second = next_one(start, sim, first, blobs(sim))
    answer = blob(second, headers=ask)
    envelope(answer, 409, code="create_outcome_unknown")
    assert sim.created("batches") == 1
    # Another signature is the same blob, another blob is another one.
    envelope(blob(second, "https://store.blob.example/in/a.jsonl?sig=2", headers={**ask, "Idempotency-Key": "k2"}), 409)
    assert blob(second, "https://store.blob.example/in/b.jsonl", headers={"Idempotency-Key": "k3"}).status == 200
    assert sim.created("batches") == 2


# --- markers that do not verify ---


def unsealed(sim):
    """No master key and no seal keys: each gateway's seals end with it."""
    return direct_config(sim, general_settings={})


def rotated(sim):
    return direct_config(sim, general_settings={"master_key": MASTER_KEY + "-rotated"})


@ASKS
@pytest.mark.parametrize("before, after, key", [(unsealed, unsealed, None), (direct_config, rotated, MASTER_KEY + "-rotated"),
                                                (unsealed, direct_config, MASTER_KEY)], ids=["no_keys", "rotated", "first_key"])
def test_a_batch_whose_marker_does_not_verify_is_found_all_the_same(start, sim, ask, before, after, key):
    first = start(before(sim), sim=sim)
    file = first.uploaded(target="/openai/v1/files")
    made = first.create(file["id"], target="/openai/v1/batches", headers=ask)
    second = next_one(start, sim, first, after(sim))
    again = second.request("POST", "/openai/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                                                          "completion_window": "24h"}, headers=ask, key=key)
    is_replay_of(again, made)
    assert sim.created("batches") == 1


# --- refusals that are not the provider's ---

PAGES = {"page": ("text/html", "<html><h1>503 Service Unavailable</h1></html>"), "text": ("text/plain", "no healthy upstream"),
         "json": ("application/json", '{"statusCode":429,"message":"Rate limit is exceeded. Try again in 2 seconds."}'),
         "nothing": ("text/plain", "")}


def refused_at_the_door(sim, status, page, **more):
    kind, body = PAGES[page]
    sim.fault({"status": status, "body": body, "headers": {"content-type": kind}, **more}, account="eu", method="POST",
              path="/openai/batches*")


def two(sim):
    config = balanced_config(sim, accounts=["eu", "us"], tranche_settings=SEALS)
    for n, row in enumerate(config["model_list"]):
        row["litellm_params"]["order"] = n + 1
    return config


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("status", [403, 404, 429, 501, 503, 505])
def test_what_a_front_door_refused_after_it_was_carried_out_is_the_answer(start, sim, status, page):
    gateway = start(two(sim), sim=sim)
    file = gateway.uploaded()
    refused_at_the_door(sim, status, page, late=True)
    assert gateway.create(file["id"]).status == 200
    assert sim.created("batches", ["eu"]) == 1 == sim.created("batches")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("status", [429, 501, 503])
def test_what_a_front_door_refused_and_nobody_carried_out_is_made_elsewhere(start, sim, status, page):
    gateway = start(two(sim), sim=sim)
    file = gateway.uploaded()
    refused_at_the_door(sim, status, page)
    assert gateway.create(file["id"]).status == 200
    assert sim.created("batches", ["us"]) == 1 == sim.created("batches")


@pytest.mark.parametrize("late", [True, False])
def test_while_nobody_can_look_a_front_doors_refusal_is_an_unknown_outcome(start, sim, late):
    gateway = start(two(sim), sim=sim)
    file = gateway.uploaded()
    refused_at_the_door(sim, 503, "page", late=late)
    sim.fault({"status": 503, "body": "<html>"}, account="eu", method="GET", path="/openai/batches", times=1000)
    answer = gateway.create(file["id"])
    envelope(answer, 502, code="create_outcome_unknown")
    assert answer.headers["x-should-retry"] == "false" and sim.created("batches") == late


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_server_without_a_list_may_refuse_a_request_in_its_own_words(start, sim, status):
    """Many servers resemble OpenAI's, and answer as their framework does."""
    gateway = start(two(sim), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": status, "body": {"detail": "There is no such thing here."}}, account="eu", method="POST",
              path="/openai/batches*", times=10)
    sim.fault({"status": 404, "body": {"detail": "Not Found"}}, account="eu", method="GET", path="/openai/batches", times=1000)
    error = envelope(gateway.create(file["id"]), status)
    assert error["message"] == "There is no such thing here." and sim.created("batches") == 0


@pytest.mark.parametrize("late", [True, False])
def test_a_front_doors_refusal_of_sixteen_pairs_is_looked_at_too(start, sim, late):
    gateway = start(two(sim), sim=sim)
    file = gateway.uploaded()
    refused_at_the_door(sim, 429, "page", late=late)
    answer = gateway.create(file["id"], metadata=SIXTEEN)
    if late:
        envelope(answer, 502, code="create_outcome_unknown")
    else:
        assert answer.status == 429, answer
    assert sim.created("batches") == late


def test_the_providers_own_refusal_needs_no_look(start, sim):
    gateway = start(two(sim), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 429}, account="eu", method="POST", path="/openai/batches*")
    assert gateway.create(file["id"]).status == 200
    assert not lists(sim, "eu") and sim.created("batches", ["us"]) == 1


# --- what a search costs ---


def lists(sim, account):
    return [r for r in sim.requests(account) if r["method"] == "GET" and r["target"].split("?")[0].endswith("/batches")
            and not is_probe(r) and not is_upkeep(r)]


def test_many_repeats_at_once_share_the_lists_that_are_read_for_them(start, sim):
    """Each used to read each account's list three times: 360 lists for these."""
    gateway = start(balanced_config(sim, accounts=["eu", "us"], tranche_settings=SEALS), sim=sim, workers=1)
    file = gateway.uploaded()
    sim.fault({"hang": "head", "ms": 600_000}, method="GET", path="/openai/batches", times=1000)
    with contextlib.ExitStack() as stack:
        clients = []
        for n in range(60):
            body = json.dumps({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
                               "metadata": {"n": str(n)}}).encode()
            client = stack.enter_context(contextlib.closing(H1(gateway.port)))
            client.request("POST", "/v1/batches", {"Content-Type": "application/json", **RETRY}, len(body)).send(body)
            clients.append(client)
        # No list has been answered before the last of them is there.
        until(lambda: waiting_at(gateway.port) == 0, "the worker has read all requests")
        assert gateway.get("/health/liveliness").status == 200
        sim.clear_faults()
        sim.release()
        assert [client.answer().status for client in clients] == [200] * 60 and sim.created("batches") == 60
    assert len(lists(sim, "eu")) + len(lists(sim, "us")) <= 90
