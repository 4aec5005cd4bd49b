"""Downloads on the wire: back-pressure, transfers that break, clients that leave, HEAD and ranges."""

import hashlib
import http.client
import json
import pathlib
import socket
import threading

import pytest
from harness import (DEPLOYMENTS, GROUP, PATIENCE, PROVIDER_KEYS, balanced_config, direct_config, envelope, http_request, lines,
                     renamed, until)
from test_upload_abuse import MIB, Watch, no_sanitizer, send_big
from wire import (H1, H2, SLICE, Broken, H2Call, every_kind, make_door, make_provider, sanitized, stored, wire_certificate)  # noqa: F401

CONTENT = "/v1/files/*/content"


def put(door, data):
    """A file at the simulated OpenAI account; its id."""
    file = door.gateway.uploaded(data, fields={"purpose": "batch"})
    return file["id"]


def mini(count, content="x" * 900):
    return lines("gpt-4o-mini", count=count, content=content)


def get(door, target, method="GET", headers=None):
    with door.call(method, target, headers) as call:
        return call.answer()


@every_kind
def test_content_arrives_byte_for_byte_with_its_length_type_and_name(make_door, sim, kind):
    door = make_door(kind, direct_config(sim))
    for data in (mini(1), mini(5000), mini(3).replace(b"\n", b"\r\n"), mini(2)[:-1]):
        file = put(door, data)
        theirs = http_request(sim.ports["oai"], "GET", f"/v1/files/{file}/content",
                              headers={"Authorization": f"Bearer {PROVIDER_KEYS['oai']}"})
        answer = get(door, f"/v1/files/{file}/content")
        assert answer.status == 200 and answer.body == data == theirs.body
        assert answer.headers["content-length"] == str(len(data))
        for name in ("content-type", "content-disposition"):
            assert answer.headers[name] == theirs.headers[name], name


def test_all_versions_of_http_bring_the_same(make_door, sim):
    doors = [make_door(kind) for kind in ("h1", "h1_tls", "h2", "h2_tls")]
    file = doors[0].gateway.uploaded(lines(count=3000, content="y" * 900))["id"]
    (account, kept), = stored(sim)
    for door in doors:
        answer = get(door, f"/v1/files/{file}/content")
        assert hashlib.sha256(answer.body).hexdigest() == kept["sha256"], door.kind


@every_kind
def test_an_empty_error_file_is_200_with_length_0(make_door, sim, kind):
    door = make_door(kind, balanced_config(sim, accounts=["eu"]))
    gateway = door.gateway
    batch = gateway.wait_batch(sim, gateway.created(gateway.uploaded()["id"])["id"])
    with door.call("GET", f"/v1/files/{batch['error_file_id']}/content") as call:
        answer = call.answer()
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
        call.request("GET", f"/v1/files/{batch['output_file_id']}/content")  # the connection lives on
        assert call.answer().body.count(b"\n") == 3
    assert get(door, f"/v1/files/{batch['error_file_id']}/content", "HEAD").headers["content-length"] == "0"
    part = get(door, f"/v1/files/{batch['error_file_id']}/content", headers={"Range": "bytes=0-10"})
    assert part.status in (200, 416), part


# --- HEAD ---

@every_kind
def test_head_tells_what_get_would_and_sends_no_body(make_door, sim, kind):
    door = make_door(kind, direct_config(sim), workers=1)
    data = mini(3000)
    file = put(door, data)
    whole = get(door, f"/v1/files/{file}/content")
    with door.call("HEAD", f"/v1/files/{file}/content") as call:
        answer = call.answer()
        assert answer.status == 200 and answer.body == b""
        for name in ("content-length", "content-type", "content-disposition"):
            assert answer.headers[name] == whole.headers[name]
        for _ in range(3):  # nothing of a body is left over on the connection
            call.request("HEAD", f"/v1/files/{file}/content")
            assert call.answer().status == 200
            call.request("GET", "/health/liveliness")
            assert call.answer().status == 200
    assert get(door, "/v1/files/file-none/content", "HEAD").status == 404


# --- ranges ---

@pytest.mark.parametrize("provider", ["ignore", "honour"])
@every_kind
def test_a_range_is_206_whether_the_provider_can_or_not(make_door, sim, kind, provider):
    door = make_door(kind, direct_config(sim), workers=1)
    sim.control("POST", "/control/switches", {"account": "oai", "set": {"range": provider}})
    data = mini(400)
    size = len(data)
    file = put(door, data)
    with door.connection() as call:
        for spelled, first, last in (
                ("bytes=0-0", 0, 0), ("bytes=0-99", 0, 99), ("bytes=100-299", 100, 299), (f"bytes={size - 1}-", size - 1, size - 1),
                ("bytes=70000-", 70000, size - 1), ("bytes=0-", 0, size - 1), ("bytes=-1", size - 1, size - 1), ("bytes=-500", size - 500, size - 1),
                (f"bytes=-{size * 2}", 0, size - 1), (f"bytes=10-{size * 2}", 10, size - 1), (f"bytes=0-{size - 1}", 0, size - 1)):
            call.request("GET", f"/v1/files/{file}/content", {"Range": spelled})
            answer = call.answer()
            assert answer.status == 206, (spelled, answer.status)
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}", spelled
            assert answer.headers["content-length"] == str(last - first + 1)
            assert answer.body == data[first:last + 1], spelled
    assert len({r["headers"].get("range") for r in sim.requests("oai") if r["target"].endswith("/content")}) == 11, "not passed on"


@pytest.mark.parametrize("provider", ["ignore", "honour"])
@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_a_range_behind_the_end_is_416_with_the_size(make_door, sim, kind, provider):
    door = make_door(kind, direct_config(sim), workers=1)
    sim.control("POST", "/control/switches", {"account": "oai", "set": {"range": provider}})
    data = mini(10)
    file = put(door, data)
    for spelled in (f"bytes={len(data)}-", f"bytes={len(data)}-{len(data) + 5}", "bytes=99999999999-", "bytes=-0"):
        answer = get(door, f"/v1/files/{file}/content", headers={"Range": spelled})
        envelope(answer, 416)
        assert answer.headers["content-range"] == f"bytes */{len(data)}", (spelled, answer)
    assert get(door, f"/v1/files/{file}/content").body == data


@pytest.mark.parametrize("spelled", ["bytes=0-9,20-29", "bytes=5-4", "bytes=a-b", "lines=0-9", "bytes=", "bytes", "bytes=--1", "bytes=1", "bytes=0x1-5",
                                     "bytes=18446744073709551616-18446744073709551617", "", "bytes=-"])
def test_several_ranges_or_none_that_is_legal_bring_the_whole(make_door, sim, spelled):
    """RFC 9110, 14.2: a Range that is not understood is ignored. Several ranges are allowed to be (14.2), and are."""
    door = make_door("h1", direct_config(sim), workers=1)
    data = mini(10)
    file = put(door, data)
    answer = get(door, f"/v1/files/{file}/content", headers={"Range": spelled})
    if spelled.startswith("bytes=1844"):
        assert answer.status in (200, 416), answer
    else:
        assert (answer.status, answer.body) == (200, data), answer


def test_a_range_means_nothing_to_head_and_to_other_calls(make_door, sim):
    door = make_door("h1", direct_config(sim), workers=1)
    data = mini(10)
    file = put(door, data)
    answer = get(door, f"/v1/files/{file}/content", "HEAD", {"Range": "bytes=0-9"})
    assert answer.status in (200, 206) and answer.body == b""
    assert get(door, f"/v1/files/{file}", headers={"Range": "bytes=0-9"}).json()["id"] == file
    assert get(door, "/v1/files", headers={"Range": "bytes=0-9"}).status == 200


def openai_at(provider, **sections):
    config = {"files_settings": [{"custom_llm_provider": "openai", "api_base": f"http://127.0.0.1:{provider.port}/v1", "api_key": "sk-own"}],
              "general_settings": {"master_key": "sk-master-1234"}}
    config.update(sections)
    return config


def test_a_small_part_of_a_huge_file_does_not_cost_the_huge_file(make_door, make_provider):
    """A provider that ignores ranges and has 1 TB: the part comes, and the provider is told to stop."""
    block = b"0123456789abcdef" * 4096

    def serve(provider, sock, head):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            provider.write(sock, block)

    provider = make_provider(serve)
    door = make_door("h1", openai_at(provider), workers=1)
    answer = get(door, "/v1/files/file-1/content", headers={"Range": "bytes=100000-100015"})
    assert (answer.status, answer.body) == (206, (block * 2)[100000:100016])
    assert provider.closed.wait(PATIENCE), "the provider still sends"


# --- back-pressure ---

def patterned(offset, size):
    """A piece of an endless text of which each byte tells where it is."""
    first = offset // 16
    text = b"".join(b"%015x\n" % n for n in range(first, (offset + size) // 16 + 1))
    return text[offset - first * 16:offset - first * 16 + size]


class BigFile:
    """A provider with one file, which it sends as fast as it is taken; `sent` counts."""

    def __init__(self, make_provider, size, chunked=False):
        self.size, self.chunked = size, chunked
        self.block = patterned(0, 1 << 20)
        self.provider = make_provider(self.serve)

    def serve(self, provider, sock, head):
        framing = b"Transfer-Encoding: chunked" if self.chunked else b"Content-Length: %d" % self.size
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n" + framing + b"\r\n\r\n")
        at = 0
        while at < self.size:
            piece = self.block[:min(len(self.block), self.size - at)]
            at += len(piece)
            provider.write(sock, b"%x\r\n" % len(piece) + piece + b"\r\n" if self.chunked else piece)
        if self.chunked:
            sock.sendall(b"0\r\n\r\n")

    def digest(self):
        whole = hashlib.sha256()
        for at in range(0, self.size, len(self.block)):
            whole.update(self.block[:min(len(self.block), self.size - at)])
        return whole.hexdigest()


def kernel_room():
    """What the kernel's buffers may come to hold on the way from the provider through the gateway to a client: they grow by
    themselves, further on a busy machine, up to the machine's own limits (tcp(7))."""
    most = {name: int(pathlib.Path(f"/proc/sys/net/ipv4/tcp_{name}").read_text().split()[2]) for name in ("rmem", "wmem")}
    return most["rmem"] + 2 * most["wmem"]


@pytest.mark.plain
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@every_kind
def test_a_client_that_does_not_read_stops_the_provider_and_nobody_else(make_door, make_provider, kind, chunked):
    bound = kernel_room() + 8 * MIB
    big = BigFile(make_provider, bound + 24 * MIB, chunked)
    door = make_door(kind, openai_at(big.provider), workers=1)
    watch = Watch(door.gateway)
    kw = {"receive_buffer": SLICE} if door.is_h1 else {"receive_buffer": SLICE, "window": SLICE}
    with door.call("GET", "/v1/files/file-1/content", **kw) as call:
        if not door.is_h1:
            call.conn.held.add(call.stream)  # its window is never opened
            call.conn.wait_head(call.stream)
            # on the same connection others are served
            assert call.conn.answer(call.conn.request("GET", "/v1/models")).status == 200
        assert big.provider.stalled.wait(PATIENCE), "the provider never had to wait"
        for _ in range(20):
            assert door.gateway.get("/health/liveliness").status == 200
        assert big.provider.sent < bound, f"{big.provider.sent >> 20} MiB were taken from the provider for a client that does not read"
        if not sanitized():
            assert watch.now() <= 8 * MIB, watch.now()
        if door.is_h1:
            answer = call.answer()
        else:
            call.conn.held.clear()
            call.conn.give_back(len(call.conn.streams[call.stream]["data"]), call.stream)
            call.conn.flush()
            answer = call.answer()
    assert len(answer.body) == big.size and hashlib.sha256(answer.body).hexdigest() == big.digest()


def test_a_stream_that_is_not_read_does_not_stop_the_others(make_door, make_provider):
    """One connection: a download that nobody reads, and another one that is read to its end meanwhile."""
    big = BigFile(make_provider, 16 * MIB)
    door = make_door("h2", openai_at(big.provider), workers=1)
    with H2(door.gateway.port, window=SLICE) as conn:
        held = conn.request("GET", "/v1/files/file-1/content")
        conn.held.add(held)
        conn.wait_head(held)
        read = conn.answer(conn.request("GET", "/v1/files/file-2/content"))
        assert hashlib.sha256(read.body).hexdigest() == big.digest()
        assert len(conn.streams[held]["data"]) <= SLICE
        conn.held.clear()
        conn.give_back(len(conn.streams[held]["data"]), held)
        conn.flush()
        assert hashlib.sha256(conn.answer(held).body).hexdigest() == big.digest()


@no_sanitizer
@pytest.mark.parametrize("kind", ["h1", "h1_tls", "h2"])
def test_a_download_takes_no_more_memory_than_its_buffers(make_door, make_provider, kind):
    big = BigFile(make_provider, 64 * MIB)
    door = make_door(kind, openai_at(big.provider), workers=1)
    get(door, "/health/liveliness")
    watch = Watch(door.gateway)
    assert len(get(door, "/v1/files/file-1/content").body) == big.size
    assert watch.peak() <= 8 * MIB, f"grew by {watch.peak() >> 10} KiB"


# --- transfers that break ---

@every_kind
@pytest.mark.parametrize("cut", [0, 1, 1000, 70_000, -1], ids=str)
def test_a_file_that_ends_early_is_visibly_broken(make_door, sim, kind, cut):
    door = make_door(kind, direct_config(sim), workers=1)
    data = mini(400)
    file = put(door, data)
    sim.fault({"truncate": cut if cut >= 0 else len(data) + cut}, account="oai", method="GET", path=CONTENT)
    with door.call("GET", f"/v1/files/{file}/content") as call:
        try:
            answer = call.answer()
        except Broken:
            pass
        else:  # nothing had come yet: an error can still be told
            assert cut == 0 and answer.status >= 500, f"{len(answer.body)} of {len(data)} bytes looked whole"
    assert get(door, f"/v1/files/{file}/content").body == data
    assert door.gateway.get("/health/liveliness").status == 200


@every_kind
@pytest.mark.parametrize("how", ["fin", "rst", "half_a_chunk", "bad_chunk"])
def test_a_chunked_file_without_its_end_is_visibly_broken(make_door, make_provider, kind, how):
    def serve(provider, sock, head):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            sock.sendall(b"2710\r\n" + b"x" * 10000 + b"\r\n")
        if how == "half_a_chunk":
            sock.sendall(b"2710\r\n" + b"x" * 50)
        if how == "bad_chunk":
            sock.sendall(b"oops\r\n")
            sock.recv(SLICE)
        if how == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raise OSError("enough")

    door = make_door(kind, openai_at(make_provider(serve)), workers=1)
    with door.call("GET", "/v1/files/file-1/content") as call:
        with pytest.raises(Broken):
            answer = call.answer()
            assert False, f"{len(answer.body)} bytes looked whole"
    assert door.gateway.get("/health/liveliness").status == 200


def test_a_file_without_length_that_the_provider_closes_has_an_end(make_door, make_provider):
    """HTTP/1.0 style: the close is the end (RFC 9112, 6.3), and our client gets an end that it can see."""
    def serve(provider, sock, head):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nConnection: close\r\n\r\n" + b"x" * 100_000)
        raise OSError("enough")

    provider = make_provider(serve)
    for kind in ("h1", "h2"):
        door = make_door(kind, openai_at(provider), workers=1)
        with door.call("GET", "/v1/files/file-1/content") as call:
            answer = call.answer()
            assert answer.body == b"x" * 100_000
            if door.is_h1:
                assert answer.headers.get("transfer-encoding") == "chunked" or answer.headers.get("connection") == "close"


def test_the_sdk_s_own_reader_notices_a_short_file(make_door, sim):
    """Python's http.client raises IncompleteRead where the length is not kept."""
    door = make_door("h1", direct_config(sim), workers=1)
    file = put(door, mini(400))
    sim.fault({"truncate": 100_000}, account="oai", method="GET", path=CONTENT)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        door.gateway.get(f"/v1/files/{file}/content")


# --- clients that leave ---

@every_kind
@pytest.mark.parametrize("leave", ["cancel", "close"])
def test_whoever_leaves_in_the_middle_stops_the_provider(make_door, sim, kind, leave):
    """The provider needs minutes for the file; it is left as soon as the client is."""
    door = make_door(kind, direct_config(sim), workers=1)
    file = put(door, mini(2000))
    sim.fault({"trickle": {"bytes": 4000, "interval_ms": 200}}, account="oai", method="GET", path=CONTENT)
    call = door.call("GET", f"/v1/files/{file}/content")
    if door.is_h1:
        assert call.head()[0] == 200 and call.exactly(1000)
    else:
        call.conn.wait_head(call.stream)
        while not call.conn.streams[call.stream]["data"]:
            call.conn.pump()
    getattr(call, leave)()
    sim.wait("oai", "GET", CONTENT, phase="answered")  # its connection ended: the answer needs 100 s
    assert door.gateway.get("/health/liveliness").status == 200


@every_kind
@pytest.mark.parametrize("leave", ["cancel", "close"])
def test_whoever_leaves_before_the_head_stops_the_provider(make_door, make_provider, kind, leave):
    provider = make_provider(lambda provider, sock, head: provider.wait_for_the_end(sock))
    door = make_door(kind, openai_at(provider), workers=1)
    call = door.call("GET", "/v1/files/file-1/content")
    assert provider.asked.wait(PATIENCE)
    getattr(call, leave)()
    assert provider.closed.wait(PATIENCE), "the provider is still asked"
    assert door.gateway.get("/health/liveliness").status == 200


def test_a_reset_stream_stops_its_provider_and_leaves_the_connection(make_door, sim):
    door = make_door("h2", direct_config(sim), workers=1)
    data = mini(2000)
    file = put(door, data)
    sim.fault({"trickle": {"bytes": 4000, "interval_ms": 200}}, account="oai", method="GET", path=CONTENT)
    with H2(door.gateway.port) as conn:
        stream = conn.request("GET", f"/v1/files/{file}/content")
        conn.wait_head(stream)
        conn.reset(stream)
        sim.wait("oai", "GET", CONTENT, phase="answered")
        assert conn.answer(conn.request("GET", f"/v1/files/{file}/content")).body == data


def test_a_hundred_readers_at_once_each_get_their_own(make_door, sim):
    # All at once: a place that is waited for comes within two seconds, or not at all.
    limits = {"max_downloads": 200, "max_downloads_per_connection": 100, "max_calls_per_connection": 200}
    door = make_door("h1", direct_config(sim, tranche_settings={"limits": limits}))
    files = {put(door, mini(60 + n, f"file {n} " + "z" * 500)): None for n in range(4)}
    for file in files:
        files[file] = get(door, f"/v1/files/{file}/content").body
    calls = [(file, door.call("GET", f"/v1/files/{file}/content")) for _ in range(25) for file in files]
    for file, call in calls:
        assert call.answer().body == files[file]
        call.close()
    with H2(door.gateway.port) as conn:
        streams = [(file, conn.request("GET", f"/v1/files/{file}/content")) for _ in range(25) for file in files]
        for file, stream in streams:
            assert conn.answer(stream).body == files[file]


@pytest.mark.long
@no_sanitizer
@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_a_gigabyte_comes_down_in_constant_memory(make_door, make_provider, kind):
    big = BigFile(make_provider, 1 << 30)
    door = make_door(kind, openai_at(big.provider), workers=1)
    get(door, "/health/liveliness")
    watch = Watch(door.gateway)
    with door.call("GET", "/v1/files/file-1/content") as call:
        if door.is_h1:
            status, headers = call.head()
            left = int(headers["content-length"])
            while left:
                left -= len(call.exactly(min(left, MIB)))
        else:
            seen = 0
            state = call.conn.streams[call.stream]
            while not state["ended"]:
                call.conn.pump()
                seen += len(state["data"])
                state["data"].clear()
            assert seen == big.size
    assert watch.peak() <= 8 * MIB, f"grew by {watch.peak() >> 10} KiB"
