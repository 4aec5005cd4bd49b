"""The rows of the budget table that a connection alone can fill: heads, frames, streams, windows, bodies that crawl, what follows
an early answer, connections, calls and the spool. One client does it as hard as it can while a good one polls (see test_budgets.py)."""

import contextlib
import struct

import h2.errors
from harness import GROUP, lines, multipart, until
from test_budgets import MIB, Good, answered, form, judge, long_line, world  # noqa: F401 (world is a fixture)
from wire import H1, H2, Broken, connect

CRLF = b"\r\n"


def flooded(gateway, worker, target, most_bytes, flood):
    """Run it while somebody polls, and judge. @return what it found"""
    worker.forget_peak()
    before = worker.now()
    with contextlib.ExitStack() as stack:
        with Good(gateway, worker, target) as good:
            until(lambda: good.polls > 3, "the good one is served")
            found = flood(stack)
            served = good.polls
            until(lambda: good.polls > served + 3, "the good one is served still")
        judge(good, worker, before, most_bytes)
        return found


def opened(stack, gateway, count, data=b""):
    socks = [stack.enter_context(contextlib.closing(connect(gateway.port))) for _ in range(count)]
    for sock in socks:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
    return socks


def first_line(sock):
    try:
        return sock.recv(65536).split(CRLF)[0]
    except ConnectionError:
        return b""


def told(conn):
    """What ends an HTTP/2 connection."""
    try:
        while True:
            conn.pump()
            if conn.gone:
                return conn.gone
    except Broken as why:
        return str(why)


def test_others_are_served_while_one_sends_heads_that_are_too_large(world):  # noqa: F811
    head = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 40_000

    def flood(stack):
        return {first_line(sock) for sock in opened(stack, world_[0], 200, head)}

    world_ = world()
    assert flooded(*world_, 24 * MIB, flood) <= {b"HTTP/1.1 431 Request Header Fields Too Large", b""}


def test_others_are_served_while_one_sends_heads_of_too_many_fields(world):  # noqa: F811
    head = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 120 + CRLF

    def flood(stack):
        return {first_line(sock) for sock in opened(stack, world_[0], 300, head)}

    world_ = world()
    assert flooded(*world_, 24 * MIB, flood) == {b"HTTP/1.1 431 Request Header Fields Too Large"}


def test_others_are_served_while_one_holds_hundreds_of_unfinished_heads(world):  # noqa: F811
    head = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 30_000

    def flood(stack):
        opened(stack, world_[0], 600, head)

    world_ = world()
    flooded(*world_, 64 * MIB, flood)


def test_others_are_served_while_one_opens_more_connections_than_there_are(world):  # noqa: F811
    """None of them ever shows the key: the oldest of those make room, the one that polls stays, and so does who comes anew."""
    world_ = world()

    def flood(stack):
        opened(stack, world_[0], 1500)
        return world_[0].get("/v1/models").status

    assert flooded(*world_, 64 * MIB, flood) == 200


def test_others_are_served_while_one_resets_its_streams_at_once(world):  # noqa: F811
    def flood(stack):
        ends = set()
        for _ in range(5):
            with H2(world_[0].port) as conn:
                for _ in range(3000):
                    if conn.gone:
                        break
                    conn.reset(conn.request("GET", "/v1/models"))
                ends.add(told(conn))
        return ends

    world_ = world()
    for end in flooded(*world_, 32 * MIB, flood):
        assert str(int(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)) in end or "reset" in end.lower() or "Broken" in end, end


def test_others_are_served_while_one_pings(world):  # noqa: F811
    def flood(stack):
        ends = set()
        for _ in range(5):
            with H2(world_[0].port) as conn:
                for _ in range(20_000):
                    conn.h2.ping(b"12345678")
                conn.flush()
                ends.add(told(conn))
        return ends

    world_ = world()
    assert flooded(*world_, 32 * MIB, flood)


def test_others_are_served_while_one_reads_none_of_a_hundred_streams(world):  # noqa: F811
    """Answers whose windows are closed, on several connections."""
    def flood(stack):
        conns = [stack.enter_context(H2(world_[0].port, window=1)) for _ in range(8)]
        for conn in conns:
            for stream in [conn.request("GET", "/metrics") for _ in range(100)]:
                conn.held.add(stream)
                with contextlib.suppress(Broken):
                    conn.wait_head(stream)

    world_ = world()
    flooded(*world_, 96 * MIB, flood)


def test_others_are_served_while_one_sends_more_than_its_windows_allow(world):  # noqa: F811
    """A line of nothing but empty strings is looked at in slices: what comes meanwhile waits, up to the windows and no further."""
    body, kind = form(b"\n".join([long_line(MIB, b'["@"]', b'","')] * 3))

    def overrun(conn, stream):
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(body), 16384):
                piece = body[at:at + 16384]
                conn.sock.sendall(struct.pack(">I", len(piece))[1:] + b"\0\0" + struct.pack(">I", stream) + piece)
        return told(conn)

    def flood(stack):
        conns = [stack.enter_context(H2(world_[0].port)) for _ in range(20)]
        streams = [conn.request("POST", "/v1/files", {"Content-Type": kind}, end=False) for conn in conns]
        return [overrun(conn, stream) for conn, stream in zip(conns, streams)]

    world_ = world()
    ends = flooded(*world_, 64 * MIB, flood)
    flow_control = f"GOAWAY {int(h2.errors.ErrorCodes.FLOW_CONTROL_ERROR)}"
    assert flow_control in ends and all(end == flow_control or "reset" in end.lower() or "Broken" in end for end in ends), ends


def test_others_are_served_while_one_sends_on_after_an_early_answer(world):  # noqa: F811
    """64 MiB of a body that was refused by its head are read, and not a byte more."""
    def flood(stack):
        taken = []
        for _ in range(3):
            client = stack.enter_context(contextlib.closing(H1(world_[0].port)))
            client.request("POST", "/v1/files", {"Content-Type": "multipart/form-data; boundary=x"}, "chunked", key="wrong")
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 200 * MIB:
                    client.send(b"a" * 65536)
                    sent += 65536
            taken.append(sent)
        return taken

    world_ = world()
    for sent in flooded(*world_, 24 * MIB, flood):
        assert sent < 80 * MIB, sent


def test_others_are_served_while_one_lets_hundreds_of_bodies_crawl(world):  # noqa: F811
    def flood(stack):
        body, kind = multipart([("purpose", "batch"), ("file", None)], lines(count=300))
        clients = [stack.enter_context(contextlib.closing(H1(world_[0].port))) for _ in range(300)]
        for client in clients:
            client.request("POST", "/v1/files", {"Content-Type": kind}, len(body))
        for at in range(0, 5000, 50):
            for client in clients:
                client.send(body[at:at + 50])

    world_ = world()
    flooded(*world_, 96 * MIB, flood)


def test_others_are_served_while_one_waits_for_hundreds_of_a_providers_answers(world, sim):  # noqa: F811
    world_ = world()
    sim.fault({"hang": "answer"}, method="GET", path="*/files/file-hang*", times=2000)

    def flood(stack):
        conns = [stack.enter_context(H2(world_[0].port)) for _ in range(5)]
        for conn in conns:
            for number in range(100):
                conn.request("GET", f"/v1/files/file-hang{number}?model={GROUP}")

    flooded(*world_, 96 * MIB, flood)


def test_others_are_served_while_one_fills_the_spool(world):  # noqa: F811
    """Files that never end, of more than is left."""
    world_ = world(spool_bytes=8 * MIB)

    def flood(stack):
        body, kind = multipart([("purpose", "batch"), ("file", None)], lines(count=10_000))
        clients = []
        for _ in range(12):
            client = stack.enter_context(contextlib.closing(H1(world_[0].port)))
            client.request("POST", "/v1/files", {"Content-Type": kind}, len(body))
            with contextlib.suppress(ConnectionError):
                client.send(body[:-200])
            clients.append(client)
        return {client.answer().status for client in until(lambda: answered(clients), "there is no room for all")}

    assert flooded(*world_, 32 * MIB, flood) == {507}
