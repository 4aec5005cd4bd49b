"""A proxy between a command and its server that kills the command at chosen requests: before a byte of the request has gone on, in the
midst of its body, or when its answer is there and the command has not seen it. A request of the kind that is planned waits until it is
known whom to kill; nothing else waits, so that a kill is where it is wanted to be."""

import http.client
import os
import re
import signal
import socket
import threading

BEFORE, BODY, ANSWER, HALF = "before", "body", "answer", "half"  # of the request that the kill is at


class KillProxy:
    def __init__(self, port):
        self.upstream = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.seen = []  # (method, path) of all requests, in order
        self.killed, self._watched = threading.Event(), threading.Event()
        self._plan, self._pid, self._lock = None, None, threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def plan(self, method, pattern, where):
        """Kill at the next request of this kind, and whom watch() names then: the one before is dead."""
        with self._lock:
            self.killed.clear()
            self._watched.clear()
            self._plan, self._pid = (method, re.compile(pattern), where), None

    def watch(self, pid):
        """Whom to kill. Requests of the kind that is planned wait for this."""
        with self._lock:
            self._pid = pid
            self._watched.set()

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _kill(self):
        """Once for each plan. It is told before, because the command's end may be seen at once."""
        with self._lock:
            pid, self._plan, self._pid = self._pid, None, None
            if pid is not None:
                self.killed.set()
                os.kill(pid, signal.SIGKILL)

    def _where(self, method, target):
        with self._lock:
            plan = self._plan
        if not plan or plan[0] != method or not plan[1].search(target):
            return None
        self._watched.wait()
        return plan[2]

    def _serve(self, sock):
        with sock:
            while True:
                try:
                    if not self._one(sock):
                        return
                except OSError:
                    return  # the command is dead, or has what it wants

    def _one(self, sock):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        length = int(found.group(1)) if found else 0
        where = self._where(method, target)
        self.seen.append((method, target))
        if where == BEFORE:
            self._kill()
            return False
        with socket.create_connection(("127.0.0.1", self.upstream)) as up:
            up.sendall(head + b"\r\n\r\n")
            while len(body) < length:
                piece = sock.recv(65536)
                if not piece:
                    return False
                body += piece
            if where == BODY:
                up.sendall(body[:length // 2])
                self._kill()
                return False
            up.sendall(body)
            answer = http.client.HTTPResponse(up, method=method)
            answer.begin()
            content = answer.read()
        if where == ANSWER:
            self._kill()
            return False
        headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "content-length", "connection")]
        out = f"HTTP/1.1 {answer.status} {answer.reason}\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in headers).encode()
        out += f"content-length: {len(content)}\r\n\r\n".encode()
        if where == HALF:
            sock.sendall(out + content[:len(content) // 2])
            self._kill()
            return False
        sock.sendall(out + content)
        return True
