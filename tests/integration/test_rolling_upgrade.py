"""A program and the one after it, which has brought the database up by a step, at work together: nodes of a fleet, upgraded one after the
other and back again, and the two programs of a SIGUSR2 (journal C.5). The next program is tests/next: this one's code with one step more,
that adds to the tables which are written most."""

import contextlib
import http.client
import itertools
import os
import random
import signal
import sqlite3
import threading

import harness
import pytest
from harness import BUILD, MASTER_KEY, balanced_config, free_port, until
from test_tenant_batches import ANN, DATA, create, entry
from test_upgrade_money import Binary, in_the_background, replaced  # noqa: F401: a fixture

THIS, NEXT = BUILD / "server" / "tranche", BUILD / "tests" / "next" / "tranche_next"
SEAL = "sk-0123456789abcdef-seal"


@pytest.fixture
def database(own_cluster):
    return own_cluster


@pytest.fixture
def node(start, sim, tmp_path, monkeypatch):
    """node(url, place, program) -> a gateway of that program over that database, at an address and in a folder that are its place's"""
    ports, find = {}, harness.find_binary

    def make(url, place, program):
        state = tmp_path / f"state-{place}"
        state.mkdir(exist_ok=True)
        settings = {"database": url, "seal_keys": [SEAL], "timeouts": {"watch_ms": 200}, "state_dir": str(state),
                    "keys": [entry(ANN, max_open_batches=1)]}
        args = ["--host", "127.0.0.1", "--port", str(ports.setdefault(place, free_port())), "--num_workers", "1"]
        with monkeypatch.context() as patch:
            patch.setattr(harness, "find_binary", lambda name: str(program) if name == "tranche" else find(name))
            gateway = start(balanced_config(sim, accounts=("eu", "us"), tranche_settings=settings), sim=sim, host_port=False, args=args)
        gateway.wait_line("journal: this node is")  # until then it is as while the database is away
        return gateway

    return make


def read(database, what):
    done = database.psql(f"select {what}", check=False)
    return done.stdout.split() if done.returncode == 0 else None


def schema(database):
    return read(database, "value from tranche.meta where name = 'schema'")


def keyed(gateway, file, name, key=MASTER_KEY, **more):
    return create(gateway, file, key, headers={"Idempotency-Key": name}, **more)


class Clients:
    """Clients of any node, that go on while nodes come and go: each creates with a key, repeats it at any node until that is answered, and
    once more when it is."""

    def __init__(self, nodes, file, count=3):
        self.nodes, self.file = nodes, file
        self.ending, self.done, self.problems = threading.Event(), {}, []
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        lot = random.Random(number)
        for turn in itertools.count():
            if self.ending.is_set():
                return
            name = f"{number}.{turn}"
            first, again = (self.answered(lot, name) for _ in range(2))
            if first != again:
                self.problems.append(f"{name} is {first}, and then {again}")
            self.done[name] = first

    def answered(self, lot, name):
        """As an SDK: again after a connection that broke, and after what says that it may be tried again."""
        while True:
            gateway = lot.choice(self.nodes)
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = keyed(gateway, self.file, name, metadata={"intent": name})
                if answer.status == 200:
                    return answer.json()["id"]
                if answer.status not in (409, 502, 503):
                    self.problems.append(f"{name}: {answer}")
                    return None
            self.ending.wait(0.1)  # as a client does before it tries again

    def go_on(self, count=6):
        """@return when so many creates more have come to their ends"""
        goal = len(self.done) + count
        until(lambda: len(self.done) >= goal or self.problems, "clients get on")
        assert self.problems == []

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        assert self.problems == []
        return self.done


def what_both_do(one, two, sim, database, name):
    """What one node begins the other one goes on with."""
    file = one.uploaded(DATA, key=ANN)["id"]
    # A create and its repeat
    made, again = (keyed(gateway, file, name, metadata={"intent": name}) for gateway in (one, two))
    assert made.status == again.status == 200 and again.json()["id"] == made.json()["id"], (made, again)
    assert again.headers["idempotent-replayed"] == "true"
    # A limit that both count
    batch = create(one, file, ANN, metadata={"of": name})
    assert batch.status == 200, batch
    assert create(two, file, ANN, metadata={"of": name}).status == 429
    # A cancel of what the other one has made, and the room that it gives
    batch = batch.json()["id"]
    assert two.get(f"/v1/batches/{batch}", key=ANN).status == 200
    assert two.post(f"/v1/batches/{batch}/cancel", key=ANN).status == 200
    sim.advance(120_000)
    until(lambda: read(database, "coalesce(sum(used), 0) from tranche.allowance where scope like 'k:%'") == ["0"], "its end gives all back")
    until(lambda: "cancelled" in one.get(f"/v1/batches/{batch}", key=ANN).body.decode(), "the other one sees its end")
    # A key that is made, and one that is taken away
    answer = two.post("/key/generate", {"models": ["*"]})
    assert answer.status == 200, answer
    key = answer.json()["key"]
    assert one.get("/v1/batches", key=key).status == 200
    assert one.post("/key/delete", {"keys": [key]}).status == 200
    until(lambda: two.get("/v1/batches", key=key).status == 401, "the key is gone at the other one")


@pytest.mark.long
def test_nodes_are_upgraded_one_after_the_other_and_back_while_clients_go_on(node, sim, database):
    nodes = [node(database.url, place, THIS) for place in range(2)]
    until(lambda: schema(database) is not None, "the tables are there")
    (first,) = schema(database)
    clients = Clients(nodes, nodes[0].uploaded(DATA)["id"])
    clients.go_on()
    both = []
    for number, (at, program) in enumerate([(0, NEXT), (1, NEXT), (1, THIS), (0, THIS)]):
        assert nodes[at].stop() == 0, nodes[at].log
        nodes[at] = node(database.url, at, program)
        clients.go_on()
        assert schema(database) == [str(int(first) + 1)]
        if number % 2 == 0:  # one of each
            for name, (one, two) in ((f"both-{number}", nodes), (f"both-{number}-back", reversed(nodes))):
                what_both_do(one, two, sim, database, name)
                both.append(name)
    wanted = [*clients.end(), *both]
    # Each was made once, and is known with what it used, whoever began and whoever saw its end
    batches = [b for account in ("eu", "us") for b in sim.ledger(account)["batches"]]
    intents = [b["metadata"]["intent"] for b in batches if "intent" in (b["metadata"] or {})]
    assert sorted(intents) == sorted(wanted)
    sim.advance(3_600_000)
    until(lambda: read(database, "count(distinct batch_id) from tranche.usage") == [str(len(batches))], "what all of them used is known",
          timeout=harness.PATIENCE * 4)
    assert read(database, "count(*) from tranche.usage") == read(database, "count(*) from tranche.batch") == [str(len(batches))]
    until(lambda: read(database, "count(*) from tranche.reservation where state <> 2") == ["0"], "nothing is counted any more")
    for gateway in nodes:
        assert "newer tranche" not in gateway.log


# --- one node, and the next program takes its place ---


HELD = 600_000  # ms; until the test says sim.release()


@pytest.fixture
def binary(tmp_path, monkeypatch):
    return Binary(tmp_path, monkeypatch)


def test_one_node_with_an_sqlite_file_is_upgraded_and_put_back_while_a_create_is_under_way(start, sim, tmp_path, binary, replaced):  # noqa: F811
    """The program before ends the create, and writes down what became of it, while the one that has its place serves."""
    path = tmp_path / "journal.db"
    settings = {"database": f"sqlite://{path}", "seal_keys": [SEAL], "timeouts": {"watch_ms": 200}, "keys": [entry(ANN, max_open_batches=50)]}
    gateway = start(balanced_config(sim, accounts=("eu",), tranche_settings=settings), sim=sim, workers=1)

    def value(what):
        """None as long as there is nothing to read."""
        if not path.exists():
            return None
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as db:
            with contextlib.suppress(sqlite3.OperationalError):  # it has no tables yet
                return db.execute(f"select {what}").fetchone()[0]

    file, made = gateway.uploaded(DATA, key=ANN)["id"], set()
    until(lambda: value("count(*) from meta where name = 'schema'") == 1, "the tables are there")
    first = int(value("value from meta where name = 'schema'"))
    for number, program in enumerate((NEXT, THIS)):
        binary.replace(program.read_bytes())
        sim.fault({"hang": "answer", "ms": HELD}, account="eu", method="POST", path="/openai/batches*", times=1)
        asked, got = in_the_background(lambda number=number: keyed(gateway, file, f"held-{number}", key=ANN))
        sim.wait("eu", "POST", "/openai/batches*", count=len(made) + 1, phase="received")
        if number == 0:
            programs = replaced(gateway)
        else:
            seen = len(gateway.lines)
            os.kill(programs.pids[-1], signal.SIGUSR2)
            programs.follow(seen)
        # As soon as the old one's keeper has given the file up it is the new one's
        answers = until(lambda number=number: (lambda answer: answer.status != 503 and [answer])(keyed(gateway, file, f"new-{number}", key=ANN)),
                        "the new program has the file")
        sim.release()
        asked.join()
        assert [answer.status for answer in answers + got] == [200, 200], (answers, got)
        made |= {answer.json()["id"] for answer in answers + got}
        for name, before in (("new", answers), ("held", got)):
            again = keyed(gateway, file, f"{name}-{number}", key=ANN)
            assert again.status == 200 and again.json()["id"] == before[0].json()["id"], again
        assert value("value from meta where name = 'schema'") == str(first + 1)
    assert sim.created("batches") == len(made) == 4
    # What the program before ended after its keeper had left the next one finds, by its marker, when a quarter of an hour has gone by
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as db, db:
        db.execute("update reservation set created = created - 900000, tries = 1 where state = 0")
    until(lambda: value("count(*) from batch") == 4, "all of them are known")
    sim.advance(3_600_000)
    until(lambda: value("count(*) from usage") == 4 and value("count(*) from reservation where state <> 2") == 0, "and what they used")
