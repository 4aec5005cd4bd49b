"""Nodes of which some are cut off from the database while the others go on: with `leases: counted` no limit is ever passed, which the
simulator judges; without, it may be, by what the nodes that are cut off had a share of (journal statement C30)."""

import concurrent.futures
import itertools
import os
import signal
import time

import pytest
from harness import PATIENCE, balanced_config, until
from test_metrics import Page
from test_tenant_batches import ANN, DATA, create, entry

SEAL = "sk-0123456789abcdef-seal"
LIMIT = 12  # of Ann's batches
SHARE = 3  # of each of three nodes, when each has made one
RENEWED = PATIENCE + 30  # shares are renewed each 20 s


@pytest.fixture(scope="module")
def cluster(cluster):
    for n in range(3):
        cluster.psql(f"create role node_{n} superuser login")
    return cluster


@pytest.fixture
def database(database):
    yield database
    for n in range(3):
        heal(database, n)


@pytest.fixture
def fleet(start, sim, tmp_path, database):
    """fleet(count, leases=...) -> nodes that count together, each of which reaches the database as a role of its own"""
    numbers = itertools.count()

    def make(count, **settings):
        nodes = []
        for n in range(count):
            state = tmp_path / f"state-{next(numbers)}"
            state.mkdir()
            given = {"database": database.url_of("postgres", f"node_{n}"), "seal_keys": [SEAL], "keys": [entry(ANN, max_open_batches=LIMIT)],
                     "timeouts": {"watch_ms": 200}, "state_dir": str(state), **settings}
            nodes.append(start(balanced_config(sim, accounts=("eu", "us"), tranche_settings=given), sim=sim, workers=1))
        return nodes

    return make


def cut(database, n):
    """No session of the node is left, and it gets no other one."""
    database.psql(f"alter role node_{n} nologin; select pg_terminate_backend(pid) from pg_stat_activity where usename = 'node_{n}'")


def heal(database, n):
    database.psql(f"alter role node_{n} login")


def number(database, sql):
    return int(database.psql(f"select coalesce(({sql}), 0)").stdout.strip())


def names(database):
    """Of the keepers that have a lease: the numbers of their rows' batches."""
    rows = database.psql("select node, batches from tranche.lease where scope like 'k:%'").stdout.split()
    return {node: int(batches) for node, _, batches in (row.rpartition("|") for row in rows)}


def page_of(gateway):
    return Page(gateway.get("/metrics").body.decode())


def granted(gateway, file):
    """Whether one create more is."""
    return create(gateway, file, ANN).status == 200


def one_each(nodes):
    """A batch of Ann at each node: all of them know of her limit, and will have a share of it."""
    file = nodes[0].uploaded(DATA, key=ANN)["id"]
    for gateway in nodes:
        # By a database that a busy machine may not let answer in time; and what the first ones held while they were alone, others get later
        until(lambda gateway=gateway: granted(gateway, file), "it is granted", timeout=5 * RENEWED)
    return file


def all_have_shares(database, count):
    """Renewed after all that was granted before, and as large as they become."""
    since = int(time.time() * 1000)
    until(lambda: number(database, "select count(*) from tranche.lease where scope like 'k:%'"
                                   f" and batches = {SHARE} and until > {since} + 600000") == count, "each node has its share", timeout=5 * RENEWED)


def storm(nodes, file, each):
    """@return how many were granted at each node, all asked at once"""
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(nodes) * 4) as pool:
        calls = [(n, pool.submit(granted, gateway, file)) for _ in range(each) for n, gateway in enumerate(nodes)]
        done = [(n, call.result()) for n, call in calls]
    return [sum(ok for m, ok in done if m == n) for n in range(len(nodes))]


def test_two_of_three_nodes_that_are_cut_off_never_pass_a_limit(fleet, sim, database):
    nodes = fleet(3, leases="counted")
    file = one_each(nodes)
    all_have_shares(database, len(nodes))
    shares = names(database)
    assert all("/" in node for node in shares), shares
    until(lambda: [page_of(node).sum("tranche_database_lease_batches", scope="key") for node in nodes] == [SHARE] * 3, "operators see the shares",
          timeout=RENEWED)
    for n in (1, 2):
        cut(database, n)
    found = storm(nodes, file, each=10)
    assert sim.created("batches") == 3 + sum(found) <= LIMIT, found
    for n in (1, 2):  # they go on, within their shares
        until(lambda n=n: found[n] > 0 or granted(nodes[n], file), "a node that is cut off grants alone")
        found[n] = max(found[n], 1)
        until(lambda n=n: page_of(nodes[n]).sum("tranche_database_lease_batches", scope="key") <= SHARE - found[n], "operators see what is left")
    assert sim.created("batches") <= LIMIT
    assert number(database, "select batches from tranche.allowance where scope like 'k:%'") <= LIMIT - found[1] - found[2]

    # They come back, and what they granted is counted once: all of the limit is there to be used, and no more
    for n in (1, 2):
        heal(database, n)
    until(lambda: number(database, "select batches from tranche.allowance where scope like 'k:%'") == sim.created("batches"),
          "what they granted alone has arrived", timeout=RENEWED)
    until(lambda: storm(nodes, file, each=2) and sim.created("batches") == LIMIT, "all of the limit is used", timeout=2 * RENEWED)
    assert sum(storm(nodes, file, each=2)) == 0 and sim.created("batches") == LIMIT


@pytest.mark.long
def test_without_counted_leases_nodes_that_are_cut_off_may_pass_a_limit(fleet, sim, database):
    """By their part of what was free. The same as above but for the setting: it shows that the test above can fail."""
    nodes = fleet(3)
    file = one_each(nodes)
    all_have_shares(database, len(nodes))
    shares = names(database)
    assert not any("/" in node for node in shares), shares
    for n in (1, 2):
        cut(database, n)
    until(lambda: storm(nodes[:1], file, each=4) and sim.created("batches") >= LIMIT, "the third node takes all that is free")
    until(lambda: storm(nodes[1:], file, each=4) and sim.created("batches") > LIMIT, "the others grant their shares of that")
    assert sim.created("batches") <= LIMIT + len(nodes) * SHARE


@pytest.mark.long
def test_a_node_that_ends_in_good_order_gives_its_lease_back_at_once_and_a_killed_one_does_not(fleet, sim, database):
    nodes = fleet(3, leases="counted")
    file = one_each(nodes)
    all_have_shares(database, len(nodes))
    assert nodes[2].stop() == 0
    until(lambda: len(names(database)) == 2, "its lease is gone")
    nodes[1].deaths_expected = True
    os.killpg(nodes[1].pid, signal.SIGKILL)
    nodes[1].wait()
    assert nodes[0].stop() == 0
    (left,) = until(lambda: len(left := names(database)) == 1 and left.values(), "that of the killed one alone is there")
    assert left == SHARE
    nodes = fleet(1, leases="counted")
    until(lambda: storm(nodes, file, each=4) and sim.created("batches") == LIMIT - left, "all that is free is taken")
    assert storm(nodes, file, each=4) == [0] and sim.created("batches") == LIMIT - left  # it may have granted that before it died
