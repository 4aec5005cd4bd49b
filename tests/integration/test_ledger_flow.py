"""Four accounts, two workers, many clients: where things are, how much is enqueued, and what is left of it all when workers
are killed. The simulator's ledger is what counts."""

import collections
import concurrent.futures
import http.client
import os
import random
import re
import signal
import threading

import pytest
from harness import GROUP, PATIENCE, azure_account, azure_deployment, balanced_config, lines, renamed, sim_config, until
from proof import as_sdk
from test_processes import worker_pids

ACCOUNTS = ["eu", "us", "sw", "asia"]
OBJECT = re.compile(r"(?:file-|batch_)[0-9A-Za-z-]+")


def four(make_sim, tokens=0, **more):
    """Names of one length: a copy of a file has the size of the file."""
    return make_sim(sim_config([
        azure_account(a, switches={"seed": n + 1, "max_files": 0},
                      deployments=[{"name": f"gpt-4o-batch-{n}", "model": "gpt-4o", "sku": "GlobalBatch", "refusal": "fast",
                                    "enqueued_token_limit": tokens}]) for n, a in enumerate(ACCOUNTS)], **more))


def rows_of(sim, limit=None, **more):
    rows = [azure_deployment(sim, a, model=f"azure/gpt-4o-batch-{n}", **more) for n, a in enumerate(ACCOUNTS)]
    for row in rows:
        row["model_info"].update({"enqueued_token_limit": limit} if limit else {})
    return rows


def side_by_side(work, things, clients=8):
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return list(pool.map(work, things))


# --- affinity ---


def owners_of(sim):
    """Native id -> account, for all that was ever made."""
    return {thing["id"]: a for a in ACCOUNTS for kind in ("files", "batches") for thing in sim.ledger(a)[kind]}


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.long)], ids=["200", "1000"])
def test_everything_about_an_object_is_asked_where_it_is(start, make_sim, rounds):
    sim = four(make_sim)
    gateway = start(balanced_config(sim, accounts=(), model_list=rows_of(sim)), sim=sim)

    def flow(n):
        data = lines(count=1 + n % 5)
        file = gateway.uploaded(data)
        batch = gateway.created(file["id"], metadata={"n": str(n)})
        seen = gateway.get(f"/v1/batches/{batch['id']}").json()
        content = gateway.get(f"/v1/files/{file['id']}/content").body
        assert batch["input_file_id"] == seen["input_file_id"] == file["id"]
        assert content in [renamed(data, f"gpt-4o-batch-{k}") for k in range(4)]

    for chunk in range(rounds):  # the simulator keeps the last thousand requests of an account
        side_by_side(flow, range(chunk * 200, chunk * 200 + 200))
        owners = owners_of(sim)
        for account in ACCOUNTS:
            for request in sim.requests(account):
                named = OBJECT.findall(request["target"]) + OBJECT.findall(request.get("body") or "")
                assert {owners[i] for i in named if i in owners} <= {account}, request
                assert request["status"] in (200, 201), request
    assert sim.created("files") == sim.created("batches") == rounds * 200
    for account in ACCOUNTS:
        ledger = sim.ledger(account)
        assert {b["input_file_id"] for b in ledger["batches"]} == {f["id"] for f in ledger["files"]}
        assert len(ledger["files"]) > rounds * 20, "not balanced"


# --- limits ---


def fast_refusals(sim):
    return [r for r in sim.requests() if r["method"] == "POST" and "/batches" in r["target"] and r["status"] == 400]


def tokens_here(gateway, data):
    """How the gateway counts a file."""
    return gateway.post("/v1/batches/placement", {"input_file_id": gateway.uploaded(data)["id"]}).json()["tokens"]


def test_many_creates_at_once_fill_every_limit_and_exceed_none(start, make_sim):
    data, jobs = lines(count=30), 7  # so many fit each deployment, and not one more
    scratch = four(make_sim)
    here = tokens_here(start(balanced_config(scratch, accounts=(), model_list=rows_of(scratch)), sim=scratch), data)
    there = (len(renamed(data, "gpt-4o-batch-0")) + 3) // 4
    sim = four(make_sim, tokens=there * jobs + there // 2)
    gateway = start(balanced_config(sim, accounts=(), model_list=rows_of(sim, limit=here * jobs + here // 2)), sim=sim)

    def flow(n):
        file = gateway.uploaded(data)
        return gateway.create(file["id"]).status

    got = collections.Counter(side_by_side(flow, range(4 * jobs + 8), clients=12))
    assert set(got) == {200, 429}, got
    assert not fast_refusals(sim), "a deployment was asked for more than it may have"
    assert got[200] == sim.created("batches")
    # Somebody who is copying a file holds the room that somebody else is refused for: never too much, nearly all.
    made = [sim.created("batches", [a]) for a in ACCOUNTS]
    assert max(made) <= jobs and got[200] >= 4 * jobs - 4, made
    # What is free is found by who comes next.
    for _ in range(4 * jobs - got[200]):
        gateway.created(gateway.uploaded(data)["id"])
    assert [sim.created("batches", [a]) for a in ACCOUNTS] == [jobs] * 4
    assert gateway.create(gateway.uploaded(data)["id"]).status == 429
    assert not fast_refusals(sim)


def test_room_that_comes_and_goes_is_used_and_never_overdrawn(start, make_sim):
    """Batches end and are cancelled while others are made."""
    data, jobs = lines(count=30), 4
    there = (len(renamed(data, "gpt-4o-batch-0")) + 3) // 4
    scratch = four(make_sim)
    here = tokens_here(start(balanced_config(scratch, accounts=(), model_list=rows_of(scratch)), sim=scratch), data)
    sim = four(make_sim, tokens=there * jobs)
    gateway = start(balanced_config(sim, accounts=(), model_list=rows_of(sim, limit=here * jobs)), sim=sim)
    random_of = random.Random(7)
    plan = [random_of.random() for _ in range(90)]

    def flow(chance):
        answer = gateway.create(gateway.uploaded(data)["id"])
        if answer.status != 200:
            return answer.status
        batch = f"/v1/batches/{answer.json()['id']}"
        if chance < 0.3:
            gateway.post(batch + "/cancel")
        elif chance < 0.6:
            sim.advance(400_000)
        gateway.get(batch)
        gateway.get("/v1/batches?limit=100")
        return 200

    got = collections.Counter(side_by_side(flow, plan))
    assert set(got) <= {200, 429} and got[200] > 4 * jobs, got
    assert not fast_refusals(sim)
    sim.advance(3_600_000)
    gateway.get("/v1/batches?limit=100")
    until(lambda: enqueued(gateway) == {f"gpt-4o-batch-{n}": 0 for n in range(4)}, "an empty ledger")


# --- workers that are killed ---


def enqueued(gateway):
    rows = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 1}).json()["candidates"]
    return {row["model"]: row["enqueued_tokens"] for row in rows}


class Client:
    """Uploads, creates and polls as a program with the SDK does, and remembers what it was told."""

    def __init__(self, gateway, name, data, asked):
        self.gateway, self.name, self.data, self.asked = gateway, name, data, asked
        self.files, self.told, self.open = [], {}, {}  # told: name -> id; open: name -> file id
        self.problems = []

    def once(self, number):
        uploads = as_sdk(lambda headers: self.gateway.upload(self.data, headers=headers), tries=5)
        self.asked.release()
        if uploads[-1] is None or uploads[-1].status != 200:
            return
        file = uploads[-1].json()["id"]
        self.files.append(file)
        for n in range(2):
            self.create(f"{self.name}-{number}-{n}", file)
            self.asked.release()
        for id in list(self.told.values())[-2:]:
            as_sdk(lambda headers: self.gateway.get(f"/v1/batches/{id}", headers=headers), tries=5)
            self.asked.release()

    def create(self, name, file, **more):
        answers = as_sdk(lambda headers: self.gateway.create(file, metadata={"name": name}, headers=headers), tries=5)
        ids = {a.json()["id"] for a in answers if a is not None and a.status == 200}
        if len(ids) > 1:
            self.problems.append(answers)
        if ids:
            self.told[name] = ids.pop()
        else:
            self.open[name] = file
            self.problems += [a for a in answers if a is not None and a.status < 500 and a.status != 409]


@pytest.mark.parametrize("seed, kills", [(1, 6), pytest.param(2, 20, marks=pytest.mark.long),
                                         pytest.param(3, 20, marks=pytest.mark.long)])
def test_after_workers_were_killed_all_ledgers_agree(start, make_sim, seed, kills):
    sim = four(make_sim)
    settings = {"timeouts": {"watch_ms": "200ms"}}
    gateway = start(balanced_config(sim, accounts=(), model_list=rows_of(sim), tranche_settings=settings), sim=sim)
    gateway.deaths_expected = True
    data, chance, asked, over = lines(count=6), random.Random(seed), threading.Semaphore(0), threading.Event()
    here = tokens_here(gateway, data)
    sim.control("POST", "/control/switches", {"set": {"latency_ms": 3}})  # so that most deaths are in the middle of a call
    clients = [Client(gateway, f"c{n}", data, asked) for n in range(5)]

    def work(client):
        for number in range(10_000):
            if over.is_set():
                return
            client.once(number)

    threads = [threading.Thread(target=work, args=(c,), daemon=True) for c in clients]
    for t in threads:
        t.start()
    for _ in range(kills):
        for _ in range(chance.randrange(5, 25)):
            assert asked.acquire(timeout=PATIENCE * 2)
        victims = worker_pids(gateway)
        for pid in chance.sample(victims, min(len(victims), chance.choice([1, 1, 2]))):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was our last victim
    over.set()
    for t in threads:
        t.join(PATIENCE * 4)
        assert not t.is_alive()
    assert [p for c in clients for p in c.problems] == []

    # Every batch is one that its client was told of, or gets when it asks once more.
    told = {name: id for c in clients for name, id in c.told.items()}
    unknown = {}
    for name, file in [pair for c in clients for pair in c.open.items()]:
        answer = again(gateway, file, name)
        if answer.status == 200:
            told[name] = answer.json()["id"]
        else:
            assert answer.json()["error"]["code"] == "create_outcome_unknown", answer
            unknown[name] = answer
    made = [b["metadata"]["name"] for a in ACCOUNTS for b in sim.ledger(a)["batches"]]
    assert len(made) == len(set(made)), "a batch was made twice"
    assert set(made) == set(told), (set(made) ^ set(told), unknown)
    for name, id in told.items():
        assert gateway.get(f"/v1/batches/{id}").json()["metadata"] == {"name": name}
    stored = {f["id"] for a in ACCOUNTS for f in sim.ledger(a)["files"]}
    for file in {f for c in clients for f in c.files}:
        assert gateway.get(f"/v1/files/{file}").status == 200 and len(stored) >= len(made) / 2

    # The tokens are those of the batches that run, to the last one, within seconds: what was not sent went with its worker, what
    # was made is found, and what was sent and never appears is given up after half a minute.
    running = {f"gpt-4o-batch-{n}": here * sim.created("batches", [a]) for n, a in enumerate(ACCOUNTS)}
    try:
        until(lambda: enqueued(gateway) == running, f"the gateway's ledger shows {running}", timeout=PATIENCE + 40)
    except AssertionError as error:
        raise AssertionError(f"{error}; it shows {enqueued(gateway)}, unknown {sorted(unknown)}") from None

    # And they come back.
    sim.advance(7_200_000)
    until(lambda: set(enqueued(gateway).values()) == {0}, "the tokens of ended batches are free again")


def again(gateway, file, name):
    for _ in range(5):
        try:
            return gateway.create(file, metadata={"name": name}, headers={"x-stainless-retry-count": "4"})
        except (OSError, http.client.HTTPException):
            continue
    raise AssertionError("no answer")


def test_a_killed_worker_leaves_no_deployment_busy(start, sim):
    """least-busy would never choose a deployment whose calls in flight are counted for ever."""
    gateway = start(balanced_config(sim, router_settings={"routing_strategy": "least-busy"}), sim=sim)
    gateway.deaths_expected = True
    data = lines()
    fault = sim.fault({"hang": "answer", "ms": 60_000}, method="POST", path="/openai/files*", times=4)
    pool = concurrent.futures.ThreadPoolExecutor(4)
    held = [pool.submit(as_sdk, lambda headers: gateway.upload(data), 1) for _ in range(4)]  # 2, 1 and 1
    until(lambda: [f["hits"] for f in sim.control("GET", "/control/faults").json() if f["id"] == fault] == [4], "all of them hang")
    for pid in worker_pids(gateway):
        os.kill(pid, signal.SIGKILL)
    for one in held:
        one.result(PATIENCE)
    sim.clear_faults()
    for account in ("eu", "us", "sw"):
        before = sim.created("files", [account])

        def chosen():
            return as_sdk(lambda headers: gateway.upload(data)) and sim.created("files", [account]) > before

        until(chosen, f"{account} is chosen")
