"""Clients that leave while their batch is on its way: at every step of an order. Whatever had not been sent is not made,
whatever had been is made once and kept for who asks again, and nothing stays reserved or under way behind it."""

import json
import socket
import struct
import threading

import pytest
from harness import (GROUP, MASTER_KEY, azure_account, azure_deployment, balanced_config, lines,
                     sim_config, until)

LONG = 600_000  # ms: longer than any test; ends when the gateway hangs up, or is told to go on
SHORTLY = 700  # ms: nothing depends on it but how often who comes next meets what still hangs
BATCHES, FILES = "/openai/batches", "/openai/files"


class Client:
    """A create whose client may leave at any time."""

    def __init__(self, gateway, file_id, headers=None, **more):
        body = json.dumps({"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h", **more}).encode()
        fields = {"Host": "x", "Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json",
                  "Content-Length": str(len(body)), **(headers or {})}
        self.gateway = gateway
        self.sock = socket.create_connection(("127.0.0.1", gateway.port))
        self.sock.sendall(b"POST /v1/batches HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items()).encode()
                          + b"\r\n" + body)

    def leave(self, how):
        """And wait until the gateway has noticed."""
        start = len(self.gateway.lines)
        if how == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self.gateway.wait_line(r'"route":"batches\.create".*"status":499', start=start)


@pytest.fixture(params=["closed", "reset"])
def how(request):
    return request.param


def enqueued(gateway, account):
    """Tokens that the ledger counts at a deployment."""
    rows = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 1}).json()["candidates"]
    (row,) = [r for r in rows if r["model"] == f"gpt-4o-batch-{account}"]
    return row["enqueued_tokens"]


def gives_back(gateway, account):
    """The line in the access log is written a moment before the order ends."""
    until(lambda: enqueued(gateway, account) == 0, "its tokens are given back")


def ends_cleanly(gateway):
    """Nothing is left that a drain would wait for, or cut off."""
    assert gateway.stop() == 0
    assert "grace period is over" not in gateway.log


def config(sim):
    """eu gets every file."""
    return balanced_config(sim, accounts=(), model_list=[azure_deployment(sim, "eu", weight=1), azure_deployment(sim, "us", weight=0)])


@pytest.fixture
def full(make_sim):
    """A world where eu has no room for a batch of 20 lines: it has to go to us."""
    deployment = {"name": "gpt-4o-batch-eu", "model": "gpt-4o", "sku": "GlobalBatch", "enqueued_token_limit": 600, "refusal": "fast"}
    return make_sim(sim_config([azure_account("eu", deployments=[deployment]), azure_account("us")]))


def posts(sim, account, what):
    return [r for r in sim.requests(account) if r["method"] == "POST" and r["target"].partition("?")[0] == what]


# --- before anything was sent ---


def test_while_its_file_is_looked_for(start, sim, how):
    gateway = start(config(sim), sim=sim)
    native = gateway.uploaded()["id"].rsplit("-t", 1)[0]
    sim.fault({"hang": "answer", "ms": LONG}, account="eu", method="GET", path=FILES + "/*")
    client = Client(gateway, native)
    sim.wait("eu", "GET", FILES + "/*", phase="received")
    client.leave(how)
    gives_back(gateway, "eu")
    ends_cleanly(gateway)
    assert sim.created("batches") == 0


def test_while_it_is_looked_for_among_the_batches_of_before(start, sim, how):
    gateway = start(config(sim), sim=sim)
    file = gateway.uploaded()
    sim.wait("eu", "GET", BATCHES, count=2)  # the prober's: is it healthy, what runs there
    sim.fault({"hang": "answer", "ms": LONG}, account="eu", method="GET", path=BATCHES)
    client = Client(gateway, file["id"], headers={"Idempotency-Key": "k"})
    sim.wait("eu", "GET", BATCHES, count=3, phase="received")
    client.leave(how)
    assert sim.created("batches") == 0
    # The key is free again.
    assert gateway.create(file["id"], headers={"Idempotency-Key": "k"}).status == 200
    ends_cleanly(gateway)
    assert sim.created("batches") == 1


def test_while_the_first_lines_of_its_file_are_read(start, sim, how):
    first = start(config(sim), sim=sim)
    file = first.uploaded()
    first.finish(sim)
    gateway = start(config(sim), sim=sim)  # remembers nothing
    sim.fault({"hang": "body", "ms": LONG}, account="eu", method="GET", path=FILES + "/*/content")
    client = Client(gateway, file["id"])
    sim.wait("eu", "GET", FILES + "/*/content", phase="received")
    client.leave(how)
    gives_back(gateway, "eu")
    ends_cleanly(gateway)
    assert sim.created("batches") == 0


@pytest.mark.parametrize("who", ["the one who waits", "the one who was first"])
def test_while_one_waits_for_the_other_with_the_same_key(start, sim, how, who):
    gateway = start(config(sim), sim=sim)
    file = gateway.uploaded()
    key = {"Idempotency-Key": "k"}
    sim.fault({"hang": "answer", "ms": LONG}, account="eu", method="POST", path=BATCHES)
    first = Client(gateway, file["id"], headers=key)
    sim.wait("eu", "POST", BATCHES, phase="received")
    if who == "the one who waits":
        Client(gateway, file["id"], headers=key).leave(how)
    else:
        first.leave(how)
    sim.release(after_ms=SHORTLY)
    answer = gateway.create(file["id"], headers=key)
    assert answer.status == 200 and answer.headers["idempotent-replayed"] == "true", answer
    assert enqueued(gateway, "eu") > 0
    first.sock.close()
    ends_cleanly(gateway)
    assert sim.created("batches") == 1


# --- while the file is moved ---

MOVES = {"described": ("eu", "GET", FILES + "/*", "answer"), "read": ("eu", "GET", FILES + "/*/content", "body"),
         "stored": ("us", "POST", FILES, "answer")}


@pytest.mark.parametrize("step", MOVES)
def test_while_its_file_is(start, full, how, step):
    account, method, path, point = MOVES[step]
    sim = full
    gateway = start(config(sim), sim=sim)
    file = gateway.uploaded(lines(count=20))
    sim.fault({"hang": point, "ms": LONG}, account=account, method=method, path=path)
    client = Client(gateway, file["id"])
    sim.wait(account, method, path, phase="received")
    until(lambda: enqueued(gateway, "us") > 0, "its tokens are counted")
    client.leave(how)
    gives_back(gateway, "us")
    assert gateway.create(file["id"]).status == 200  # and nobody stands in the way of the next one
    ends_cleanly(gateway)
    assert sim.created("batches", ["us"]) == 1 == sim.created("batches")


def test_while_the_provider_still_looks_at_the_copy(start, full, how):
    sim = full
    gateway = start(config(sim), sim=sim)
    file = gateway.uploaded(lines(count=20))
    sim.control("POST", "/control/switches", {"account": "us", "time": {"pending_ms": 3_600_000}})
    client = Client(gateway, file["id"])
    sim.wait("us", "GET", FILES + "/*")
    client.leave(how)
    sim.wait("us", "DELETE", FILES + "/*")
    gives_back(gateway, "us")
    sim.advance(3_600_000)
    ends_cleanly(gateway)
    assert sim.created("batches") == 0
    assert [f for f in sim.ledger("us")["files"] if not f.get("deleted")] == []


# --- after it was sent ---


@pytest.mark.parametrize("moved", [False, True], ids=["here", "moved"])
def test_while_it_is_created(start, sim, full, how, moved):
    sim = full if moved else sim
    gateway = start(config(sim), sim=sim)
    account = "us" if moved else "eu"
    file = gateway.uploaded(lines(count=20))
    sim.fault({"hang": "answer", "ms": LONG}, account=account, method="POST", path=BATCHES)
    client = Client(gateway, file["id"])
    sim.wait(account, "POST", BATCHES, phase="received")
    client.leave(how)
    sim.release(after_ms=SHORTLY)
    again = gateway.create(file["id"], headers={"x-stainless-retry-count": "1"})
    assert again.status == 200 and again.headers["idempotent-replayed"] == "true", again
    assert again.json()["input_file_id"] == file["id"]
    assert enqueued(gateway, account) > 0
    ends_cleanly(gateway)
    assert sim.created("batches", [account]) == 1 == sim.created("batches")


def test_while_its_lost_answer_is_looked_for(start, sim, how):
    gateway = start(config(sim), sim=sim)
    file = gateway.uploaded()
    sim.wait("eu", "GET", BATCHES, count=2)  # the prober's: is it healthy, what runs there
    sim.fault({"close": "answer"}, account="eu", method="POST", path=BATCHES)
    sim.fault({"hang": "answer", "ms": LONG}, account="eu", method="GET", path=BATCHES)
    client = Client(gateway, file["id"])
    sim.wait("eu", "GET", BATCHES, count=3, phase="received")
    client.leave(how)
    sim.release(after_ms=SHORTLY)
    again = gateway.create(file["id"], headers={"x-stainless-retry-count": "1"})
    assert again.status == 200 and again.headers["idempotent-replayed"] == "true", again
    assert enqueued(gateway, "eu") > 0
    ends_cleanly(gateway)
    assert sim.created("batches") == 1


def test_while_a_create_is_under_way_whose_outcome_nobody_will_know(start, sim, how):
    """Its tokens stay counted, and a repeat is told that nobody knows."""
    gateway = start(config(sim), sim=sim)
    file = gateway.uploaded()
    sim.wait("eu", "GET", BATCHES, count=2)  # the prober's: is it healthy, what runs there
    sim.fault({"hang": "head", "ms": LONG, "close": "answer"}, account="eu", method="POST", path=BATCHES)
    sim.fault({"status": 503}, account="eu", method="GET", path=BATCHES, times=1000)
    client = Client(gateway, file["id"])
    sim.wait("eu", "POST", BATCHES, phase="received")
    client.leave(how)
    sim.release(after_ms=SHORTLY)
    answer = gateway.create(file["id"], headers={"x-stainless-retry-count": "1"})
    assert answer.status == 502 and answer.json()["error"]["code"] == "create_outcome_unknown", answer
    assert enqueued(gateway, "eu") > 0
    ends_cleanly(gateway)
    assert sim.created("batches") == 1 == len(posts(sim, "eu", BATCHES))


def test_while_it_is_refused_nothing_more_is_tried_for_nobody(start, sim, how):
    gateway = start(config(sim), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 429, "delay_ms": LONG}, account="eu", method="POST", path=BATCHES)
    client = Client(gateway, file["id"])
    sim.wait("eu", "POST", BATCHES, phase="received")
    client.leave(how)
    sim.release()
    sim.wait("eu", "POST", BATCHES)
    gives_back(gateway, "eu")
    ends_cleanly(gateway)
    assert sim.created("batches") == 0 and posts(sim, "us", FILES) == []


# --- and the worker is told to end meanwhile ---


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "leaves"])
def test_a_drain_during_a_move_waits_for_who_stays_and_for_nobody_else(start, full, how, stays):
    sim = full
    gateway = start(config(sim), sim=sim, workers=1)
    file = gateway.uploaded(lines(count=20))
    sim.fault({"hang": "answer", "ms": LONG}, account="us", method="POST", path=FILES)
    client = Client(gateway, file["id"])
    sim.wait("us", "POST", FILES, phase="received")
    ended = []
    end = threading.Thread(target=lambda: ended.append(gateway.stop()))
    end.start()
    gateway.wait_line("draining")
    if stays:
        sim.release()
        assert b" 200 OK" in client.sock.recv(100)
        client.sock.close()
    else:
        client.leave(how)
    end.join()
    assert ended == [0] and "grace period is over" not in gateway.log
    assert sim.created("batches") == (1 if stays else 0)
