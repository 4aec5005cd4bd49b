"""The front door over real sockets: real clients, caps, draining. Its transitions one by one are in tests/unit/test_front*.c."""

import http.client
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from harness import BUILD, SANITIZER, program_env, until  # noqa: E402

DEMO = pathlib.Path(os.environ.get("FRONT_DEMO", BUILD / "tests" / "integration" / "front" / "front_demo"))
pytestmark = pytest.mark.skipif(not DEMO.is_file(), reason=f"{DEMO} is not built")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    where = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-keyout", where / "key.pem", "-out", where / "cert.pem"], check=True, capture_output=True)
    return str(where / "cert.pem"), str(where / "key.pem")


class Demo:
    def __init__(self, *args, tls=None, files=None):
        self.tls = tls is not None
        args = [*args, *(["--tls", *tls] if tls else [])]
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        self.process = subprocess.Popen([DEMO, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=program_env(),
                                        preexec_fn=limit)
        self.port = int(self.process.stdout.readline())

    def connect(self, alpn=None):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if not self.tls:
            return sock
        context = ssl._create_unverified_context()
        if alpn:
            context.set_alpn_protocols([alpn])
        return context.wrap_socket(sock)

    def http(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=ssl._create_unverified_context())
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def url(self, path):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"

    def stats(self):
        client = self.http()
        client.request("GET", "/stats")
        answer = json.loads(client.getresponse().read())
        client.close()
        return answer

    def cpu_ticks(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            _, errors = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, errors = self.process.communicate()
            raise AssertionError(f"did not end: {errors}")
        assert not SANITIZER.search(errors), errors
        assert self.process.returncode == 0, errors


@pytest.fixture
def start():
    made = []

    def make(*args, **kw):
        made.append(Demo(*args, **kw))
        return made[-1]

    yield make
    for demo in made:
        if demo.process.poll() is None:
            demo.stop()


@pytest.fixture(params=["clear", "tls"])
def demo(request, start, certificate):
    return start(tls=certificate if request.param == "tls" else None)


def read_answer(sock):
    """Status of one answer, and all of it."""
    data = b""
    while b"\r\n\r\n" not in data or len(data) < data.index(b"\r\n\r\n") + 4 + length(data):
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return (int(data.split()[1]) if data else 0), data


def reset_close(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def length(data):
    return int(data.split(b"Content-Length: ")[1].split(b"\r\n")[0])


def test_a_python_client_sees_an_early_answer_while_it_still_sends(demo):
    client = demo.http()
    try:
        client.request("POST", "/refuse", body=bytes(20_000_000))
    except (BrokenPipeError, ConnectionResetError):
        pass  # as SDKs do: look for the answer all the same
    assert client.getresponse().status == 401


def test_curl_does_not_send_a_body_that_is_refused(demo, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(bytes(5_000_000))
    out = subprocess.run(["curl", "-ks", "--http1.1", "-H", "Expect: 100-continue", "-T", body, "-X", "POST", "-w", "%{http_code} %{size_upload}",
                          demo.url("/refuse")], capture_output=True, text=True, timeout=60).stdout
    assert out.split()[-2:] == ["401", "0"]


@pytest.mark.parametrize("framing", [[], ["-H", "Transfer-Encoding: chunked"]])
def test_curl_uploads_whole_bodies(demo, tmp_path, framing):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(10_000_003))
    sums = {subprocess.run(["curl", "-ks", version, *extra, "-T", body, "-X", "POST", demo.url("/sink")], capture_output=True, text=True,
                           timeout=60).stdout
            for version, extra in (("--http1.1", framing), ("--http1.1", ["-H", "Expect: 100-continue"]))}
    assert len(sums) == 1 and sums.pop().startswith("10000003 ")


@pytest.mark.skipif(shutil.which("nghttp") is None, reason="nghttp is not installed")
def test_nghttp_uploads_twenty_bodies_at_once(demo, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(3_000_001))
    out = subprocess.run(["nghttp", "-m", "20", "-d", body, demo.url("/sink")], capture_output=True, text=True, timeout=60).stdout.split("\n")
    assert len(out) == 21 and len(set(out)) == 2 and out[0].startswith("3000001 ")


def test_a_connection_is_kept_over_many_requests(demo):
    client = demo.http()
    for n in range(50):
        client.request("POST", "/echo", body=b"x" * n)
        assert client.getresponse().read() == b"x" * n
    assert demo.stats()["connections"] == 2
    client.close()


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_ends_its_request(demo, reset):
    sock = demo.connect()
    sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: demo.stats()["calls"] == 1, "the request arrives")
    if reset:
        reset_close(sock)
    else:
        sock.close()
    until(lambda: demo.stats()["gone"] == 1, "the request is disposed of")


def test_a_slow_handler_slows_the_client_down(demo):
    sock = demo.connect()
    sock.sendall(b"POST /slow?=5000 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
    sock.settimeout(0.5)
    sent = 0
    try:
        while sent < 100_000_000:
            sent += sock.send(bytes(65536))
    except (TimeoutError, ssl.SSLError):
        pass
    assert sent < 30_000_000
    reset_close(sock)
    until(lambda: demo.stats()["gone"] == 1, "the request is disposed of")


def test_a_download_of_a_slow_reader_is_complete(demo):
    client = demo.http()
    client.request("GET", "/download?=30000000")
    answer = client.getresponse()
    assert answer.getheader("content-length") == "30000000"
    assert sum(len(piece) for piece in iter(lambda: answer.read(1_000_000), b"")) == 30_000_000


def test_draining_finishes_an_upload_and_refuses_newcomers(start, certificate):
    for tls in (None, certificate):
        demo = start(tls=tls)
        upload, idle = demo.connect(), demo.connect()
        idle.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(idle)[0] == 200
        upload.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
        until(lambda: demo.stats()["calls"] == 2, "the upload arrives")
        demo.process.send_signal(signal.SIGTERM)
        try:
            assert idle.recv(100) == b""
        except ConnectionResetError:
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", demo.port), timeout=5)
        upload.sendall(b"world")
        status, head = read_answer(upload)
        assert status == 200 and b"Connection: close" in head
        assert demo.process.wait(timeout=20) == 0


def is_ended(sock):
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


def test_a_newcomer_gets_the_place_of_the_oldest_that_has_shown_no_key(start):
    demo = start("--max", "3")
    full = [demo.connect() for _ in range(3)]
    for sock in full:
        sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(sock)[0] == 200
    late = demo.connect()
    late.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_answer(late)[0] == 200
    assert is_ended(full[0])
    for sock in full[1:]:
        sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(sock)[0] == 200


def test_one_address_may_have_so_many_connections(start):
    demo = start("--per-address", "2")
    full = [demo.connect() for _ in range(2)]
    for sock in full:
        sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(sock)[0] == 200
    late = demo.connect()
    try:
        assert late.recv(100) == b""
    except ConnectionResetError:
        pass
    full[0].close()

    def served():
        sock = demo.connect()
        try:
            sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
            return read_answer(sock)[0] == 200
        except OSError:
            return False

    until(served, "a connection that ends makes room")


def test_with_few_descriptors_newcomers_are_served_and_nothing_spins(start):
    demo = start(files=100)
    socks = [socket.create_connection(("127.0.0.1", demo.port), timeout=20) for _ in range(120)]
    socks[-1].sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_answer(socks[-1])[0] == 200
    assert is_ended(socks[0])
    before = demo.cpu_ticks()
    socks[-1].settimeout(1)
    with pytest.raises(TimeoutError):
        socks[-1].recv(100)
    assert demo.cpu_ticks() - before < 30  # hundredths of a second
    socks[-1].settimeout(20)
    socks[-1].sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_answer(socks[-1])[0] == 200


def test_a_hundred_uploads_at_once(demo):
    answers = []

    def upload():
        client = demo.http()
        client.request("POST", "/sink", body=bytes(300_000))
        answers.append(client.getresponse().read())
        client.close()

    threads = [threading.Thread(target=upload) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 100 and set(answers) == {b"300000 0\n"}


def test_a_tls_client_without_alpn_speaks_http_1(start, certificate):
    demo = start(tls=certificate)
    sock = demo.connect()
    sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_answer(sock)[0] == 200
    assert demo.connect("http/1.1").selected_alpn_protocol() == "http/1.1"
    assert demo.connect("h2").selected_alpn_protocol() == "h2"
