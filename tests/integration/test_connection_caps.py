"""Caps on connections: who is too many waits or is sent away, and nobody who is served notices."""

import contextlib
import pathlib
import re
import resource
import socket
import time

import harness
import pytest
from harness import MASTER_KEY, direct_config, until

ASK = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + MASTER_KEY.encode() + b"\r\n\r\n"
LIVE = b"GET /health/liveliness HTTP/1.1\r\nHost: x\r\n\r\n"


def capped(start, sim, workers=1, **limits):
    return start(direct_config(sim, tranche_settings={"limits": limits}), sim=sim, workers=workers)


def opened(gateway):
    """A connection that was served once and stays."""
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    client.sendall(ASK)
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    return client


def busy_ns(gateway):
    """CPU time of the gateway's workers: the prober has work of its own to do at the start."""
    workers = [pid for pid in gateway.workers() if pathlib.Path(f"/proc/{pid}/comm").read_text() == "tranche-worker\n"]
    assert workers
    return sum(int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in workers)


def is_whole(answer):
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(end) and len(body) >= (int(length.group(1)) if length else 0)


def asked(gateway, request=ASK, **kw):
    """The answer to one request on a new connection; b"" when it is closed."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30, **kw) as client:
        client.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while not is_whole(answer) and (piece := client.recv(65536)):
                answer += piece
        return answer


def test_a_full_worker_tells_others_to_come_again_and_answers_for_its_health(start, sim):
    gateway = capped(start, sim, max_connections=4)
    held = [opened(gateway) for _ in range(4)]
    for _ in range(20):
        answer = asked(gateway)
        assert answer.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in answer and b"connections_full" in answer
        assert asked(gateway, LIVE).startswith(b"HTTP/1.1 200")
    for client in held:  # those inside are served as ever
        client.sendall(ASK)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    held.pop().close()
    until(lambda: asked(gateway).startswith(b"HTTP/1.1 200"), "a place is free again")


def test_who_never_showed_the_key_makes_room_for_who_does(start, sim):
    """One address held all connections for as long as it wished, no key needed, and liveness failed."""
    gateway = capped(start, sim, max_connections=20)
    first = opened(gateway)
    silent = [socket.create_connection(("127.0.0.1", gateway.port), timeout=30) for _ in range(100)]
    for client in silent[50:]:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n")
    for _ in range(20):
        assert asked(gateway, LIVE).startswith(b"HTTP/1.1 200")
        assert asked(gateway).startswith(b"HTTP/1.1 200")
    more = [opened(gateway) for _ in range(19)]
    for client in [first, *more]:
        client.sendall(ASK)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    assert asked(gateway, LIVE).startswith(b"HTTP/1.1 200")
    try:
        assert silent[0].recv(1) == b""
    except ConnectionResetError:
        pass


def test_by_default_an_address_may_hold_a_quarter_and_loopback_all(start, sim):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback's")
        own = probe.getsockname()[0]
    config = direct_config(sim, tranche_settings={"limits": {"max_connections": 16}, "permit_weak_or_unset_master_key": True})
    gateway = start(config, sim=sim, workers=1, host="0.0.0.0")
    held = []
    for _ in range(5):
        client = socket.create_connection((own, gateway.port), timeout=30)
        client.sendall(ASK)
        held.append(client)
    assert [c.recv(65536)[:12] if n < 4 else ended(c) for n, c in enumerate(held)] == [b"HTTP/1.1 200"] * 4 + [True]
    near = [opened(gateway) for _ in range(12)]
    for client in near:
        client.sendall(ASK)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def ended(client):
    try:
        return client.recv(65536) == b""
    except ConnectionResetError:
        return True


def test_a_proxy_may_hold_more_than_other_addresses(start, sim):
    config = direct_config(sim, tranche_settings={"limits": {"max_connections_per_address": 2}, "proxies": ["127.0.0.9", "::1"]})
    gateway = start(config, sim=sim, workers=1)
    for address, most in (("127.0.0.9", 6), ("127.0.0.8", 2)):
        held = []
        for _ in range(6):
            client = socket.create_connection(("127.0.0.1", gateway.port), timeout=30, source_address=(address, 0))
            client.sendall(ASK)
            held.append(client)
        assert [not ended(c) for c in held] == [True] * most + [False] * (6 - most)


def test_a_full_worker_does_not_spin(start, sim):
    """It rests although there are connections that it could accept: while others work, it uses next to nothing."""
    gateway = capped(start, sim, max_connections=2)
    sim.wait("eu", "GET", "/openai/batches")  # the prober has done what it does at the start
    sim.wait("oai", "GET", "/v1/batches")
    held = [opened(gateway) for _ in range(2)]
    waiting = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(8)]
    held[0].sendall(ASK)
    assert held[0].recv(65536)  # the worker has been through a turn with them in its backlog
    before, began = busy_ns(gateway), time.monotonic_ns()
    for _ in range(500):
        sim.control("GET", "/control/ledger")
    used = busy_ns(gateway) - before
    assert used < (time.monotonic_ns() - began) / 25, used
    for client in waiting:
        client.close()


def test_an_address_may_hold_so_many_and_others_are_served(start, sim):
    gateway = capped(start, sim, max_connections_per_address=2)
    held = [opened(gateway) for _ in range(2)]
    third = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    third.sendall(ASK)
    try:
        assert third.recv(65536) == b""
    except ConnectionResetError:
        pass
    other = socket.create_connection(("127.0.0.1", gateway.port), timeout=30, source_address=("127.0.0.9", 0))
    other.sendall(ASK)
    assert other.recv(65536).startswith(b"HTTP/1.1 200")
    for client in held:
        client.sendall(ASK)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_few_descriptors_mean_fewer_connections_and_no_errors(start, sim, monkeypatch):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    popen = harness.subprocess.Popen
    # Of the gateway alone: whoever runs the tests may have more open than that.
    monkeypatch.setattr(harness.subprocess, "Popen", lambda *args, **kw: popen(
        *args, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)), **kw))
    gateway = capped(start, sim)
    monkeypatch.undo()
    clients = [opened(gateway) for _ in range(60)]
    for client in clients:
        client.close()
    assert gateway.get("/v1/models").status == 200
