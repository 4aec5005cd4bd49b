"""A program and the one after it, which has brought the database up by a step, at work together: the two programs of a
SIGUSR2. The next program is tests/next: this one's code with one step more, that adds to the tables which are written most."""

import contextlib
import os
import signal
import sqlite3

import pytest
from harness import BUILD, balanced_config, until
from test_tenant_batches import ANN, DATA, create, entry
from test_upgrade_money import Binary, in_the_background, replaced  # noqa: F401: a fixture

THIS, NEXT = BUILD / "server" / "tranche", BUILD / "tests" / "next" / "tranche_next"
SEAL = "sk-0123456789abcdef-seal"
HELD = 600_000  # ms; until the test says sim.release()


def keyed(gateway, file, name):
    return create(gateway, file, ANN, headers={"Idempotency-Key": name})


@pytest.fixture
def binary(tmp_path, monkeypatch):
    return Binary(tmp_path, monkeypatch)


def test_one_node_with_an_sqlite_file_is_upgraded_and_put_back_while_a_create_is_under_way(start, sim, tmp_path, binary, replaced):  # noqa: F811
    """The program before ends the create, while the one that has its place, and has brought the file up, serves."""
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
        asked, got = in_the_background(lambda number=number: keyed(gateway, file, f"held-{number}"))
        sim.wait("eu", "POST", "/openai/batches*", count=len(made) + 1, phase="received")
        if number == 0:
            programs = replaced(gateway)
        else:
            seen = len(gateway.lines)
            os.kill(programs.pids[-1], signal.SIGUSR2)
            programs.follow(seen)
        # As soon as the old one's keeper has given the file up it is the new one's
        answers = until(lambda number=number: (lambda answer: answer.status != 503 and [answer])(keyed(gateway, file, f"new-{number}")),
                        "the new program has the file")
        sim.release()
        asked.join()
        assert [answer.status for answer in answers + got] == [200, 200], (answers, got)
        made |= {answer.json()["id"] for answer in answers + got}
        for name, before in (("new", answers), ("held", got)):
            again = keyed(gateway, file, f"{name}-{number}")
            assert again.status == 200 and again.json()["id"] == before[0].json()["id"], again
        assert value("value from meta where name = 'schema'") == str(first + 1)
    assert sim.created("batches") == len(made) == 4
    # What the program before ended after its keeper had left the next one finds, by its marker, when a quarter of an hour has gone by
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as db, db:
        db.execute("update reservation set created = created - 900000, tries = 1 where state = 0")
    until(lambda: value("count(*) from batch") == 4, "all of them are known")
    sim.advance(3_600_000)
    until(lambda: value("count(*) from usage") == 4 and value("count(*) from reservation where state <> 2") == 0, "and what they used")
