"""How workers share connections: front/accept_share. Who takes which is the unit test's; here: that each is taken."""

import os
import pathlib
import signal
import socket

from harness import MASTER_KEY, PATIENCE, balanced_config, until, worker_pids

ASK = f"GET /health/liveliness HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n".encode()


def connect(gateway):
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE)
    sock.sendall(ASK)
    return sock


def answered(sock):
    return sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_connections_that_are_left_to_a_worker_that_hangs_are_answered_by_the_other(start, sim):
    """One that is stopped has fewer connections than the other from then on, and takes none."""
    gateway = start(balanced_config(sim), workers=2)
    stopped = worker_pids(gateway, 2)[0]
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: pathlib.Path(f"/proc/{stopped}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", "the worker is stopped")
    socks = []
    try:
        for _ in range(40):
            socks.append(connect(gateway))
            assert answered(socks[-1])
    finally:
        os.kill(stopped, signal.SIGCONT)
        for sock in socks:
            sock.close()


def test_connections_that_come_at_once_are_all_answered(start, sim):
    gateway = start(balanced_config(sim), workers=4)
    socks = [connect(gateway) for _ in range(200)]
    try:
        assert all(answered(sock) for sock in socks)
    finally:
        for sock in socks:
            sock.close()
