"""A receiver of webhooks: keeps what it was sent, and answers what a test tells it to."""

import base64
import hashlib
import hmac
import http.server
import ssl
import threading
import time

from harness import PATIENCE


class Delivery:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body, self.at = path, headers, body, time.time()

    @property
    def id(self):
        return self.headers["webhook-id"]

    def __repr__(self):
        return f"<{self.path} {self.headers} {self.body!r}>"


class Receiver:
    def __init__(self, tls=None, host="127.0.0.1", port=0):
        """`tls`: {"cert": file, "key": file}, as tests of TLS make them."""
        self.deliveries, self.news = [], threading.Condition()
        self.script = {}  # path -> answers that are still to be given: (status, {header: value}, body)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers, answer = receiver.take(Delivery(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                try:
                    self.wfile.write(answer)
                except OSError:
                    pass  # who does not read on has left

            do_GET = do_POST

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256

            def handle_error(self, *_):
                pass  # who breaks a connection off has his reason

        self.server = Server((host, port), Handler)
        self.server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls["cert"], tls["key"])
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.host, self.port, self.scheme = host, self.server.server_address[1], "https" if tls else "http"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def url(self, path, host=None):
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"

    def answer(self, path, *answers):
        """What the next deliveries to a path are answered: a status, or (status, headers), or (status, headers, body); then 200."""
        whole = [(a, {}, b"") if isinstance(a, int) else (*a, b"") if len(a) == 2 else a for a in answers]
        with self.news:
            self.script.setdefault(path, []).extend(whole)

    def take(self, delivery):
        with self.news:
            self.deliveries.append(delivery)
            self.news.notify_all()
            left = self.script.get(delivery.path)
            return left.pop(0) if left else (200, {}, b"")

    def at(self, path):
        with self.news:
            return [d for d in self.deliveries if d.path == path]

    def wait(self, path, count=1, timeout=PATIENCE):
        """The first `count` deliveries to a path."""
        deadline = time.monotonic() + timeout
        with self.news:
            while True:
                got = [d for d in self.deliveries if d.path == path]
                if len(got) >= count:
                    return got[:count]
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{len(got)} of {count} deliveries to {path}")
                self.news.wait(left)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def key_of(secret):
    return base64.b64decode(secret[len("whsec_"):]) if secret.startswith("whsec_") else secret.encode()


def signature(secret, delivery):
    """What a delivery has to be signed with, by the rule of Standard Webhooks."""
    text = b".".join([delivery.id.encode(), delivery.headers["webhook-timestamp"].encode(), delivery.body])
    return "v1," + base64.b64encode(hmac.new(key_of(secret), text, hashlib.sha256).digest()).decode()


def signatures(delivery):
    return delivery.headers["webhook-signature"].split(" ")
