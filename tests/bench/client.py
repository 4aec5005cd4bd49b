"""The client of the benchmark: raw sockets that cost less than what they measure. Files leave by sendfile(), bodies of answers are
thrown away in the kernel."""

import os
import socket
import struct
import time

CHUNK = 1 << 20
PATIENCE = 60  # seconds without any progress until a measurement is given up


class WireError(Exception):
    pass


class Source:
    """A range of a file that is sent again and again."""

    def __init__(self, fd, size, lines):
        self.fd, self.size, self.lines = fd, size, lines

    def read(self):
        return os.pread(self.fd, self.size, 0)


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def head_of(method, target, headers, length=None):
    lines = [f"{method} {target} HTTP/1.1", "Host: bench.invalid"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(sock):
    """(status, headers, first bytes of the body)"""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise WireError(f"the connection ended in the head of an answer: {data[:200]!r}")
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(lines[0].split()[1]), headers, rest


def read_chunked(sock, data):
    body = b""
    while True:
        while b"\r\n" not in data:
            data += more_of(sock)
        size, data = data.split(b"\r\n", 1)
        size = int(size.split(b";")[0], 16)
        while len(data) < size + 2:
            data += more_of(sock)
        body += data[:size]
        data = data[size + 2:]
        if size == 0:
            return body


def more_of(sock):
    more = sock.recv(CHUNK)
    if not more:
        raise WireError("the connection ended in the body of an answer")
    return more


def read_answer(sock):
    """(status, body) of a small answer."""
    status, headers, body = read_head(sock)
    if headers.get("transfer-encoding") == "chunked":
        return status, read_chunked(sock, body)
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        body += more_of(sock)
    return status, body


def request(port, method, target, headers=None, body=None, expect=(200, 201, 204)):
    """One small request on a connection of its own; the answer's body."""
    with connect(port) as sock:
        sock.sendall(head_of(method, target, headers or {}, len(body) if body is not None else None) + (body or b""))
        status, answer = read_answer(sock)
    if expect and status not in expect:
        raise WireError(f"{method} {target}: {status} {answer[:400]!r}")
    return answer


def form_around(purpose, filename):
    """(content type, bytes before the file, bytes after it)"""
    boundary = "5f0cbench7e1d4c2a9b8f6e3d"
    before = (f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
              f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
              "Content-Type: application/octet-stream\r\n\r\n")
    return f"multipart/form-data; boundary={boundary}", before.encode(), f"\r\n--{boundary}--\r\n".encode()


def send_file(sock, source):
    at = 0
    while at < source.size:
        sent = os.sendfile(sock.fileno(), source.fd, at, min(CHUNK, source.size - at))
        if sent == 0:
            raise WireError("the file became shorter")
        at += sent


def upload(port, target, headers, source, purpose="batch"):
    """(seconds from connect to the last byte of the answer, body of the answer)"""
    kind, before, after = form_around(purpose, "requests.jsonl")
    headers = dict(headers, **{"Content-Type": kind})
    head = head_of("POST", target, headers, len(before) + source.size + len(after))
    began = time.perf_counter()
    with connect(port) as sock:
        sock.settimeout(None)  # sendfile wants a blocking socket; a deadline for one system call stays
        for which in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, which, struct.pack("ll", PATIENCE, 0))
        try:
            sock.sendall(head + before)
            send_file(sock, source)
            sock.sendall(after)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered early: the answer tells why
        status, body = read_answer(sock)
    took = time.perf_counter() - began
    if status not in (200, 201):
        raise WireError(f"upload: {status} {body[:400]!r}")
    return took, body


def download(port, target, headers, expected):
    """Seconds from connect to the last byte; the answer must have `expected` bytes."""
    began = time.perf_counter()
    with connect(port) as sock:
        sock.sendall(head_of("GET", target, headers))
        status, got, body = read_head(sock)
        if status != 200:
            raise WireError(f"download: {status} {body[:400]!r}")
        if int(got.get("content-length", -1)) != expected:
            raise WireError(f"download: {got.get('content-length')} bytes announced, {expected} expected")
        left = expected - len(body)
        scratch = bytearray(CHUNK)
        while left > 0:
            n = sock.recv_into(scratch, min(left, CHUNK), socket.MSG_TRUNC)  # dropped by the kernel, not copied
            if n == 0:
                raise WireError(f"download: ended {left} bytes early")
            left -= n
    return time.perf_counter() - began


class Poller:
    """A client that asks the same thing on one kept connection."""

    def __init__(self, port, target, headers):
        self.sock = connect(port)
        self.ask = head_of("GET", target, headers)

    def poll(self):
        """Seconds of one answer."""
        began = time.perf_counter()
        self.sock.sendall(self.ask)
        status, body = read_answer(self.sock)
        took = time.perf_counter() - began
        if status != 200:
            raise WireError(f"poll: {status} {body[:400]!r}")
        return took

    def close(self):
        self.sock.close()
