"""The marker in a batch's metadata: by it a create whose answer was lost is found again."""

import pytest
from harness import envelope

LOST = {"closed": {"close": "answer"}, "reset": {"reset": "answer"}, "truncated_body": {"truncate": 30}, "not_json": {"not_json": True}}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_create_whose_answer_is_lost_is_answered_with_the_batch_that_was_made(gateway, sim, fault):
    file = gateway.uploaded()
    sim.fault(fault, method="POST", path="/openai/batches*", times=1)
    answer = gateway.create(file["id"], metadata={"team": "search"})
    assert answer.status == 200, answer
    batch = answer.json()
    assert batch["metadata"] == {"team": "search"} and batch["input_file_id"] == file["id"]
    assert batch["endpoint"] == "/v1/chat/completions"
    assert sim.created("batches") == 1
    assert gateway.get("/v1/batches/" + batch["id"]).json()["id"] == batch["id"]


def test_the_marker_is_upstream_and_in_no_answer(gateway, sim):
    file = gateway.uploaded()
    batch = gateway.created(file["id"], metadata={"team": "search"})
    (stored,) = [b for a in ("eu", "us", "sw") for b in sim.ledger(a)["batches"]]
    assert stored["metadata"]["team"] == "search" and len(stored["metadata"]["tranche"]) <= 512
    assert batch["metadata"] == {"team": "search"}
    assert gateway.get("/v1/batches/" + batch["id"]).json()["metadata"] == {"team": "search"}
    assert gateway.get("/v1/batches").json()["data"][0]["metadata"] == {"team": "search"}


def test_another_clients_identical_create_is_not_taken_for_ours(gateway, sim):
    file = gateway.uploaded()
    first = gateway.created(file["id"])
    sim.fault({"close": "head"}, method="POST", path="/openai/batches*", times=1)  # ends before it is executed
    answer = gateway.create(file["id"])
    if answer.status == 200:
        assert answer.json()["id"] != first["id"] and sim.created("batches") == 2
    else:
        envelope(answer, 502)
        assert answer.headers["x-should-retry"] == "false" and sim.created("batches") == 1


def test_the_tokens_of_a_create_that_nobody_can_tell_of_stay_counted(gateway, sim):
    """The batch may well run there, and then its tokens are enqueued."""
    def enqueued():
        got = gateway.post("/v1/batches/placement", {"input_file_id": file["id"]}).json()
        return sum(c["enqueued_tokens"] for c in got["candidates"]), got["tokens"]

    file = gateway.uploaded()
    sim.fault({"close": "head"}, method="POST", path="/openai/batches*", times=1)
    envelope(gateway.create(file["id"]), 502, code="create_outcome_unknown")
    counted, tokens = enqueued()
    assert counted == tokens > 0


def test_sixteen_pairs_of_the_client_leave_no_room_and_the_answer_says_so(gateway, sim):
    pairs = {f"key{n}": str(n) for n in range(16)}
    file = gateway.uploaded()
    answer = gateway.create(file["id"], metadata=pairs)
    assert answer.status == 200 and answer.headers["x-tranche-unmarked"] == "metadata-full"
    assert answer.json()["metadata"] == pairs
    sim.fault({"close": "answer"}, method="POST", path="/openai/batches*", times=1)
    answer = gateway.create(file["id"], metadata=pairs)
    envelope(answer, 502, code="create_outcome_unknown")
    assert answer.headers["x-should-retry"] == "false"
    assert sim.created("batches") == 2


def test_the_gateways_own_metadata_key_is_refused(gateway, sim):
    file = gateway.uploaded()
    envelope(gateway.create(file["id"], metadata={"tranche": "1.x"}), 400, param="metadata.tranche")
    assert sim.created("batches") == 0
