"""Clients that see each byte: HTTP/1.1 on a plain socket and HTTP/2 frame by frame, on clear text and TLS; and a provider
whose answers a test writes by hand. Its fixtures (make_door, make_provider) are imported by the test files that use them."""

import contextlib
import pathlib
import re
import select
import socket
import ssl
import struct
import subprocess
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest
from harness import MASTER_KEY, PATIENCE, Answer, balanced_config, find_binary

KINDS = ("h1", "h1_tls", "h2", "h2_tls")
SLICE = 65536


class Broken(Exception):
    """The answer ended in a way that no client takes for a whole one."""


def tls_context(alpn):
    context = ssl._create_unverified_context()
    context.set_alpn_protocols([alpn])
    return context


def connect(port, tls=False, alpn="http/1.1", receive_buffer=None):
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(PATIENCE * 2)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        sock = tls_context(alpn).wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
        assert sock.selected_alpn_protocol() == alpn
    return sock


def slam(sock):
    """Close with a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def waiting_at(port, whose=None):
    """So many connections to this port have bytes that nobody has read; `whose`: those that this process has made."""
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    if whose is not None:
        inodes = set()
        for fd in pathlib.Path(f"/proc/{whose}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                inodes.add(str(fd.readlink()))
        made = {row[1] for row in rows if f"socket:[{row[9]}]" in inodes}
        rows = [row for row in rows if row[2] in made]
    return sum(row[1].endswith(f":{port:04X}") and row[4].split(":")[1] != "00000000" for row in rows)


class H1:
    """One HTTP/1.1 connection. `request()` sends a head, `send()` pieces of the body, `answer()` reads one response."""

    def __init__(self, port, tls=False, receive_buffer=None):
        self.sock = connect(port, tls, receive_buffer=receive_buffer)
        self.file = self.sock.makefile("rb", SLICE)
        self.chunked = False
        self.method = None

    def request(self, method, target, headers=None, length=None, key=MASTER_KEY):
        """`length`: bytes of the body to come, "chunked", or None for no body at all."""
        fields = {"Host": "gateway.test"}
        if key is not None:
            fields["Authorization"] = f"Bearer {key}"
        self.chunked = length == "chunked"
        if self.chunked:
            fields["Transfer-Encoding"] = "chunked"
        elif length is not None:
            fields["Content-Length"] = str(length)
        fields.update(headers or {})
        self.method = method
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items())
        self.raw(head.encode("latin-1") + b"\r\n")
        return self

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, data):
        if self.chunked and data:
            data = b"%x\r\n" % len(data) + data + b"\r\n"
        self.sock.sendall(data)

    def finish(self):
        if self.chunked:
            self.sock.sendall(b"0\r\n\r\n")

    def head(self):
        """(status, headers) of the next response, interim ones too."""
        first = self.file.readline(SLICE)
        found = re.match(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n$", first)
        if not found:
            raise Broken(f"no status line but {first!r}")
        headers = {}
        while True:
            line = self.file.readline(SLICE)
            if line == b"\r\n":
                return int(found.group(1)), headers
            if not line.endswith(b"\r\n") or b":" not in line:
                raise Broken(f"no header but {line!r}")
            name, value = line[:-2].decode("latin-1").split(":", 1)
            headers[name.lower()] = value.strip()

    def exactly(self, size):
        data = self.file.read(size)
        if len(data) != size:
            raise Broken(f"{len(data)} of {size} bytes")
        return data

    def chunks(self):
        while True:
            line = self.file.readline(100)
            if not re.match(rb"[0-9a-fA-F]+\r\n$", line):
                raise Broken(f"no chunk but {line!r}")
            size = int(line, 16)
            yield self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise Broken("no line end behind a chunk")
            if size == 0:
                return

    def body(self, status, headers):
        if self.method == "HEAD" or status in (204, 304):
            return b""
        if "content-length" in headers:
            return self.exactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(self.chunks())
        return self.file.read()

    def answer(self):
        interim = []
        try:
            status, headers = self.head()
            while status < 200:
                interim.append(status)
                status, headers = self.head()
            answer = Answer(status, headers, self.body(status, headers))
        except (ConnectionError, ssl.SSLError) as why:
            raise Broken(repr(why)) from why
        answer.interim = interim
        return answer

    def silent(self, seconds=0.1):
        """Nothing is to be read, and the connection is open."""
        deadline = time.monotonic() + seconds
        while select.select([self.sock], [], [], max(0, deadline - time.monotonic()))[0]:
            if not isinstance(self.sock, ssl.SSLSocket):
                return False
            timeout = self.sock.gettimeout()
            self.sock.setblocking(False)
            try:
                self.sock.recv(1)
                return False
            except ssl.SSLWantReadError:
                continue  # a session ticket
            finally:
                self.sock.settimeout(timeout)
        return True

    def at_end(self):
        """The peer has closed, and there was nothing more."""
        try:
            return self.file.read() == b""
        except (ConnectionError, ssl.SSLError):
            return True

    def cancel(self):
        self.file.close()
        slam(self.sock)

    def close(self):
        self.file.close()  # it holds the socket open
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class H2:
    """One HTTP/2 connection with any number of streams. It takes data as fast as it comes, but of streams in `held`."""

    def __init__(self, port, tls=False, window=1 << 20, receive_buffer=None):
        self.sock = connect(port, tls, "h2", receive_buffer)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 28)  # of the connection: one held stream shall not stop the others
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.streams = {}
        self.held = set()
        self.gone = None
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            try:
                self.sock.sendall(data)
            except (ConnectionError, ssl.SSLError) as why:
                self.gone = self.gone or repr(why)

    def request(self, method, target, headers=None, key=MASTER_KEY, end=True):
        fields = [(":method", method), (":scheme", "http"), (":authority", (headers or {}).get(":authority", "gateway.test")), (":path", target)]
        if key is not None:
            fields.append(("authorization", f"Bearer {key}"))
        fields += [(n.lower(), str(v)) for n, v in (headers or {}).items() if n != ":authority"]
        stream = self.h2.get_next_available_stream_id()
        self.streams[stream] = {"headers": None, "interim": [], "data": bytearray(), "ended": False, "reset": None}
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def pump(self):
        """Read once and look at what came."""
        if self.gone:
            raise Broken(self.gone)
        try:
            data = self.sock.recv(SLICE)
        except (ConnectionError, ssl.SSLError) as why:
            self.gone = repr(why)
            raise Broken(self.gone) from why
        if not data:
            self.gone = "closed"
            raise Broken(self.gone)
        for event in self.h2.receive_data(data):
            self.on_event(event)
        self.flush()

    def on_event(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ConnectionTerminated):
            self.gone = f"GOAWAY {event.error_code}" if event.error_code else None
        elif stream is None:
            return
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream["interim"].append(int(dict(event.headers)[":status"]))
        elif isinstance(event, h2.events.ResponseReceived):
            stream["headers"] = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            stream["data"] += event.data
            if event.stream_id not in self.held and event.flow_controlled_length:
                self.give_back(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream["ended"] = True
        elif isinstance(event, h2.events.StreamReset):
            stream["reset"] = event.error_code

    def give_back(self, size, stream):
        try:
            self.h2.acknowledge_received_data(size, stream)
        except h2.exceptions.StreamClosedError:
            pass

    def over(self, stream):
        return self.streams[stream]["ended"] or self.streams[stream]["reset"] is not None

    def send(self, stream, data, piece=16384):
        """All of it, unless the peer has answered or left: then False."""
        view = memoryview(data)
        while view:
            if self.over(stream) or self.gone:
                return False
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(view), piece)
            if room <= 0:
                self.pump()
                continue
            self.h2.send_data(stream, bytes(view[:room]))
            view = view[room:]
            self.flush()
            while select.select([self.sock], [], [], 0)[0]:
                self.pump()
        return True

    def finish(self, stream):
        if not self.over(stream):
            self.h2.end_stream(stream)
            self.flush()

    def wait_head(self, stream):
        while self.streams[stream]["headers"] is None:
            if self.over(stream):
                raise Broken(f"RST_STREAM {self.streams[stream]['reset']}")
            self.pump()
        return self.streams[stream]["headers"]

    def answer(self, stream):
        """The response of the stream once it is whole; a reset before that is Broken."""
        state = self.streams[stream]
        while not self.over(stream):
            self.pump()
        if not state["ended"]:
            raise Broken(f"RST_STREAM {state['reset']} after {len(state['data'])} bytes")
        headers = dict(state["headers"])
        status = int(headers.pop(":status"))
        data = bytes(state["data"])
        if "content-length" in headers and data and int(headers["content-length"]) != len(data):
            raise Broken(f"{len(data)} of {headers['content-length']} bytes")
        answer = Answer(status, headers, data)
        answer.interim = state["interim"]
        return answer

    def silent(self, seconds=0.1):
        return not select.select([self.sock], [], [], seconds)[0]

    def reset(self, stream, code=h2.errors.ErrorCodes.CANCEL):
        try:
            self.h2.reset_stream(stream, code)
        except h2.exceptions.StreamClosedError:
            pass  # answered before
        self.flush()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class H2Call:
    """One request on an HTTP/2 connection of its own, with the methods of H1."""

    def __init__(self, port, tls=False, receive_buffer=None, window=1 << 20):
        self.conn = H2(port, tls, window=window, receive_buffer=receive_buffer)
        self.stream = None

    def request(self, method, target, headers=None, length=None, key=MASTER_KEY):
        headers = dict(headers or {})
        if length not in (None, "chunked"):
            headers["Content-Length"] = length
        self.stream = self.conn.request(method, target, headers, key, end=length is None)
        return self

    def send(self, data):
        self.conn.send(self.stream, data)

    def finish(self):
        self.conn.finish(self.stream)

    def answer(self):
        return self.conn.answer(self.stream)

    def silent(self, seconds=0.1):
        """No answer is on its way. What the connection says about itself does not count."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or self.conn.silent(left):
                return not self.conn.over(self.stream) and self.conn.streams[self.stream]["headers"] is None
            self.conn.pump()

    def cancel(self):
        self.conn.reset(self.stream)
        self.close()

    def close(self):
        self.conn.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Door:
    """One way into a gateway: HTTP version and with or without TLS."""

    def __init__(self, kind, start, sim, certificate):
        self.kind, self.start, self.sim, self.certificate = kind, start, sim, certificate
        self.tls = kind.endswith("_tls")
        self.is_h1 = kind.startswith("h1")
        self.gateway = None

    def open(self, config=None, **kw):
        config = config or balanced_config(self.sim)
        if self.tls:
            tls = {"cert_file": str(self.certificate[0]), "key_file": str(self.certificate[1])}
            config["tranche_settings"] = {**config.get("tranche_settings", {}), "tls": tls}
        self.gateway = self.start(config, sim=self.sim, **kw)
        self.gateway.tls = self.tls
        return self.gateway

    def connection(self, **kw):
        return (H1 if self.is_h1 else H2Call)(self.gateway.port, self.tls, **kw)

    def call(self, method, target, headers=None, length=None, key=MASTER_KEY, **kw):
        return self.connection(**kw).request(method, target, headers, length, key)

    def upload(self, body, form, target="/v1/files", framing="length", pieces=None, key=MASTER_KEY, headers=None,
               check=True):
        """A whole upload. `pieces`: an iterable of sizes that the body is cut into."""
        length = len(body) if framing == "length" else "chunked"
        with self.call("POST", target, {"Content-Type": form, **(headers or {})}, length, key) as call:
            for piece in cut(body, pieces or [SLICE]):
                call.send(piece)
            call.finish()
            answer = call.answer()
        if check:
            self.gateway.check(answer)
        return answer


def cut(data, sizes):
    """`data` in pieces of `sizes`, the last of which repeats."""
    sizes = iter(sizes)
    at, size = 0, 1
    while at < len(data):
        size = next(sizes, size)
        yield data[at:at + size]
        at += size


def stored(sim, accounts=("eu", "us", "sw", "oai")):
    """Each file that the simulator really has, with the account's name."""
    return [(name, file) for name in accounts for file in sim.ledger(name)["files"]]


def sanitized():
    """The program under test carries a sanitizer: its memory says nothing. Who asks is marked `plain`, or decorated by only_plain()."""
    program = pathlib.Path(find_binary("tranche")).read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program


def only_plain(reason):
    """Decorates a test that can say nothing of a build with a sanitizer."""
    skip = pytest.mark.skipif(sanitized(), reason=reason)
    return lambda test: pytest.mark.plain(skip(test))


class Provider:
    """An OpenAI-like server of one's own: `serve(sock, head)` runs on a thread for each request that is no probe and no upkeep."""

    def __init__(self, serve):
        self.serve = serve
        self.socks = []
        self.sent = 0  # bytes of answers that the kernel took
        self.closed = threading.Event()  # the gateway left in the middle of an answer
        self.breaks = 0  # how often it did
        self.asked = threading.Event()
        self.stalled = threading.Event()  # the gateway has taken nothing for half a second
        self.stopped = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLICE)
            self.socks.append(sock)
            threading.Thread(target=self.converse, args=(sock,), daemon=True).start()

    def converse(self, sock):
        try:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    data = sock.recv(SLICE)
                    if not data:
                        return
                    head += data
                if b"limit=1" in head.split(b"\r\n")[0] or b"(upkeep)" in head or b"GET /v1/models " in head:
                    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{"object":"list","data":')
                    sock.close()
                    return
                self.asked.set()
                self.serve(self, sock, head)
        except OSError:
            self.breaks += 1
            self.closed.set()
        finally:
            sock.close()

    def write(self, sock, data):
        view = memoryview(data)
        while view:
            if not select.select([], [sock], [], 0.5)[1]:
                self.stalled.set()
                select.select([], [sock], [])
            try:
                size = sock.send(view[:SLICE], socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            self.sent += size
            view = view[size:]

    def wait_for_the_end(self, sock):
        """Until the gateway closes the connection."""
        if sock.recv(1) == b"":
            raise OSError("closed")

    def stop(self):
        """Each thread sees the end of its connection and closes it: a socket that is closed under a thread which waits for it
        is no socket to select() any more."""
        self.listener.close()
        for sock in self.socks:
            with contextlib.suppress(OSError):  # closed
                sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="session")
def wire_certificate(tmp_path_factory):
    where = tmp_path_factory.mktemp("wire-tls")
    cert, key = where / "cert.pem", where / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def make_door(start, sim, wire_certificate):
    """make_door("h2_tls", config) -> an open Door."""
    def make(kind, config=None, **kw):
        door = Door(kind, start, sim, wire_certificate)
        door.open(config, **kw)
        return door

    return make


@pytest.fixture
def make_provider():
    """make_provider(serve) -> a Provider, stopped after the test."""
    made = []

    def make(serve):
        made.append(Provider(serve))
        return made[-1]

    yield make
    for provider in made:
        provider.stop()


every_kind = pytest.mark.parametrize("kind", KINDS)
