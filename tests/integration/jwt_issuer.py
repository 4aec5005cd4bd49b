"""An issuer of tokens: keys and signatures by the program openssl, and a server that publishes the key set."""

import base64
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time

ISSUER = "https://issuer.example"
AUDIENCE = "tranche"


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout


def der_item(data, at=0):
    """Tag, content, and what follows it."""
    size, begin = data[at + 1], at + 2
    if size & 0x80:
        begin = at + 2 + (size & 0x7f)
        size = int.from_bytes(data[at + 2:begin], "big")
    return data[at], data[begin:begin + size], begin + size


def der_items(data):
    at, items = 0, []
    while at < len(data):
        _, content, at = der_item(data, at)
        items.append(content)
    return items


class Key:
    """A key pair of one algorithm."""

    def __init__(self, kid, alg="RS256"):
        self.kid, self.alg = kid, alg
        kind = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if alg == "ES256" else ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        self.pem = openssl("genpkey", "-algorithm", *kind)

    def jwk(self, **more):
        _, bits = der_items(der_item(openssl("pkey", "-pubout", "-outform", "DER", data=self.pem))[1])
        if self.alg == "ES256":
            point = bits[2:]  # a byte of unused bits, and 4: not compressed
            jwk = {"kty": "EC", "crv": "P-256", "x": b64(point[:32]), "y": b64(point[32:])}
        else:
            n, e = der_items(der_item(bits[1:])[1])
            jwk = {"kty": "RSA", "n": b64(n.lstrip(b"\0")), "e": b64(e)}
        return {**jwk, "kid": self.kid, "use": "sig", **more}

    def signature(self, data):
        options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"] if self.alg == "PS256" else []
        handle, path = tempfile.mkstemp()
        try:
            os.write(handle, self.pem)
            os.close(handle)
            made = openssl("dgst", "-sha256", "-sign", path, *options, data=data)
        finally:
            os.unlink(path)
        if self.alg != "ES256":
            return made
        return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in der_items(der_item(made)[1]))

    def token(self, header=None, **claims):
        """A token that is good for ten minutes, unless the claims say otherwise; None takes a claim away."""
        now = int(time.time())
        whole = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "iat": now, "sub": "someone", **claims}
        whole = {name: value for name, value in whole.items() if value is not None}
        head = {"alg": self.alg, "kid": self.kid, "typ": "JWT", **(header or {})}
        text = b64(json.dumps(head)) + "." + b64(json.dumps(whole))
        return text + "." + b64(self.signature(text.encode()))


class Issuer:
    """A server on this machine; what it answers may be changed at any time."""

    def __init__(self, *keys):
        self.keys, self.status, self.body, self.headers = list(keys), 200, None, {}
        self.asked, self._cond = 0, threading.Condition()
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = issuer.answer()
                self.send_response(issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                with issuer._cond:
                    issuer.asked += 1
                    issuer._cond.notify_all()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self):
        return self.body if self.body is not None else json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()

    def wait_asked(self, times, patience):
        with self._cond:
            assert self._cond.wait_for(lambda: self.asked >= times, patience), f"asked {self.asked} times"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
