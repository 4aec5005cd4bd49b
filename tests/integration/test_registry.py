"""The registry of batches and its watch (journal statements B7, B8, C31, C33): what nobody polls ends all the same, once, wherever it was
made, with its tokens free, its usage in one row and its event made; over both engines."""

import concurrent.futures
import contextlib
import json
import os
import signal
import sqlite3
import subprocess

import pytest
from harness import GROUP, MASTER_KEY, PATIENCE, PROVIDER_KEYS, balanced_config, find_binary, is_upkeep, lines, prober_of, program_env, until
from postgres import empty

SEALS = ["sk-0123456789abcdef-seal"]
OPENAI_GROUP = "gpt-4o-mini"
END_MS = 700_000  # of the simulator's clock: by then a batch has ended


class Database:
    """What the gateways write, read past them."""

    def __init__(self, path=None, cluster=None):
        self.path, self.cluster = path, cluster
        self.url = f"sqlite://{path}" if path else cluster.url

    def numbers(self, what):
        """The first row of a select; tables have an @ before them."""
        sql = what.replace("@", "" if self.path else "tranche.")
        if self.cluster:
            answer = self.cluster.psql(sql, check=False)
            return [int(n or 0) for n in answer.stdout.strip().split("|")] if answer.returncode == 0 else None
        try:
            with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=PATIENCE) as db:
                return [int(n or 0) for n in db.execute(sql).fetchone()]
        except sqlite3.OperationalError:  # it is not there yet
            return None

    def number(self, what):
        numbers = self.numbers(what)
        return numbers[0] if numbers else None

    def do(self, sql):
        sql = sql.replace("@", "" if self.path else "tranche.")
        if self.cluster:
            self.cluster.psql(sql)
            return
        with sqlite3.connect(self.path, timeout=PATIENCE) as db:
            db.execute("pragma foreign_keys=on")
            db.execute(sql)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        return Database(path=f"{tmp_path}/journal.db")
    return shared(request.getfixturevalue("cluster"))


def shared(cluster):
    return Database(cluster=empty(cluster))


def begin(start, sim, database, watch_ms=300, **settings):
    openai = {"model_name": OPENAI_GROUP, "litellm_params": {"model": f"openai/{OPENAI_GROUP}", "api_base": sim.base("oai") + "/v1", "api_key": PROVIDER_KEYS["oai"]},
              "model_info": {"mode": "batch"}}
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"database": database.url, "seal_keys": SEALS, "timeouts": {"watch_ms": watch_ms}, **settings})
    config["model_list"].append(openai)
    return start(config, sim=sim)


def made(gateway, model=GROUP, count=3):
    return gateway.created(gateway.uploaded(lines(model=model, count=count))["id"])["id"]


def known(database, batches):
    until(lambda: database.number("select count(*) from @batch") == batches, f"{batches} batches are known")


def ended(database, batches):
    """All of them are, and nothing is left of them or there twice."""
    wanted = {"select count(*) from @batch_part where open = 0": [batches],
              "select count(*) from @batch where status = 'completed' and finished is not null": [batches],
              "select count(*) from @usage": [batches],
              "select count(*), count(distinct batch_id) from @hook_event where type = 'batch.completed'": [batches, batches],
              "select sum(used), sum(batches) from @allowance": [0, 0],
              "select count(*) from @reservation where state <> 2": [0]}
    found = {}

    def look():
        found.update({sql: database.numbers(sql) for sql in wanted})
        return found == wanted

    try:
        until(look, f"{batches} batches have ended")
    except AssertionError as problem:
        raise AssertionError(f"{problem}: {found}") from None


def polls(sim, batch):
    """Looks of the probers at one batch."""
    native = batch.rsplit("-t", 1)[0]
    return [r for account in ("eu", "oai") for r in sim.requests(account, upkeep=True) if is_upkeep(r) and native in r["target"]]


def counted(gateway):
    """Tokens that a node's own ledger holds."""
    page = gateway.get("/metrics").body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith("tranche_enqueued_tokens{"))


def rebuild(gateway, *args, key=MASTER_KEY):
    return subprocess.run([find_binary("tranche"), "journal", "rebuild", "--base-url", f"http://127.0.0.1:{gateway.port}", *args], capture_output=True,
                          text=True, timeout=PATIENCE * 4, check=False, env=program_env({"TRANCHE_API_KEY": key}))


def kill(gateway):
    gateway.deaths_expected = True
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait()


def test_what_nobody_polls_ends_with_its_usage_and_its_event(start, sim, database):
    gateway = begin(start, sim, database)
    azure, openai = made(gateway, count=3), made(gateway, OPENAI_GROUP, count=2)
    known(database, 2)
    assert database.number("select sum(used) from @allowance where scope like 'd:%'") > 0
    until(lambda: polls(sim, azure) and polls(sim, openai), "they are looked at")
    sim.advance(END_MS)
    ended(database, 2)
    # Azure's batch does not say what it used: its output was read. OpenAI's does
    for batch, source, requests in ((azure, "output", 3), (openai, "batch", 2)):
        row = database.numbers(f"select ok, bad, tok_in, tok_out from @usage where batch_id = '{batch}' and source = '{source}'")
        assert row[:2] == [requests, 0] and row[2] > 0 and row[3] > 0, (source, row)
    assert gateway.get(f"/v1/batches/{azure}").json()["status"] == "completed"
    until(lambda: json.loads(gateway.get(f"/journal/batches/{azure}").body)["usage_is_known"], "the journal says so")
    other = made(gateway)
    until(lambda: len(polls(sim, other)) >= 2, "the watch goes on")
    looks = len(polls(sim, azure))
    until(lambda: len(polls(sim, other)) >= 4, "and on")
    assert len(polls(sim, azure)) == looks  # nothing is left to be looked at


def test_a_hundred_polls_of_two_nodes_bill_a_batch_once(start, sim, cluster):
    database = shared(cluster)
    nodes = [begin(start, sim, database), begin(start, sim, database)]
    batches = [made(nodes[0]), made(nodes[1], OPENAI_GROUP)]
    known(database, 2)
    sim.advance(END_MS)
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda i: nodes[i % 2].get(f"/v1/batches/{batches[i // 2 % 2]}"), range(100)))
    assert {answer.status for answer in answers} == {200}
    ended(database, 2)


def test_a_batch_has_one_watcher_and_another_when_that_dies(start, sim, cluster):
    database = shared(cluster)
    one, two = begin(start, sim, database), begin(start, sim, database)
    batches = [made(one) for _ in range(4)]
    known(database, 4)
    until(lambda: all(polls(sim, batch) for batch in batches), "all are looked at")
    # The one that made them sees nothing any more; the other one's watch ends them, and its ledger hears of it
    assert counted(one) > 0
    one.deaths_expected = True  # whoever stands still for longer than its master waits is replaced
    stopped = prober_of(one)
    os.kill(stopped, signal.SIGSTOP)
    sim.advance(END_MS)
    until(lambda: database.number("select count(*) from @batch_part where open = 0") == 4, "the other one has ended them", timeout=PATIENCE * 8)
    ended(database, 4)
    until(lambda: counted(one) == 0, "its own ledger has let go of them")
    with contextlib.suppress(ProcessLookupError):
        os.kill(stopped, signal.SIGCONT)
    # All of a node dies, and what it made goes on
    made(one)
    known(database, 5)
    kill(one)
    sim.advance(END_MS)
    until(lambda: database.number("select count(*) from @batch_part where open = 0") == 5, "the one that is left goes on", timeout=PATIENCE * 8)
    ended(database, 5)
    assert two.get("/health/liveliness").status == 200


def test_an_end_waits_for_a_database_that_is_away(start, sim, own_cluster):
    database = Database(cluster=own_cluster)
    gateway = begin(start, sim, database)
    batch = made(gateway, OPENAI_GROUP)
    known(database, 1)
    own_cluster.stop()
    sim.advance(END_MS)
    until(lambda: gateway.get(f"/v1/batches/{batch}").json()["status"] == "completed", "its client sees its end")
    own_cluster.start()
    ended(database, 1)


def test_the_registry_is_rebuilt_from_the_providers_lists(start, sim, database):
    gateway = begin(start, sim, database)
    ids = [made(gateway), made(gateway, OPENAI_GROUP)]
    known(database, 2)
    sim.advance(END_MS)
    ended(database, 2)
    ids.append(made(gateway))
    known(database, 3)
    # All of it is lost
    for table in ("usage", "hook_event", "batch", "reservation", "allowance"):
        database.do(f"delete from @{table}")
    done = rebuild(gateway)
    assert done.returncode == 0 and "put into the journal:                  3\n" in done.stdout, done
    assert {row["id"] for row in gateway.get("/journal/batches").json()["data"]} == set(ids)
    until(lambda: database.number("select count(*) from @usage") == 2, "what had ended is measured again")
    until(lambda: (database.number("select sum(used) from @allowance where scope like 'd:%'") or 0) > 0, "what runs holds its tokens")
    sim.advance(END_MS)
    ended(database, 3)
    # A second time there is nothing to do
    done = rebuild(gateway, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["batches_added"] == 0, done
    assert database.number("select count(*) from @usage") == 3


def test_a_rebuild_is_for_administrators_of_a_journal(start, sim, tmp_path):
    plain = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    assert rebuild(plain).returncode == 1
    gateway = begin(start, sim, Database(path=f"{tmp_path}/journal.db"))
    key = gateway.post("/key/generate", b"{}", headers={"Content-Type": "application/json"}).json()["key"]
    done = rebuild(gateway, key=key)
    assert done.returncode == 1 and key not in done.stderr, done
    assert gateway.post("/journal/rebuild", b"", key=None).status == 401
    assert gateway.get("/journal/rebuild/status").status == 404  # none was begun
    for args, code in ((["journal"], 2), (["journal", "nonsense"], 2), (["journal", "rebuild", "--nonsense"], 2), (["journal", "--help"], 0)):
        done = subprocess.run([find_binary("tranche"), *args], capture_output=True, text=True, timeout=PATIENCE * 4, check=False, env=program_env())
        assert done.returncode == code, done
