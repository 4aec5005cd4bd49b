"""A kept connection that dies under a request is the HTTP library's to mend, and it repeats the request by itself. What a
client did is told as done all the same, and is done in the books.

Each test first makes the connection that then dies: with one worker, a GET before it does.
"""

import pytest

from harness import balanced_config, direct_config, envelope, until

SEVERAL = {f"lost_{how}_{n}": ({how: "answer"}, n) for how in ("close", "reset") for n in (1, 2)}
every_loss = pytest.mark.parametrize("loss", SEVERAL.values(), ids=SEVERAL)


@pytest.fixture
def one(start, sim):
    """One worker, so that connections are kept for the request after."""
    return start(direct_config(sim), sim=sim, workers=1)


def keep_connection(gateway, target):
    assert gateway.get(target).status == 200


def sent(sim, method, end=""):
    return [r for r in sim.requests("oai") if r["method"] == method and r["target"].endswith(end)]


@every_loss
def test_a_file_that_was_deleted_is_not_said_to_be_missing(one, sim, loss):
    file = one.uploaded(fields={"custom_llm_provider": "openai"})
    keep_connection(one, f"/v1/files/{file['id']}")
    action, times = loss
    sim.fault(action, account="oai", method="DELETE", times=times)
    answer = one.delete(f"/v1/files/{file['id']}")
    assert answer.status == 200, answer
    assert answer.json() == {"id": file["id"], "object": "file", "deleted": True}
    assert len(sent(sim, "DELETE")) == times + 1


def test_a_file_that_never_was_is_missing_also_on_a_kept_connection(one, sim):
    file = one.uploaded(fields={"custom_llm_provider": "openai"})
    keep_connection(one, f"/v1/files/{file['id']}")
    envelope(one.delete("/v1/files/file-neverwas"), 404)


@every_loss
@pytest.mark.parametrize("status", [409, 400])
def test_a_batch_that_was_cancelled_is_not_said_to_be_in_conflict(one, sim, loss, status):
    file = one.uploaded(fields={"custom_llm_provider": "openai"})
    batch = one.created(file["id"], headers={"custom-llm-provider": "openai"})
    keep_connection(one, f"/v1/batches/{batch['id']}")
    action, times = loss
    sim.fault(action, account="oai", method="POST", path="*/cancel", times=times)
    sim.fault({"status": status}, account="oai", method="POST", path="*/cancel", times=1)
    answer = one.post(f"/v1/batches/{batch['id']}/cancel")
    assert answer.status == 200, answer
    assert answer.json()["id"] == batch["id"] and answer.json()["status"] == "cancelling"
    assert len(sent(sim, "POST", "/cancel")) == times + 1
    assert sim.requests("oai")[-1]["method"] == "GET"


def test_a_batch_that_had_ended_before_is_in_conflict_whatever_was_repeated(one, sim):
    file = one.uploaded(fields={"custom_llm_provider": "openai"})
    batch = one.created(file["id"], headers={"custom-llm-provider": "openai"})
    one.wait_batch(sim, batch["id"], "failed")
    sim.fault({"close": "answer"}, account="oai", method="POST", path="*/cancel")
    before = one.get(f"/v1/batches/{batch['id']}").json()
    answer = one.post(f"/v1/batches/{batch['id']}/cancel")
    envelope(answer, 409)
    assert "failed" in answer.json()["error"]["message"]
    assert one.get(f"/v1/batches/{batch['id']}").json() == before


def test_a_conflict_of_a_cancel_that_went_out_once_costs_no_look(one, sim):
    file = one.uploaded(fields={"custom_llm_provider": "openai"})
    batch = one.created(file["id"], headers={"custom-llm-provider": "openai"})
    sim.fault({"status": 409}, account="oai", method="POST", path="*/cancel")
    envelope(one.post(f"/v1/batches/{batch['id']}/cancel"), 409)
    assert sim.requests("oai")[-1]["method"] == "POST"


def test_a_batch_that_cannot_be_looked_at_leaves_the_conflict(one, sim):
    file = one.uploaded(fields={"custom_llm_provider": "openai"})
    batch = one.created(file["id"], headers={"custom-llm-provider": "openai"})
    keep_connection(one, f"/v1/batches/{batch['id']}")
    sim.fault({"close": "answer"}, account="oai", method="POST", path="*/cancel")
    sim.fault({"status": 409}, account="oai", method="POST", path="*/cancel")
    sim.fault({"status": 500}, account="oai", method="GET", path="/v1/batches/*", times=9)
    cancel = one.post(f"/v1/batches/{batch['id']}/cancel", headers={"custom-llm-provider": "openai"})
    envelope(cancel, 409)
    gets = [r for r in sim.requests("oai") if r["method"] == "GET" and r["status"] == 500]
    assert len(gets) == 1


def counted_files(gateway):
    """An empty list until they were counted for the first time."""
    text = gateway.get("/metrics").body.decode()
    rows = [line for line in text.splitlines() if line.startswith("tranche_account_files{")]
    return rows and sum(float(line.rsplit(" ", 1)[1]) for line in rows)


@pytest.mark.parametrize("again", [False, True], ids=["at_once", "after_giving_up"])
def test_the_place_of_a_deleted_file_is_free_again(start, sim, again):
    gateway = start(balanced_config(sim, ("eu",)), sim=sim, workers=1)
    until(lambda: counted_files(gateway) == 0, "files were counted")
    file = gateway.uploaded()
    assert counted_files(gateway) == 1
    keep_connection(gateway, f"/v1/files/{file['id']}")
    sim.fault({"close": "answer"}, account="eu", method="DELETE", times=1)
    if again:  # every other try fails: the client hears of that and asks again
        sim.fault({"status": 500}, account="eu", method="DELETE", times=9)
        assert gateway.delete(f"/v1/files/{file['id']}").status >= 500
        sim.clear_faults()
        envelope(gateway.delete(f"/v1/files/{file['id']}"), 404)
    else:
        assert gateway.delete(f"/v1/files/{file['id']}").json()["deleted"] is True
    assert counted_files(gateway) == 0
