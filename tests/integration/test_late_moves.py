"""A batch whose deployment says only after the create that it has no room runs at another one: its client sees `validating`, one id,
one end and one bill (journal statements D2 to D4, D13, D14)."""

import contextlib
import json
import os
import signal
import sqlite3

import openai
import pytest
from harness import MASTER_KEY, PATIENCE, azure_account, azure_deployment, balanced_config, keeper_of, lines, prober_of, sim_config, until
from hook_receiver import Receiver
from test_journal_people import SEALS, tranche, types_of
from test_webhooks import LOCAL, SECRET

ROOM = 600  # tokens, fewer than the lines of these tests have
LINES = lines(count=20)
RANKS = ["validating", "in_progress", "finalizing", "completed"]


def late(name, tokens, refusal="slow"):
    return azure_account(name, deployments=[{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch",
                                             "enqueued_token_limit": tokens, "refusal": refusal}])


@pytest.fixture
def two(make_sim):
    """eu gets every upload (its weight), and says late that it is full; us is large."""
    return make_sim(sim_config([late("eu", ROOM), late("us", 1_000_000)]))


@pytest.fixture
def full(make_sim):
    """us is as full as eu, and says so at once."""
    return make_sim(sim_config([late("eu", ROOM), late("us", ROOM, "fast")]))


def config(sim, url, *others, **settings):
    rows = [azure_deployment(sim, "eu", weight=1)] + [azure_deployment(sim, other, weight=0) for other in others or ("us",)]
    return balanced_config(sim, accounts=(), model_list=rows,
                           tranche_settings={"database": url, "seal_keys": SEALS, "timeouts": {"watch_ms": 200}, **settings})


def get(gateway, batch, key=MASTER_KEY):
    answer = gateway.get(f"/v1/batches/{batch}", key=key)
    assert answer.status == 200, answer
    return answer.json()


def events(gateway, batch):
    return gateway.get(f"/v1/batches/{batch}?expand=events").json()["events"] or []


def listed(gateway):
    return {b["id"]: b for b in gateway.get("/v1/batches?limit=100").json()["data"]}


def made(gateway, sim):
    """A batch of eu that is about to fail."""
    file = gateway.uploaded(LINES)
    batch = gateway.created(file["id"], metadata={"team": "search"})
    assert sim.created("batches", ["eu"]) == 1
    until(lambda: "created" in types_of(events(gateway, batch["id"])), "the journal knows it", timeout=PATIENCE * 4)
    return file["id"], batch["id"]


def refused(sim):
    """eu has looked at it."""
    sim.advance(60_000)


def wait_moved(gateway, batch, times=1):
    return until(lambda: [e["type"] for e in events(gateway, batch)].count("moved") == times, "it was moved", timeout=PATIENCE * 4)


def wait_completed(gateway, sim, batch):
    def look():
        seen = get(gateway, batch)
        assert seen["status"] in RANKS, seen
        sim.advance(30_000)
        return seen["status"] == "completed" and seen

    return until(look, "it completed", timeout=PATIENCE * 6)


def wait_ended(gateway, sim, batch, status):
    def look():
        seen = get(gateway, batch)
        assert seen["status"] in ("cancelling", status), seen
        sim.advance(30_000)
        return seen["status"] == status

    until(look, f"it is {status}", timeout=PATIENCE * 6)
    told = until(lambda: (lambda told: "ended" in told and told)(types_of(events(gateway, batch))), "the journal knows it", timeout=PATIENCE * 4)
    assert told.count("ended") == told.count("event") == 1, told


def check_once(gateway, sim, file, batch, us=1):
    """What is shown of it at its end, everywhere, and what it cost."""
    seen = wait_completed(gateway, sim, batch)
    assert (seen["id"], seen["input_file_id"], seen["metadata"]) == (batch, file, {"team": "search"}), seen
    assert seen["request_counts"] == {"total": 20, "completed": 20, "failed": 0} and seen["errors"] is None, seen
    assert sim.created("batches", ["eu"]) == 1 and sim.created("batches", ["us"]) == us
    until(lambda: types_of(events(gateway, batch)).count("ended") == 1, "the journal knows its end", timeout=PATIENCE * 4)
    until(lambda: listed(gateway)[batch]["status"] == "completed", "the list knows it", timeout=PATIENCE * 4)
    rows = listed(gateway)
    assert list(rows) == [batch], rows
    assert rows[batch]["output_file_id"] == seen["output_file_id"] and rows[batch]["input_file_id"] == file, rows
    output = gateway.get(f"/v1/files/{seen['output_file_id']}/content")
    assert output.status == 200 and len(output.body.splitlines()) == 20, output
    until(lambda: types_of(events(gateway, batch)).count("usage") == 1, "it is billed", timeout=PATIENCE * 4)
    told = until(lambda: types_of(events(gateway, batch)), "the database answers")
    assert [told.count(what) for what in ("created", "ended", "event", "usage")] == [1, 1, 1, 1], told
    page = until(lambda: (lambda answer: answer.status == 200 and answer.json())(gateway.get("/usage")), "the database answers")
    usage = [r for r in page["data"] if r["batch_id"] == batch]
    assert len(usage) == 1 and usage[0]["ok_requests"] == 20, usage


def test_the_sdks_wait_loop_sees_one_batch_that_completes(start, two, url):
    gateway = start(config(two, url), sim=two)
    file, batch = made(gateway, two)
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=MASTER_KEY)
    statuses = []
    two.fault({"delay_ms": 600_000}, account="us", method="POST", path="/openai/batches*")
    refused(two)
    two.wait("us", "POST", "/openai/batches*", phase="received", timeout=PATIENCE * 4)

    def look():
        seen = client.batches.retrieve(batch)
        assert seen.id == batch and seen.status in RANKS and seen.errors is None and seen.failed_at is None, seen
        assert not statuses or RANKS.index(seen.status) >= RANKS.index(statuses[-1]), (statuses, seen.status)
        statuses.append(seen.status)
        if "moved" in types_of(events(gateway, batch)):
            two.advance(30_000)
        return seen.status == "completed"

    assert not look() and statuses == ["validating"], statuses
    two.release()
    until(look, "it completed", timeout=PATIENCE * 6)
    check_once(gateway, two, file, batch)
    told = until(lambda: types_of(events(gateway, batch)), "the database answers")
    assert told.index("created") < told.index("moving") < told.index("moved") < told.index("ended"), told
    # Results in the order of the input, and the story for people.
    results = gateway.get(f"/v1/batches/{batch}/results")
    assert results.status == 200 and len(results.body.splitlines()) == 20, results
    done = tranche("batch", batch, port=gateway.port)
    assert done.returncode == 0 and "moved" in done.stdout, done


def test_nobody_has_to_poll_for_it(start, two, tmp_path):
    """The watch sees it fail, and moves it."""
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db"), sim=two)
    file, batch = made(gateway, two)
    refused(two)
    two.wait("us", "POST", "/openai/batches*", timeout=PATIENCE * 4)
    wait_moved(gateway, batch)
    check_once(gateway, two, file, batch)


def test_people_see_where_a_moved_one_was(start, two, tmp_path):
    """In GET /journal/batches, which the page shows, and in the commands."""
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db"), sim=two)
    _, batch = made(gateway, two)
    (row,) = gateway.get("/journal/batches").json()["data"]
    before = row["deployment"]
    assert before and (row["moves"], row["moving"], row["moved_from"]) == (0, False, None), row
    refused(two)
    wait_moved(gateway, batch)
    (row,) = gateway.get("/journal/batches").json()["data"]
    assert (row["moves"], row["moving"], row["moved_from"]) == (1, False, before) and row["deployment"] not in (None, before), row
    said = f"{row['deployment']} (moved from {before})"
    for command in (("batches",), ("batch", batch)):
        done = tranche(*command, port=gateway.port)
        assert done.returncode == 0 and said in done.stdout, done


def test_switched_off_it_has_failed(start, two, tmp_path):
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db", move_failed=False), sim=two)
    _, batch = made(gateway, two)
    refused(two)
    seen = get(gateway, batch)
    assert seen["status"] == "failed" and seen["errors"]["data"][0]["code"] == "token_limit_exceeded", seen
    until(lambda: "ended" in types_of(events(gateway, batch)), "the journal knows its end", timeout=PATIENCE * 4)
    assert two.created("batches") == 1 and listed(gateway)[batch]["status"] == "failed"


def test_one_that_no_other_deployment_has_a_model_for_has_failed(start, make_sim, tmp_path):
    sim = make_sim(sim_config([late("eu", ROOM)]))
    gateway = start(balanced_config(sim, accounts=["eu"], tranche_settings={
        "database": f"sqlite://{tmp_path}/j.db", "seal_keys": SEALS, "timeouts": {"watch_ms": 200}}), sim=sim)
    _, batch = made(gateway, sim)
    refused(sim)
    assert get(gateway, batch)["status"] == "failed"
    until(lambda: "ended" in types_of(events(gateway, batch)), "the journal knows its end", timeout=PATIENCE * 4)


def test_cancelled_while_no_deployment_has_room_it_ends_at_once_and_nothing_is_made(start, full, url):
    gateway = start(config(full, url), sim=full)
    _, batch = made(gateway, full)
    refused(full)
    assert get(gateway, batch)["status"] == "validating"
    until(lambda: "moving" in types_of(events(gateway, batch)), "it moves", timeout=PATIENCE * 4)
    assert listed(gateway)[batch]["status"] == "validating"
    cancelled = until(lambda: (lambda a: a.status == 200 and a.json()["status"] == "cancelled" and a.json())(
        gateway.post(f"/v1/batches/{batch}/cancel")), "it is cancelled", timeout=PATIENCE * 2)
    assert cancelled["id"] == batch and cancelled["cancelled_at"] and cancelled["errors"] is None, cancelled
    assert until(lambda: get(gateway, batch)["status"] == "cancelled", "it is shown so")
    assert until(lambda: listed(gateway)[batch]["status"] == "cancelled", "the list shows it so")
    told = until(lambda: types_of(events(gateway, batch)), "the database answers")
    assert told.count("ended") == told.count("event") == 1, told
    full.advance(600_000)
    assert set(listed(gateway)) == {batch} and get(gateway, batch)["status"] == "cancelled" and full.created("batches", ["us"]) == 0


def test_one_whose_input_is_deleted_while_it_waits_fails_as_it_failed(start, two, tmp_path):
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db"), sim=two)
    file, batch = made(gateway, two)
    two.fault({"status": 503}, account="us", method="POST", path="/openai/files*", times=1_000_000)
    refused(two)
    two.wait("us", "POST", "/openai/files*", timeout=PATIENCE * 4)
    assert gateway.delete(f"/v1/files/{file}").status == 200
    two.clear_faults()
    until(lambda: get(gateway, batch)["status"] == "failed", "it has failed", timeout=PATIENCE * 6)
    seen = get(gateway, batch)
    assert seen["errors"]["data"][0]["code"] == "token_limit_exceeded", seen
    until(lambda: types_of(events(gateway, batch)).count("event") == 1, "it is told of", timeout=PATIENCE * 4)
    assert two.created("batches") == 1


def test_it_goes_on_to_a_third_one(start, make_sim, tmp_path):
    sim = make_sim(sim_config([late("eu", ROOM), late("us", ROOM), late("sw", 1_000_000)]))
    rows = [azure_deployment(sim, "eu", order=1), azure_deployment(sim, "us", order=2), azure_deployment(sim, "sw", order=3)]
    gateway = start({**config(sim, f"sqlite://{tmp_path}/j.db"), "model_list": rows}, sim=sim)
    file, batch = made(gateway, sim)
    refused(sim)
    wait_moved(gateway, batch)
    refused(sim)
    wait_moved(gateway, batch, 2)
    seen = wait_completed(gateway, sim, batch)
    assert seen["id"] == batch and [sim.created("batches", [a]) for a in ("eu", "us", "sw")] == [1, 1, 1]
    until(lambda: types_of(events(gateway, batch)).count("usage") == 1, "it is billed", timeout=PATIENCE * 4)
    assert set(listed(gateway)) == {batch}


# --- one outcome, whoever dies ---


def kill(gateway, pid):
    gateway.deaths_expected = True
    os.kill(pid, signal.SIGKILL)


class Journal:
    """A database whose minutes go by when a test says so."""

    def __init__(self, path):
        self.path = path
        self.url = f"sqlite://{path}"

    def later(self):
        """A quarter of an hour goes by, in which what is in doubt was looked for once."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=PATIENCE)) as db, db:
            db.execute("update reservation set created = created - 900000, tries = 1, claim_until = 0"
                       " where state in (0, 3) and (state = 3 or nonce in (select move_nonce from batch_part))")

    def wait_moved_later(self, gateway, batch):
        def look():
            self.later()
            return "moved" in types_of(events(gateway, batch))

        until(look, "it was moved", timeout=PATIENCE * 4)


STEPS = {"the copy is stored": ("POST", "/openai/files*", {"delay_ms": 600_000}),
         "the create is asked": ("POST", "/openai/batches*", {"hang": "body", "ms": 600_000}),
         "the create is carried out": ("POST", "/openai/batches*", {"hang": "answer", "ms": 600_000})}


@pytest.mark.parametrize("who", ["prober", "keeper"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_one_batch_comes_of_it(start, two, tmp_path, step, who):
    method, path, fault = STEPS[step]
    journal = Journal(tmp_path / "j.db")
    gateway = start(config(two, journal.url), sim=two)
    file, batch = made(gateway, two)
    two.fault(fault, account="us", method=method, path=path)
    refused(two)
    two.wait("us", method, path, phase="received", timeout=PATIENCE * 4)
    if who == "prober":
        kill(gateway, prober_of(gateway))
    else:
        kill(gateway, keeper_of(gateway))
        two.release()
    if step == "the create is asked" and who == "prober":  # in doubt for as long as a create may be under way
        assert get(gateway, batch)["status"] == "validating" and two.created("batches", ["us"]) <= 1
        journal.wait_moved_later(gateway, batch)
    wait_moved(gateway, batch)
    check_once(gateway, two, file, batch)


def test_an_answer_that_is_lost_makes_no_second_one(start, two, tmp_path):
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db"), sim=two)
    file, batch = made(gateway, two)
    two.fault({"close": "answer"}, account="us", method="POST", path="/openai/batches*")
    refused(two)
    wait_moved(gateway, batch)
    check_once(gateway, two, file, batch)


def test_a_gateway_that_is_started_again_goes_on(start, two, tmp_path):
    url = f"sqlite://{tmp_path}/j.db"
    state = tmp_path / "state"
    state.mkdir()
    gateway = start(config(two, url, state_dir=str(state)), sim=two)
    file, batch = made(gateway, two)
    two.fault({"hang": "answer", "ms": 600_000}, account="us", method="POST", path="/openai/batches*")
    refused(two)
    two.wait("us", "POST", "/openai/batches*", phase="received", timeout=PATIENCE * 4)
    gateway.deaths_expected = True
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait()
    again = start(config(two, url, state_dir=str(state)), sim=two)
    wait_moved(again, batch)
    check_once(again, two, file, batch)


def test_cancelled_while_its_create_is_in_doubt_it_ends_where_it_is(start, two, tmp_path):
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db"), sim=two)
    _, batch = made(gateway, two)
    two.fault({"hang": "answer", "ms": 600_000}, account="us", method="POST", path="/openai/batches*")
    refused(two)
    two.wait("us", "POST", "/openai/batches*", phase="received", timeout=PATIENCE * 4)
    answer = until(lambda: (lambda a: a.status == 200 and a.json())(gateway.post(f"/v1/batches/{batch}/cancel")), "it is cancelled")
    assert (answer["id"], answer["status"]) == (batch, "cancelling"), answer
    assert get(gateway, batch)["status"] == "cancelling"
    two.release()
    wait_ended(gateway, two, batch, "cancelled")
    assert two.created("batches", ["us"]) == 1


def test_cancelled_while_its_create_is_in_doubt_and_none_was_made_it_is_made_nowhere(start, two, tmp_path):
    journal = Journal(tmp_path / "j.db")
    gateway = start(config(two, journal.url), sim=two)
    _, batch = made(gateway, two)
    two.fault({"hang": "body", "ms": 600_000}, account="us", method="POST", path="/openai/batches*")
    refused(two)
    two.wait("us", "POST", "/openai/batches*", phase="received", timeout=PATIENCE * 4)
    answer = until(lambda: (lambda a: a.status == 200 and a.json())(gateway.post(f"/v1/batches/{batch}/cancel")), "it is cancelled")
    assert answer["status"] == "cancelling", answer
    kill(gateway, prober_of(gateway))

    def look():
        journal.later()
        seen = get(gateway, batch)
        assert seen["status"] in ("cancelling", "cancelled"), seen
        return seen["status"] == "cancelled"

    until(look, "it has ended", timeout=PATIENCE * 4)
    told = until(lambda: types_of(events(gateway, batch)), "the database answers")
    assert told.count("ended") == told.count("event") == 1 and two.created("batches", ["us"]) == 0, told


# --- who is told of it, and who moves it ---


def test_its_own_endpoint_is_told_of_its_one_end(start, two, tmp_path):
    receiver = Receiver()
    try:
        gateway = start(config(two, f"sqlite://{tmp_path}/j.db", **LOCAL), sim=two)
        file = gateway.uploaded(LINES)["id"]
        batch = gateway.created(file, metadata={"team": "search"}, webhook={"url": receiver.url("/own"), "secret": SECRET})["id"]
        until(lambda: "created" in types_of(events(gateway, batch)), "the journal knows it", timeout=PATIENCE * 4)
        refused(two)
        wait_moved(gateway, batch)
        check_once(gateway, two, file, batch)
        told = [json.loads(d.body) for d in receiver.wait("/own", timeout=PATIENCE * 4)]
        assert [(t["type"], t["data"]["id"]) for t in told] == [("batch.completed", batch)], told
    finally:
        receiver.close()


def test_of_two_nodes_one_moves_it_and_both_show_it(start, two, tmp_path, database):
    nodes = []
    for name in ("one", "two"):
        state = tmp_path / name
        state.mkdir()
        nodes.append(start(config(two, database.url, state_dir=str(state)), sim=two))
    file, batch = made(nodes[0], two)
    refused(two)
    wait_moved(nodes[1], batch)
    for node in nodes:
        check_once(node, two, file, batch)
    assert [get(node, batch) for node in nodes] == [get(nodes[0], batch)] * 2


def test_what_was_moved_is_counted_and_said_in_a_header(start, two, tmp_path):
    gateway = start(config(two, f"sqlite://{tmp_path}/j.db"), sim=two)
    _, batch = made(gateway, two)
    assert "x-tranche-moves" not in gateway.get(f"/v1/batches/{batch}").headers
    refused(two)
    wait_moved(gateway, batch)
    assert gateway.get(f"/v1/batches/{batch}").headers["x-tranche-moves"] == "1"
    counted = [line for line in gateway.get("/metrics").body.decode().splitlines() if line.startswith("tranche_batch_moves_total{")]
    assert len(counted) == 1 and 'reason="token_limit_exceeded"' in counted[0] and counted[0].endswith(" 1"), counted
