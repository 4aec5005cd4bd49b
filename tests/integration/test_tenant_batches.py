"""Limits of keys and teams that count at providers: tokens of unfinished batches and their number (tenants statements A32 and
A39 to A42). They are counted in the same step as the deployment's, freed when a batch has ended whether or not anybody polls,
and known again after a kill."""

import collections
import concurrent.futures
import hashlib
import http.client
import os
import re
import signal
import threading

import pytest
from harness import (GROUP, azure_account, balanced_config, envelope, kill_child, lines, sim_config, until,
                     worker_pids)
from test_ledger_upkeep import give_up, wait_rebuilt, worker_pid
from test_moving import eu_first

ANN, AMY, BEN = "sk-ann-000011112222aaaa", "sk-amy-000011112222cccc", "sk-ben-000011112222bbbb"
NAMES = {ANN: "ann", AMY: "amy", BEN: None}  # Ben's key has no alias
SHOWN = {ANN: "ann", AMY: "amy", BEN: "sk-...bbbb"}
DATA = lines(count=20)


def entry(key, **fields):
    named = {"key_alias": NAMES[key]} if NAMES[key] else {"id": "ben", "key_name": "sk-..." + key[-4:]}
    return {"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(), **named, "models": ["*"], **fields}


@pytest.fixture
def tenants(start, sim):
    """tenants([entries], [teams]) -> a gateway that knows them"""
    def make(keys, teams=(), workers=1, world=None, make_config=balanced_config, watch_ms=100, **more):
        sections = more.pop("tranche_settings", {})
        settings = {"seal_keys": ["a-seal-key-of-the-tests"], "keys": keys, "teams": list(teams),
                    "timeouts": {"watch_ms": watch_ms}, **sections}
        world = world or sim
        config = make_config(world, tranche_settings={k: v for k, v in settings.items() if v}, **more)
        return start(config, sim=world, workers=workers)

    return make


def create(gateway, file, key, headers=None, **more):
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
    return gateway.post("/v1/batches", body, key=key, headers=headers)


def made(gateway, key, data=DATA):
    answer = create(gateway, gateway.uploaded(data, key=key)["id"], key)
    assert answer.status == 200, answer
    return answer.json()["id"]


def placement(gateway, key, **body):
    answer = gateway.post("/v1/batches/placement", body, key=key)
    assert answer.status == 200, answer
    return answer.json()


def size_of(sim, start, data=DATA):
    """How many tokens the gateway counts a file for."""
    gateway = start(balanced_config(sim, tranche_settings={"keys": [entry(ANN)]}), sim=sim)
    tokens = placement(gateway, ANN, input_file_id=gateway.uploaded(data, key=ANN)["id"])["tokens"]
    sim.reset()
    return tokens


def scopes(gateway):
    """Keys and teams that have unfinished batches."""
    return int(re.search(r"^tranche_quota_scopes (\d+)$", gateway.get("/metrics").body.decode(), re.MULTILINE).group(1))


def refused(answer, text, kind):
    """LiteLLM's words and header, a wait, and no key in it."""
    error = envelope(answer, 429, type="rate_limit_error", code="429", param=None)
    assert error["message"] == text
    assert answer.headers["rate_limit_type"] == kind
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", answer.headers["reset_at"])
    for key in NAMES:
        assert key not in repr(answer) and hashlib.sha256(key.encode()).hexdigest() not in repr(answer)


def tokens_text(who, need, left, limit):
    return (f"Batch enqueued token limit exceeded for {who}. Batch requires {need} tokens but only {left} enqueued tokens "
            f"remaining out of {limit} enqueued token limit. Tokens free up as running batches complete or are cancelled.")


def batches_text(who, used, limit):
    return (f"Open batch limit exceeded for {who}. It has {used} unfinished batches out of an open batch limit of {limit}. "
            "Batches can be created again as running batches complete or are cancelled.")


# --- refusals ---

@pytest.mark.parametrize("key", [ANN, BEN], ids=["alias", "tail"])
def test_a_key_that_has_its_tokens_enqueued_is_refused_in_litellms_words_until_some_have_ended(tenants, start, sim, key):
    size = size_of(sim, start)
    limit = 2 * size + size // 2
    gateway = tenants([entry(key, batch_enqueued_token_limit=limit), entry(AMY)])
    file = gateway.uploaded(DATA, key=key)["id"]
    made(gateway, key)
    made(gateway, key)
    again = {"Idempotency-Key": "the third"}
    refused(create(gateway, file, key, headers=again), tokens_text(f"api_key: {SHOWN[key]}", size, limit - 2 * size, limit), "tokens")
    assert sim.created("batches") == 2, "a refusal goes nowhere"
    made(gateway, AMY)  # whom nothing limits
    gateway.created(gateway.uploaded(DATA)["id"])  # nor the master key
    sim.advance(3_600_000)  # nobody polls
    until(lambda: scopes(gateway) == 0, "the tokens of ended batches are free")
    answer = create(gateway, file, key, headers=again)  # its refusal is no answer that is kept
    assert answer.status == 200 and answer.headers.get("idempotent-replayed") is None, answer
    assert sim.created("batches") == 5


@pytest.mark.database
def test_keys_of_a_team_share_its_tokens_and_each_has_its_own(tenants, start, sim):
    size = size_of(sim, start)
    limit, own = 3 * size, 2 * size
    gateway = tenants([entry(ANN, team_id="red", batch_enqueued_token_limit=own), entry(AMY, team_id="red"), entry(BEN)],
                      [{"team_id": "red", "models": ["*"], "batch_enqueued_token_limit": limit}])
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (ANN, AMY, BEN)}
    for key in (ANN, ANN):
        made(gateway, key)
    refused(create(gateway, files[ANN], ANN), tokens_text("api_key: ann", size, 0, own), "tokens")
    made(gateway, AMY)
    refused(create(gateway, files[AMY], AMY), tokens_text("team: red", size, 0, limit), "tokens")
    made(gateway, BEN)
    assert sim.created("batches") == 4 and scopes(gateway) == 4


@pytest.mark.database
def test_open_batches_are_limited_whatever_their_size(tenants, sim):
    gateway = tenants([entry(ANN, max_open_batches=2, team_id="red"), entry(AMY, team_id="red")],
                      [{"team_id": "red", "models": ["*"], "max_open_batches": 3}])
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (ANN, AMY)}
    first = made(gateway, ANN)
    made(gateway, ANN)
    refused(create(gateway, files[ANN], ANN), batches_text("api_key: ann", 2, 2), "batches")
    made(gateway, AMY)
    refused(create(gateway, files[AMY], AMY), batches_text("team: red", 3, 3), "batches")
    assert sim.created("batches") == 3
    gateway.post(f"/v1/batches/{first}/cancel", key=ANN)
    sim.advance(61_000)
    until(lambda: create(gateway, files[AMY], AMY).status == 200, "a cancelled batch makes room for the team")
    assert create(gateway, files[ANN], ANN).status == 429


def test_what_is_larger_than_the_whole_limit_can_never_fit(tenants, start, sim):
    size = size_of(sim, start)
    gateway = tenants([entry(ANN, batch_enqueued_token_limit=size - 1)])
    answer = create(gateway, gateway.uploaded(DATA, key=ANN)["id"], ANN)
    error = envelope(answer, 400, type="invalid_request_error")
    assert error["message"].startswith(
        f"Batch enqueued token limit exceeded for api_key: ann. Batch requires {size} tokens, which is more than the whole "
        f"enqueued token limit of {size - 1}")
    assert "retry-after" not in answer.headers and sim.created("batches") == 0
    verdict = placement(gateway, ANN, model=GROUP, tokens=size)
    assert verdict["fits"] == "never" and verdict["reason"] == error["message"] and verdict["retry_after_ms"] is None


def test_a_placement_says_what_a_create_would_be_told(tenants, start, sim):
    size = size_of(sim, start)
    gateway = tenants([entry(ANN, batch_enqueued_token_limit=size), entry(AMY)])
    file = gateway.uploaded(DATA, key=ANN)["id"]
    assert placement(gateway, ANN, input_file_id=file)["fits"] == "now"
    made(gateway, ANN)
    verdict = placement(gateway, ANN, input_file_id=file)
    assert verdict["fits"] == "later" and verdict["retry_after_ms"] >= 1000
    assert verdict["reason"] == create(gateway, file, ANN).json()["error"]["message"]
    assert placement(gateway, AMY, model=GROUP, tokens=size)["fits"] == "now"


def test_what_cannot_be_counted_is_refused_to_who_is_limited(tenants, sim):
    """The lines are read again after a start, and cannot be."""
    keys = [entry(ANN, max_open_batches=5), entry(AMY)]
    gateway = tenants(keys)
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (ANN, AMY)}
    gateway.stop()
    gateway = tenants(keys)
    sim.fault({"status": 404}, method="GET", path="/openai/files/*", times=20)
    assert create(gateway, files[ANN], ANN).json()["error"]["code"] == "batch_not_countable"
    assert sim.created("batches") == 0
    assert create(gateway, files[AMY], AMY).status == 200


def unbalanced(world, **more):
    """A model list without LiteLLM's flag for batches."""
    return {**balanced_config(world, **more), "litellm_settings": {}}


def test_limits_hold_where_nothing_is_balanced_and_after_a_kill(tenants, sim):
    keys = [entry(ANN, max_open_batches=1), entry(AMY)]
    gateway = tenants(keys, make_config=unbalanced)
    body = {"x-litellm-model": GROUP}
    file = gateway.uploaded(DATA, key=ANN, headers=body)["id"]
    assert create(gateway, file, ANN, headers=body).status == 200
    refused(create(gateway, file, ANN, headers=body), batches_text("api_key: ann", 1, 1), "batches")
    amys = gateway.uploaded(DATA, key=AMY, headers=body)["id"]
    assert [create(gateway, amys, AMY, headers=body, metadata={"n": str(n)}).status for n in range(3)] == [200] * 3
    assert scopes(gateway) == 2
    gateway.deaths_expected = True
    gateway.popen.kill()
    gateway.wait()
    assert gateway.wait_output_end()
    gateway = tenants(keys, make_config=unbalanced)
    until(lambda: scopes(gateway) == 2, "what runs is known again")
    assert create(gateway, file, ANN, headers=body, metadata={"n": "2"}).status == 429
    sim.advance(3_600_000)
    until(lambda: scopes(gateway) == 0, "all have ended")
    assert create(gateway, file, ANN, headers=body, metadata={"n": "3"}).status == 200


# --- ends ---

@pytest.mark.parametrize("refund_at", ["terminal", "cancelling"])
def test_a_batch_that_is_being_cancelled_pays_as_the_operator_wants(tenants, sim, refund_at):
    gateway = tenants([entry(ANN, max_open_batches=1)], tranche_settings={"refund_at": refund_at})
    file = gateway.uploaded(DATA, key=ANN)["id"]
    batch = made(gateway, ANN)
    assert gateway.post(f"/v1/batches/{batch}/cancel", key=ANN).json()["status"] == "cancelling"
    assert gateway.get(f"/v1/batches/{batch}", key=ANN).json()["status"] == "cancelling"
    assert create(gateway, file, ANN).status == (429 if refund_at == "terminal" else 200)
    sim.advance(61_000)
    until(lambda: scopes(gateway) == (0 if refund_at == "terminal" else 1), "the cancelled one has ended")


def test_a_create_that_its_provider_refuses_counts_for_nobody(tenants, sim):
    gateway = tenants([entry(ANN, max_open_batches=1)])
    file = gateway.uploaded(DATA, key=ANN)["id"]
    sim.fault({"status": 400, "body": {"error": {"code": "invalid_value", "message": "no", "type": "invalid_request_error"}}},
              method="POST", path="/openai/batches*", times=20)
    assert create(gateway, file, ANN).status == 400
    assert scopes(gateway) == 0
    sim.clear_faults()
    assert create(gateway, file, ANN).status == 200


def test_a_batch_that_moves_counts_once(tenants, make_sim):
    world = make_sim(sim_config([
        azure_account("eu", deployments=[{"name": "gpt-4o-batch-eu", "model": "gpt-4o", "sku": "GlobalBatch", "refusal": "fast",
                                          "enqueued_token_limit": 100}]), azure_account("us")]))
    gateway = tenants([entry(ANN, max_open_batches=2, team_id="red")], [{"team_id": "red", "models": ["*"]}], world=world,
                      make_config=eu_first)
    made(gateway, ANN)
    assert world.created("batches", ["us"]) == 1 and world.created("batches", ["eu"]) == 0
    file = gateway.uploaded(DATA, key=ANN)["id"]
    assert create(gateway, file, ANN).status == 200
    refused(create(gateway, file, ANN), batches_text("api_key: ann", 2, 2), "batches")


# --- deaths ---

def test_what_runs_counts_for_its_key_and_its_team_after_a_kill(tenants, start, sim):
    size = size_of(sim, start)
    keys = [entry(ANN, team_id="red", batch_enqueued_token_limit=2 * size), entry(AMY, team_id="red"),
            entry(BEN, max_open_batches=1)]
    teams = [{"team_id": "red", "models": ["*"], "batch_enqueued_token_limit": 3 * size}]
    gateway = tenants(keys, teams)
    for key in (ANN, ANN, AMY, BEN):
        made(gateway, key)
    gateway.deaths_expected = True
    gateway.popen.kill()
    gateway.wait()
    assert gateway.wait_output_end()
    gateway = tenants(keys, teams)
    for account in ("eu", "us", "sw"):
        wait_rebuilt(gateway, sim, account)
    assert scopes(gateway) == 4  # two keys, their team, Ben
    for key, text, kind in [(ANN, tokens_text("api_key: ann", size, 0, 2 * size), "tokens"),
                            (AMY, tokens_text("team: red", size, 0, 3 * size), "tokens"),
                            (BEN, batches_text("api_key: sk-...bbbb", 1, 1), "batches")]:
        refused(create(gateway, gateway.uploaded(DATA, key=key)["id"], key), text, kind)
    sim.advance(3_600_000)
    until(lambda: scopes(gateway) == 0, "all have ended")


def test_a_create_whose_worker_was_killed_stays_counted_until_its_batch_has_ended(tenants, sim):
    gateway = tenants([entry(ANN, max_open_batches=1, team_id="red")], [{"team_id": "red", "models": ["*"]}],
                      make_config=lambda world, **more: balanced_config(world, accounts=("eu",), **more), watch_ms=500)
    wait_rebuilt(gateway, sim, "eu")
    file = gateway.uploaded(DATA, key=ANN)["id"]
    sim.fault({"hang": "answer"}, account="eu", method="POST", path="/openai/batches", times=1)
    client = threading.Thread(target=give_up, args=(lambda _: create(gateway, file, ANN), file))
    client.start()
    until(lambda: sim.created("batches") == 1, "a batch is made and not told")
    gateway.deaths_expected = True
    os.kill(worker_pid(gateway), signal.SIGKILL)
    client.join()
    gateway.wait_line(r"died with 1 batch creates in flight, outcome unknown")
    until(lambda: create(gateway, file, ANN, metadata={"n": "2"}).status == 429, "the new worker serves")
    gateway.wait_line(r"1 batches found that the quota ledger did not know")
    assert create(gateway, file, ANN, metadata={"n": "3"}).status == 429
    assert sim.created("batches") == 1
    sim.advance(3_600_000)
    until(lambda: scopes(gateway) == 0, "it has ended, and nobody has polled it")


# --- many at once ---

def test_creates_at_once_never_pass_a_limit_and_use_all_of_it(tenants, start, sim):
    size = size_of(sim, start)
    jobs = 5
    gateway = tenants([entry(ANN, team_id="red", batch_enqueued_token_limit=jobs * size + size // 2), entry(AMY, team_id="red")],
                      [{"team_id": "red", "models": ["*"], "max_open_batches": jobs + 2}], workers=2)
    files = {key: [gateway.uploaded(DATA, key=key)["id"] for _ in range(10)] for key in (ANN, AMY)}
    work = [(key, file) for pair in zip(*([(key, file) for file in files[key]] for key in (ANN, AMY))) for key, file in pair]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        got = list(pool.map(lambda one: (one[0], create(gateway, one[1], one[0]).status), work))
    counts = collections.Counter(got)
    assert {status for _, status in got} == {200, 429}
    assert counts[ANN, 200] <= jobs and counts[ANN, 200] + counts[AMY, 200] <= jobs + 2
    assert sim.created("batches") == counts[ANN, 200] + counts[AMY, 200]
    # Two that cross at a limit may both have been refused: what is left is found by who comes next.
    for _ in range(jobs + 2):
        create(gateway, files[ANN][0], ANN, metadata={"n": str(_)})
        create(gateway, files[AMY][0], AMY, metadata={"n": str(_)})
    assert sim.created("batches") == jobs + 2
    sim.advance(3_600_000)
    until(lambda: scopes(gateway) == 0, "all have ended")


def test_any_mix_with_killed_workers_keeps_the_limits_and_ends_at_nothing(tenants, start, sim):
    """The providers' own lists say what was accepted."""
    size = size_of(sim, start)
    limit = {ANN: 3, AMY: 2, "red": 4, BEN: 2}
    gateway = tenants([entry(ANN, team_id="red", batch_enqueued_token_limit=limit[ANN] * size),
                       entry(AMY, team_id="red", max_open_batches=limit[AMY]), entry(BEN, max_open_batches=limit[BEN])],
                      [{"team_id": "red", "models": ["*"], "batch_enqueued_token_limit": limit["red"] * size}], workers=2)
    gateway.deaths_expected = True
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (ANN, AMY, BEN)}
    going = threading.Event()

    def client(key, number):
        for n in range(12):
            if going.is_set():
                return
            try:
                answer = create(gateway, files[key], key, metadata={"who": key[3:6], "n": f"{number}.{n}"})
                if answer.status == 200 and n % 3 == 0:
                    gateway.post(f"/v1/batches/{answer.json()['id']}/cancel", key=key)
                if answer.status == 429:
                    sim.advance(30_000)
            except (OSError, http.client.HTTPException, AssertionError):
                continue  # its worker was killed

    def unfinished():
        """Batches that count at the providers now, by who made them: at one moment, else one that ended at an account and the
        one that took its place at the next are both seen."""
        found = collections.Counter()
        for account in sim.ledgers(("eu", "us", "sw")):
            for batch in account["batches"]:
                if batch["status"] in ("validating", "in_progress", "finalizing", "cancelling"):
                    found[batch["metadata"]["who"]] += 1
        return found

    clients = [threading.Thread(target=client, args=(key, n)) for n in range(2) for key in (ANN, AMY, BEN)]
    for one in clients:
        one.start()
    for n in range(4):
        kill_child(worker_pids(gateway, 2)[n % 2])
        seen = unfinished()
        assert seen["ann"] <= limit[ANN] and seen["amy"] <= limit[AMY] and seen["ben"] <= limit[BEN], seen
        assert seen["ann"] + seen["amy"] <= limit["red"], seen
    for one in clients:
        one.join()
    seen = unfinished()
    assert seen["ann"] <= limit[ANN] and seen["ann"] + seen["amy"] <= limit["red"] and seen["ben"] <= limit[BEN], seen
    sim.advance(7_200_000)
    until(lambda: scopes(gateway) == 0, "nothing is left")
    for key in (ANN, AMY, BEN):
        until(lambda: create(gateway, files[key], key, metadata={"who": "end", "n": key[3:6]}).status == 200, "room again")
