"""Nodes of one database: who they are, what each of them holds, and what one keeps on its disk while the database is away (journal
statements C28 to C31)."""

import itertools
import os
import signal

import pytest
from harness import BUILD, MASTER_KEY, balanced_config, envelope, keeper_of, until
from postgres import Cluster, installed
from test_tenant_batches import AMY, ANN, DATA, create, entry

SEAL = "sk-0123456789abcdef-seal"


@pytest.fixture
def node(start, sim, tmp_path):
    """node(url, [entries], state=folder, port=...) -> one gateway more over that database"""
    numbers = itertools.count()

    def make(url, keys=(), state=None, **more):
        state = state or tmp_path / f"state-{next(numbers)}"
        state.mkdir(exist_ok=True)
        settings = {"database": url, "seal_keys": [SEAL], "timeouts": {"watch_ms": 200, "database_ms": "2s"}, "state_dir": str(state)}
        if keys:
            settings["keys"] = list(keys)
        return start(balanced_config(sim, accounts=("eu", "us"), tranche_settings=settings), sim=sim, **more)

    return make


def number(database, sql):
    return int(database.psql(sql, check=False).stdout.strip() or 0)  # its tables may not be there yet


def held(database, scope):
    return number(database, f"select coalesce(sum(used), 0) from tranche.allowance where scope like '{scope}:%'")


def open_tokens(database):
    return number(database, "select coalesce(sum(tokens), 0) from tranche.reservation where state <> 2")


def epoch(database):
    return number(database, "select max(epoch) from tranche.node")


def test_a_node_keeps_its_epoch_when_its_keeper_is_killed_and_gets_another_one_when_all_of_it_is(node, database):
    gateway = node(database.url)
    until(lambda: epoch(database) > 0, "the node has joined")
    first, killed = epoch(database), keeper_of(gateway)
    gateway.deaths_expected = True
    os.kill(killed, signal.SIGKILL)
    seen = number(database, "select max(seen) from tranche.node")
    keeper_of(gateway, other_than=killed)
    until(lambda: number(database, "select max(seen) from tranche.node") > seen, "which gives signs of life")
    assert epoch(database) == first
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait()
    node(database.url)
    until(lambda: epoch(database) > first, "a node that is new has another epoch")


def test_what_a_batch_holds_is_in_the_database_from_its_create_to_its_end(node, sim, database):
    gateway = node(database.url, [entry(ANN, max_open_batches=50)])
    file = gateway.uploaded(DATA, key=ANN)["id"]
    batch = create(gateway, file, ANN).json()["id"]
    tokens = open_tokens(database)
    assert tokens > 0 and held(database, "d") == held(database, "k") == tokens
    until(lambda: number(database, "select count(*) from tranche.reservation where state = 1") == 1, "it is known to run")
    assert gateway.post(f"/v1/batches/{batch}/cancel", key=ANN).status == 200
    sim.advance(61_000)
    until(lambda: held(database, "d") == held(database, "k") == 0, "its end gives all of it back")


def test_what_was_granted_while_the_database_was_away_is_there_when_it_is_back_whoever_was_killed(node, sim, database, tmp_path):
    keys = [entry(AMY), entry(ANN, max_open_batches=2)]
    state = tmp_path / "state"
    gateway = node(database.url, keys, state)
    files = {key: gateway.uploaded(DATA, key=key)["id"] for key in (AMY, ANN)}
    assert create(gateway, files[ANN], ANN).status == 200
    until(lambda: number(database, "select count(*) from tranche.lease where batches = 1") == 1, "the node has its share of Ann's limit")
    before = held(database, "d")
    database.send(signal.SIGSTOP)
    assert create(gateway, files[AMY], AMY).status == 200  # has no limit
    until(lambda: create(gateway, files[ANN], ANN).status == 200, "Ann has one batch more")
    assert create(gateway, files[ANN], ANN).status == 429  # and that was all
    assert sim.created("batches") == 3
    outbox = [name for name in os.listdir(state) if name.endswith(".outbox")]
    assert len(outbox) == 1 and os.stat(state / outbox[0]).st_mode & 0o777 == 0o600
    assert os.stat(state / outbox[0]).st_size > 0
    gateway.deaths_expected = True
    os.kill(keeper_of(gateway), signal.SIGKILL)
    database.send(signal.SIGCONT)
    until(lambda: held(database, "d") == 3 * before, "all three are counted")
    until(lambda: os.stat(state / outbox[0]).st_size == 0, "nothing waits any more")
    until(lambda: number(database, "select count(*) from tranche.batch") == 3, "and all three are known")
    assert create(gateway, files[ANN], ANN).status == 429


def test_what_other_nodes_hold_stands_beside_a_nodes_own_sums(node, sim, database):
    """A second later, for choosing and for reserving: few questions to the database are in vain."""
    one, two = node(database.url), node(database.url)
    file = one.uploaded(DATA)["id"]
    for _ in range(3):
        assert create(one, file, MASTER_KEY).status == 200
    total = held(database, "d")

    def sums(gateway, *names):
        page = gateway.get("/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in page if line.split("{")[0] in names)

    # What the other node has found in the provider's list it counts itself, and nothing of that twice
    until(lambda: sums(two, "tranche_elsewhere_tokens", "tranche_enqueued_tokens") == total, "the other node knows of them")
    assert sums(one, "tranche_elsewhere_tokens") == 0 and sums(one, "tranche_enqueued_tokens") == total


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_reload_refuses_nobody_who_has_limits(node, sim, request, tmp_path, engine):
    """One server at a time may write SQLite's file: the next generation's keeper waits for the one before."""
    url = f"sqlite://{tmp_path}/journal.db" if engine == "sqlite" else request.getfixturevalue("database").url
    gateway = node(url, [entry(ANN, max_open_batches=50)])
    file = gateway.uploaded(DATA, key=ANN)["id"]
    assert create(gateway, file, ANN).status == 200
    for made in range(3):
        start = len(gateway.lines)
        gateway.send(signal.SIGHUP)
        gateway.wait_line(f"generation {made + 2} serves", start=start)
        answer = create(gateway, file, ANN)
        assert answer.status == 200, answer
        assert sim.created("batches") == made + 2


def test_a_create_that_never_was_is_known_not_to_be_where_a_nodes_clock_is_an_hour_behind(node, sim, request):
    """How old it is says the database, whose clock wrote down when it began."""
    installed()
    database = Cluster(clock=BUILD / "tests" / "history" / "tranche-clock-shift.so")
    request.addfinalizer(database.close)
    ahead = 3600
    database.set_clock(ahead)
    gateway = node(database.url, [entry(ANN, max_open_batches=1)])
    file = gateway.uploaded(DATA, key=ANN)["id"]
    sim.fault({"close": "head"}, method="POST", path="/openai/batches*", times=1)
    envelope(create(gateway, file, ANN), 502, code="create_outcome_unknown")

    def settled():
        """A look is a claim of a minute: the next one comes when that is over."""
        nonlocal ahead
        if number(database, "select count(*) from tranche.reservation where claim_until > extract(epoch from now()) * 1000") != 0:
            ahead += 61
            database.set_clock(ahead)
        return open_tokens(database) == 0

    until(settled, "it was looked for often enough")
    until(lambda: create(gateway, file, ANN).status == 200, "the node has heard that there is room")
    assert sim.created("batches") == 1
