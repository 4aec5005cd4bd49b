"""What downloads and other calls may hold: places per connection and per worker, a provider's connection while the client
does not read, and how the rest comes when it reads again.
"""

import hashlib
import re
import threading

import pytest

from harness import MASTER_KEY, PATIENCE, balanced_config, envelope, until
from test_download_stream import openai_at, patterned
from test_upload_abuse import MIB, Watch
from wire import H2, SLICE, Broken, make_door, make_provider, sanitized, wire_certificate  # noqa: F401

CONTENT = "/v1/files/file-1/content"
both_versions = pytest.mark.parametrize("kind", ["h1", "h2"])


class RangedFile:
    """A provider with one file, larger than what the kernel's buffers on the way hold. `behave(n)` may change its n-th answer:
    {"ranges": False, "etag": ..., "status": ...}.
    """

    def __init__(self, make_provider, size=64 * MIB, behave=lambda n: {}, **always):
        self.size, self.behave, self.always = size, behave, {"etag": '"v1"', "ranges": True, "head": b"", "shift": 0, **always}
        self.heads = []
        self.lock = threading.Lock()
        self.block = patterned(0, 1 << 20)
        self.provider = make_provider(self.serve)

    def bytes(self, first, last):
        at = first % len(self.block)
        whole = self.block[at:] + self.block * ((last - first) // len(self.block) + 1)
        return whole[:last - first + 1]

    def serve(self, provider, sock, head):
        with self.lock:
            self.heads.append(head)
            how = {**self.always, **self.behave(len(self.heads))}
        if "status" in how:
            sock.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\n{}" % how["status"])
            return
        wanted = re.search(rb"\r\nRange: bytes=(\d+)-(\d*)\r\n", head)
        size = how.get("size", self.size)
        first, last, status = 0, size - 1, b"200 OK\r\n"
        if wanted and how["ranges"]:
            first = int(wanted.group(1)) + how["shift"]
            last = int(wanted.group(2) or size - 1)
            status = b"206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n" % (first, last, size)
        if how["etag"]:
            status += b"ETag: " + how["etag"].encode() + b"\r\n"
        framing = b"Transfer-Encoding: chunked\r\n\r\n" if how.get("chunked") else b"Content-Length: %d\r\n\r\n" % (last - first + 1)
        sock.sendall(b"HTTP/1.1 " + status + how["head"] + framing)
        while first <= last:
            piece = self.bytes(first, min(last, first + MIB - 1))
            first += len(piece)
            provider.write(sock, b"%x\r\n" % len(piece) + piece + b"\r\n" if how.get("chunked") else piece)
        if how.get("chunked"):
            sock.sendall(b"0\r\n\r\n")

    def asked(self, name):
        return [re.search(rb"\r\n" + name + rb": ([^\r]*)", head) for head in self.heads]


class Reader:
    """A client that takes nothing of its answer until it is told to."""

    def __init__(self, door, target=CONTENT, headers=None):
        self.is_h1 = door.is_h1
        kw = {"receive_buffer": SLICE} if door.is_h1 else {"receive_buffer": SLICE, "window": SLICE}
        self.call = door.call("GET", target, headers, **kw)
        if not self.is_h1:
            self.call.conn.held.add(self.call.stream)
            self.call.conn.wait_head(self.call.stream)

    def read_on(self):
        if not self.is_h1:
            self.call.conn.held.clear()
            self.call.conn.give_back(len(self.call.conn.streams[self.call.stream]["data"]), self.call.stream)
            self.call.conn.flush()

    def answer(self):
        self.read_on()
        return self.call.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call.close()


def config_of(file, paused_ms=100, **limits):
    return openai_at(file.provider, tranche_settings={"timeouts": {"paused_ms": paused_ms}, "limits": limits})


# --- a client that does not read ---

@both_versions
def test_a_client_that_does_not_read_leaves_the_provider_and_gets_the_rest_later(make_door, make_provider, kind):
    file = RangedFile(make_provider)
    door = make_door(kind, config_of(file), workers=1)
    with Reader(door) as reader:
        assert file.provider.closed.wait(PATIENCE), "the provider's connection is still held"
        answer = reader.answer()
    assert answer.status == 200 and answer.body == file.bytes(0, file.size - 1)
    first, *later = file.asked(b"Range")
    assert first is None and later
    assert all(re.fullmatch(rb"bytes=[1-9]\d*-%d" % (file.size - 1), m.group(1)) for m in later)
    assert all(m.group(1) == b'"v1"' for m in file.asked(b"If-Range")[1:])


@both_versions
@pytest.mark.parametrize("ranges", [True, False], ids=["honoured", "ignored"])
def test_the_rest_of_a_range_is_the_rest_of_it(make_door, make_provider, kind, ranges):
    file = RangedFile(make_provider, behave=lambda n: {"ranges": ranges})
    door = make_door(kind, config_of(file), workers=1)
    with Reader(door, headers={"Range": "bytes=1000000-20000000"}) as reader:
        assert file.provider.closed.wait(PATIENCE)
        answer = reader.answer()
    assert answer.status == 206 and answer.headers["content-range"] == f"bytes 1000000-20000000/{file.size}"
    assert answer.body == file.bytes(1000000, 20000000)


@both_versions
@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"', None])
def test_a_provider_that_ignores_ranges_is_read_once_more_and_no_oftener(make_door, make_provider, kind, etag):
    file = RangedFile(make_provider, ranges=False, etag=etag)
    door = make_door(kind, config_of(file), workers=1)
    with Reader(door) as reader:
        assert file.provider.closed.wait(PATIENCE)
        answer = reader.answer()
    assert answer.body == file.bytes(0, file.size - 1)
    assert len(file.heads) == 2
    assert (file.asked(b"If-Range")[1] is not None) == (etag == '"v1"'), "a weak validator is none for If-Range"


CHANGED = {
    "another_etag": {"etag": '"v2"'},
    "another_etag_whole": {"etag": '"v2"', "ranges": False},
    "another_size": {"size": 64 * MIB + 1},
    "another_size_whole": {"size": 63 * MIB, "ranges": False, "etag": None},
    "another_place": {"shift": 1},
    "another_coding": {"head": b"Content-Encoding: gzip\r\n"},
    "another_day": {"head": b"Last-Modified: Mon, 02 Nov 2026 00:00:00 GMT\r\n"},
    "gone": {"status": 404},
    "not_satisfiable": {"status": 416},
}


@both_versions
@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_what_is_not_known_to_be_the_same_file_is_never_put_together(make_door, make_provider, kind, change):
    file = RangedFile(make_provider, behave=lambda n: change if n > 1 else {},
                      head=b"Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n")
    door = make_door(kind, config_of(file), workers=1)
    with Reader(door) as reader:
        assert file.provider.closed.wait(PATIENCE)
        with pytest.raises(Broken):
            reader.answer()
    assert door.gateway.get("/health/liveliness").status == 200


@both_versions
def test_a_provider_that_is_busy_when_the_rest_is_wanted_is_asked_again(make_door, make_provider, kind):
    file = RangedFile(make_provider, behave=lambda n: {"status": 503} if n == 2 else {})
    door = make_door(kind, config_of(file), workers=1)
    with Reader(door) as reader:
        assert file.provider.closed.wait(PATIENCE)
        answer = reader.answer()
    assert answer.body == file.bytes(0, file.size - 1)


@both_versions
@pytest.mark.parametrize("how", [{"chunked": True, "etag": None}, {"head": b"Content-Encoding: br\r\n"}], ids=["no_size", "coded"])
def test_a_file_that_could_not_be_known_again_is_not_left(make_door, make_provider, kind, how):
    file = RangedFile(make_provider, **how)
    door = make_door(kind, config_of(file), workers=1)
    with Reader(door) as reader:
        assert file.provider.stalled.wait(PATIENCE)
        assert not file.provider.closed.wait(0.5)
        answer = reader.answer()
    assert answer.body == file.bytes(0, file.size - 1) and len(file.heads) == 1


@both_versions
def test_a_client_that_leaves_while_the_provider_is_left_takes_its_place_along(make_door, make_provider, kind):
    file = RangedFile(make_provider)
    door = make_door(kind, config_of(file, max_downloads=1), workers=1)
    with Reader(door):
        assert file.provider.closed.wait(PATIENCE)
        envelope(door.gateway.get(CONTENT), 503)
    assert until(lambda: door.gateway.get(CONTENT, headers={"Range": "bytes=0-9"}).status == 206, "the place is free")


@both_versions
def test_a_client_that_reads_nothing_at_all_is_cut_off(make_door, make_provider, kind):
    file = RangedFile(make_provider)
    door = make_door(kind, config_of(file, paused_ms=0, read_grace_ms=3000), workers=1)
    with Reader(door) as reader:
        assert file.provider.closed.wait(PATIENCE), "it holds the provider for ever"
        with pytest.raises(Broken):
            reader.answer()
        if kind == "h2":  # the stream alone
            assert reader.call.conn.answer(reader.call.conn.request("GET", "/v1/models")).status == 200


# --- places ---

def refused(answer, code):
    envelope(answer, 503)
    assert answer.json()["error"]["code"] == code
    assert 1 <= int(answer.headers["retry-after"]) <= 5


def test_a_connection_has_so_many_downloads_and_other_requests_go_on(make_door, make_provider):
    file = RangedFile(make_provider)
    door = make_door("h2", config_of(file, paused_ms=0, max_downloads_per_connection=3), workers=1)
    with H2(door.gateway.port, window=SLICE) as conn:
        held = [conn.request("GET", CONTENT) for _ in range(3)]
        conn.held.update(held)
        for stream in held:
            conn.wait_head(stream)
        refused(conn.answer(conn.request("GET", CONTENT)), "too_many_downloads_on_connection")
        assert conn.answer(conn.request("GET", "/v1/models")).status == 200
        assert door.gateway.get(CONTENT, headers={"Range": "bytes=0-9"}).status == 206
        waits = conn.request("GET", CONTENT, {"Range": "bytes=0-9"})
        conn.reset(held[0])
        assert conn.answer(waits).status == 206


def test_a_worker_has_so_many_downloads_over_all_connections(make_door, make_provider):
    file = RangedFile(make_provider)
    door = make_door("h1", config_of(file, paused_ms=0, max_downloads=3), workers=1)
    readers = [Reader(door) for _ in range(3)]
    until(lambda: len(file.heads) == 3, "three are under way")
    refused(door.gateway.get(CONTENT), "too_many_downloads")
    door.call("GET", CONTENT).close()  # leaves the queue
    with door.call("GET", CONTENT, {"Range": "bytes=0-9"}) as waits:
        readers.pop().call.close()
        assert waits.answer().status == 206
    assert door.gateway.get("/v1/models").status == 200
    assert readers[0].answer().body == file.bytes(0, file.size - 1)
    assert until(lambda: door.gateway.get(CONTENT, headers={"Range": "bytes=0-9"}).status == 206, "a place is free")
    for reader in readers:
        reader.call.close()


def test_a_connection_has_so_many_requests_that_call(make_door, sim):
    config = balanced_config(sim, ("eu",), tranche_settings={"limits": {"max_calls_per_connection": 4}})
    door = make_door("h2", config, workers=1)
    sim.fault({"hang": "answer"}, account="eu", method="GET", path="/openai/batches/*", times=100)
    with H2(door.gateway.port) as conn:
        streams = [conn.request("GET", "/v1/batches/batch_1") for _ in range(4)]
        refused(conn.answer(conn.request("GET", "/v1/batches/batch_2")), "too_many_requests_on_connection")
        assert conn.answer(conn.request("GET", "/v1/models")).status == 200
        assert door.gateway.get("/v1/files").status == 200
        conn.reset(streams[0])
        assert conn.answer(conn.request("GET", "/v1/files")).status == 200


def test_a_worker_waits_for_so_many_answers_of_its_providers(make_door, sim):
    config = balanced_config(sim, ("eu",), tranche_settings={"limits": {"max_upstream_calls": 5}})
    door = make_door("h2", config, workers=1)
    sim.fault({"hang": "answer"}, account="eu", method="GET", path="/openai/batches/*", times=100)
    with H2(door.gateway.port) as conn:
        for n in range(5):  # each its own: who asks for the same shares a call
            conn.request("GET", f"/v1/batches/batch_{n}")
        sim.wait("eu", "GET", "/openai/batches/*", count=5, phase="received")
        refused(door.gateway.get("/v1/files"), "too_many_upstream_calls")
        refused(door.gateway.upload(), "too_many_upstream_calls")
        assert door.gateway.get("/health/liveliness").status == 200
        assert door.gateway.get("/v1/models").status == 200
    until(lambda: door.gateway.get("/v1/files").status == 200, "the places are free again")


@pytest.mark.plain
def test_five_connections_do_not_hold_five_hundred_of_the_providers(make_door, make_provider):
    """The attack as it was found: 5 HTTP/2 connections with 100 downloads each, none of which is read."""
    file = RangedFile(make_provider)
    door = make_door("h2", config_of(file, paused_ms=500), workers=1)
    watch = Watch(door.gateway)
    conns = [H2(door.gateway.port, window=SLICE) for _ in range(5)]
    try:
        for conn in conns:
            streams = [conn.request("GET", CONTENT) for _ in range(100)]
            conn.held.update(streams)
            for stream in streams:
                conn.wait_head(stream)
            statuses = [conn.streams[stream]["headers"][":status"] for stream in streams]
            assert statuses.count("200") == 16 and statuses.count("503") == 84
        assert len(file.heads) == 80
        if not sanitized():
            assert watch.now() <= 80 * MIB, watch.now()
        for conn in conns:  # and they are read in the end
            conn.held.clear()
            for stream, state in conn.streams.items():
                if state["headers"][":status"] == "200":
                    conn.reset(stream)
        assert door.gateway.get(CONTENT, headers={"Range": "bytes=0-9"}).status == 206
    finally:
        for conn in conns:
            conn.close()


def test_a_client_that_pauses_again_and_again_gets_each_byte_once(make_door, make_provider):
    file = RangedFile(make_provider)
    door = make_door("h2", config_of(file, paused_ms=50), workers=1)
    with H2(door.gateway.port, window=SLICE) as conn:
        stream = conn.request("GET", CONTENT)
        conn.held.add(stream)
        state = conn.streams[stream]
        given = 0
        for n in range(1, 6):
            conn.wait_head(stream)
            # Also when it was closed before we came to look: a slow machine pauses by itself.
            until(lambda: n <= file.provider.breaks == len(file.heads), "the provider's connection is still held")
            for _ in range(400_000 // SLICE + 1):  # so much that the provider is needed again
                while len(state["data"]) - given < SLICE:
                    conn.pump()
                conn.give_back(SLICE, stream)
                given += SLICE
                conn.flush()
        conn.held.clear()
        conn.give_back(len(state["data"]) - given, stream)
        conn.flush()
        answer = conn.answer(stream)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(file.bytes(0, file.size - 1)).digest()
    assert len(file.heads) >= 5
