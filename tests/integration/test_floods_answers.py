"""The rows of the budget table that answers fill: a provider's values, downloads, calls that are left while nobody reads, readers
that crawl, and what one connection may have. One client does it as hard as it can while a good one polls (see test_floods.py)."""

import collections
import contextlib
import select

import h2.exceptions
import pytest
from harness import GROUP, until
from test_budgets import MIB, world  # noqa: F401 (world is a fixture)
from test_download_bounds import CONTENT, RangedFile, refused
from test_floods import flooded
from test_metrics import Page
from wire import H1, H2, SLICE, Broken, make_provider  # noqa: F401 (make_provider is a fixture)

FILE = f"{CONTENT}?provider=openai"


class Shelf(RangedFile):
    """A provider that knows how many of its answers the gateway has left in the middle."""

    def __init__(self, make_provider):
        self.left = 0
        super().__init__(make_provider)

    def serve(self, provider, sock, head):
        try:
            super().serve(provider, sock, head)
        except OSError:
            with self.lock:
                self.left += 1
            raise


@pytest.fixture
def shelf(world, make_provider):  # noqa: F811
    """shelf(limits) -> (what world() gives, the provider of FILE)"""
    def make(**kw):
        file = Shelf(make_provider)
        openai = {"custom_llm_provider": "openai", "api_base": f"http://127.0.0.1:{file.provider.port}/v1", "api_key": "sk-own"}
        return world(sections={"files_settings": [openai]}, **kw), file

    return make


def ask(conn, count, target):
    """So many streams, none of whose bytes is taken."""
    streams = [conn.request("GET", target) for _ in range(count)]
    conn.held.update(streams)
    return streams


def codes(conn, streams):
    """What each was answered: "200", or the code of the refusal."""
    out = collections.Counter()
    for stream in streams:
        status = conn.wait_head(stream)[":status"]
        conn.held.discard(stream)
        out[status if status == "200" else conn.answer(stream).json()["error"]["code"]] += 1
    return out


def test_a_good_download_is_served_from_the_shelf(shelf):
    (gateway, _, _), file = shelf()
    answer = gateway.get(FILE, headers={"Range": "bytes=100-199"})
    assert answer.status == 206 and answer.body == file.bytes(100, 199)


@pytest.mark.parametrize("target,answer,values", [
    ("/v1/batches/batch_many", '{"id":"batch_many","object":"batch","x":[@]}', 125_000),
    ("/v1/batches", '{"object":"list","data":[{"id":"batch_many","x":[@]}]}', 500_000)], ids=["one", "list"])
def test_others_are_served_while_a_provider_answers_with_more_values_than_are_read(world, sim, target, answer, values):  # noqa: F811
    """1 MiB of small numbers took 100 ms of a worker's time. Both are as many bytes as may come: 256 KiB, an object of 1 MiB.
    A list has 3 s, which 20 MiB may need where the machine is busy: what is judged is what is said of the values, not when."""
    world_ = world(timeouts={"list_ms": 600_000})
    gateway = world_[0]
    sim.fault({"status": 200, "body": answer.replace("@", "0," * values + "0")}, method="GET", times=1000,
              path="*/batches" if "list" in answer else "*/batch_many*")

    def flood(stack):
        conns = [stack.enter_context(H2(gateway.port)) for _ in range(4)]
        answers = set()
        for _ in range(4):
            streams = [(conn, conn.request("GET", f"{target}?model={GROUP}&strict=true")) for conn in conns for _ in range(5)]
            answers |= {conn.answer(stream).status for conn, stream in streams}
        return answers

    assert flooded(*world_, 128 * MIB, flood) == {502}


def test_others_are_served_while_one_takes_all_downloads(shelf):
    world_, file = shelf(timeouts={"paused_ms": 0})
    gateway = world_[0]

    def flood(stack):
        conns = [stack.enter_context(H2(gateway.port, window=SLICE)) for _ in range(7)]
        held = [(conn, ask(conn, 40, FILE)) for conn in conns]
        return sum((codes(conn, streams) for conn, streams in held), collections.Counter())

    found = flooded(*world_, 64 * MIB, flood)
    assert found["200"] == 100 and found["too_many_downloads_on_connection"] > 0 and found["too_many_downloads"] > 0, found
    assert found.total() == 280 and len(found) == 3, found
    assert len(file.heads) == 100
    until(lambda: gateway.get(FILE, headers={"Range": "bytes=0-9"}).status == 206, "the places are free again")


def test_others_are_served_while_one_leaves_its_downloads_unread(shelf):
    """The provider's connections are let go, and somebody else's download finds its place."""
    world_, file = shelf(timeouts={"paused_ms": 100})
    gateway = world_[0]

    def flood(stack):
        for _ in range(5):
            conn = stack.enter_context(H2(gateway.port, window=SLICE))
            for stream in ask(conn, 16, FILE):
                assert conn.wait_head(stream)[":status"] == "200"
        until(lambda: file.left == 80, "each of the provider's connections is let go")
        return gateway.get(FILE, headers={"Range": "bytes=0-9"}).status

    assert flooded(*world_, 64 * MIB, flood) == 206
    assert len(file.heads) == 81


class Crawler:
    """Takes a byte now and then of each of its downloads."""

    def __init__(self, stack, port):
        self.socks = [stack.enter_context(contextlib.closing(H1(port, receive_buffer=SLICE).request("GET", FILE))).sock for _ in range(20)]
        self.conn = stack.enter_context(H2(port, window=1))
        self.streams = ask(self.conn, 8, FILE)
        for stream in self.streams:
            self.conn.wait_head(stream)

    def crawl(self):
        for sock in self.socks:
            with contextlib.suppress(OSError):
                sock.setblocking(False)
                sock.recv(1)
        for stream in self.streams:
            if not self.conn.over(stream):
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self.conn.h2.increment_flow_control_window(1, stream)
        self.conn.flush()
        while not self.conn.gone and select.select([self.conn.sock], [], [], 0)[0]:
            with contextlib.suppress(Broken):
                self.conn.pump()


def test_others_are_served_while_one_reads_a_byte_at_a_time(shelf):
    """Each connection of HTTP/1 is closed, of HTTP/2 each stream."""
    world_, file = shelf(timeouts={"paused_ms": 0}, min_read_rate=MIB // 16, read_grace_ms=5000)
    gateway = world_[0]

    def flood(stack):
        crawlers = [Crawler(stack, gateway.port) for _ in range(3)]

        def all_cut_off():
            for crawler in crawlers:
                crawler.crawl()
            page = Page(gateway.get("/metrics").body.decode())
            return page.sum("tranche_client_connections") <= 2 + len(crawlers) and \
                all(crawler.conn.over(stream) for crawler in crawlers for stream in crawler.streams)

        until(all_cut_off, "who crawls is cut off")
        return [crawler.conn.answer(crawler.conn.request("GET", "/v1/models")).status for crawler in crawlers]

    assert flooded(*world_, 64 * MIB, flood) == [200, 200, 200]
    until(lambda: file.left == 84, "each of the provider's connections is let go")


def test_others_are_served_while_one_connection_wants_more_calls_than_it_may_have(world, sim):  # noqa: F811
    world_ = world(max_calls_per_connection=20)
    sim.fault({"hang": "answer"}, method="GET", path="*/files/file-hang*", times=2000)

    def flood(stack):
        for _ in range(8):
            conn = stack.enter_context(H2(world_[0].port))
            streams = [conn.request("GET", f"/v1/files/file-hang{n}?model={GROUP}") for n in range(100)]
            for stream in streams[20:]:
                refused(conn.answer(stream), "too_many_requests_on_connection")
            assert not any(conn.over(stream) for stream in streams[:20])

    flooded(*world_, 64 * MIB, flood)
