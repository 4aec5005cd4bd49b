"""Caps on connections: who is too many waits or is sent away, and nobody who is served notices."""

import resource
import socket
import time

from harness import MASTER_KEY, direct_config

ASK = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + MASTER_KEY.encode() + b"\r\n\r\n"


def capped(start, sim, workers=1, **limits):
    return start(direct_config(sim, tranche_settings={"limits": limits}), sim=sim, workers=workers)


def opened(gateway):
    """A connection that was served once and stays."""
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    client.sendall(ASK)
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    return client


def busy_ns(gateway):
    """CPU time of the gateway's children."""
    return sum(int(open(f"/proc/{pid}/schedstat").read().split()[0]) for pid in gateway.workers())


def test_one_too_many_waits_until_another_one_goes(start, sim):
    gateway = capped(start, sim, max_connections=4)
    held = [opened(gateway) for _ in range(4)]
    late = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)  # the kernel takes it, nobody serves it
    late.sendall(ASK)
    for client in held:  # those inside are served as ever
        client.sendall(ASK)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    late.setblocking(False)
    try:
        got = late.recv(1)
    except BlockingIOError:
        got = None
    assert got is None
    late.settimeout(30)
    held.pop().close()
    assert late.recv(65536).startswith(b"HTTP/1.1 200")


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
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        gateway = capped(start, sim)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    clients = [opened(gateway) for _ in range(60)]
    for client in clients:
        client.close()
    assert gateway.get("/v1/models").status == 200
