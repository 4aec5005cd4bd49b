"""Uploads with an Idempotency-Key at several gateways over one database, whose worker is killed: the key of one of which nothing was sent
is free at once, at every node; what came of one that was being sent nobody knows, and its key waits (journal statement C32)."""

import concurrent.futures
import http.client
import itertools
import os
import signal
import socket

import pytest
from harness import PATIENCE, azure_deployment, balanced_config, envelope, until, worker_pids
from test_fleet_creates import SEAL

KEY = {"Idempotency-Key": "upload-1"}


@pytest.fixture
def node(start, sim, tmp_path, database):
    """node(api_base=...) -> one gateway more over that database, whose provider is there"""
    numbers = itertools.count()

    def make(**account):
        state = tmp_path / f"state-{next(numbers)}"
        state.mkdir()
        settings = {"database": database.url, "seal_keys": [SEAL], "state_dir": str(state), "idempotency_when_down": "strict",
                    "timeouts": {"connect_ms": "600s", "json_total_ms": "1s"}}
        config = balanced_config(sim, tranche_settings=settings)
        config["model_list"] = [azure_deployment(sim, "eu", **account)]
        gateway = start(config, sim=sim, workers=1)
        # Until then it is as while the database is away, which on a busy machine is tried some times before its tables are there
        gateway.wait_line("journal: this node is", timeout=5 * PATIENCE)
        return gateway

    return make


def read(database, what):
    return database.psql(f"select {what}").stdout.strip()


def looked_around(database):
    """Each keeper has given a sign of life twice since: it does what is due each second before the next one."""
    for _ in range(2):
        seen = read(database, "max(seen) from tranche.node")
        until(lambda seen=seen: int(read(database, "min(seen) from tranche.node")) > int(seen), "each keeper was there again")


def upload(gateway, *wrong):
    """@return an answer of the database's own: one that a busy machine does not let answer in time is asked again, as after what is `wrong`"""
    return until(lambda: (lambda answer: answer.status not in (503, *wrong) and answer)(gateway.upload(headers=KEY)), "the database answers")


def killed_in_an_upload(gateway, database, is_there=lambda: None):
    """Its worker dies as soon as the upload has its key, and is_there()."""
    (worker,) = worker_pids(gateway, 1)
    gateway.deaths_expected = True
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        call = pool.submit(upload, gateway)
        until(lambda: read(database, "count(*) from tranche.idempotency where state = 0") == "1", "it has its key")
        is_there()
        os.kill(worker, signal.SIGKILL)
        with pytest.raises((OSError, http.client.HTTPException)):
            call.result()
    until(lambda: worker_pids(gateway) not in ([], [worker]), "another worker has its place")


def test_the_key_of_an_upload_that_a_killed_worker_had_not_begun_to_send_is_free_at_every_node(node, sim, database):
    """An hour of 409 it was. The provider takes the connection, and says nothing in answer to TLS."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        one, two = node(api_base=f"https://127.0.0.1:{silent.getsockname()[1]}"), node()
        killed_in_an_upload(one, database)
        answer = upload(two, 409)
        assert answer.status == 200, answer
        again = upload(two)
        assert again.body == answer.body and again.headers["idempotent-replayed"] == "true", again
        assert len(sim.ledger("eu")["files"]) == 1


def test_the_key_of_an_upload_that_a_killed_worker_was_sending_waits(node, sim, database):
    one, two = node(), node()
    sim.fault({"hang": "head"}, method="POST", path="/openai/files*", times=1)
    killed_in_an_upload(one, database, lambda: sim.wait("eu", "POST", "/openai/files*", phase="received"))
    looked_around(database)
    envelope(upload(two), 409, code="idempotency_in_progress")
    assert read(database, "state from tranche.idempotency") == "0"
