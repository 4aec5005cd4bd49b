"""What the checks of the simulator stand on: a simulator to start, and a client for each provider."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from urllib.parse import urlencode

ROOT = pathlib.Path(__file__).resolve().parents[2]
DAY = 86_400_000
V21 = "2024-10-21"
V25 = "2025-04-01-preview"
CHAT = "/v1/chat/completions"

CONFIG = {
    "control_port": 0,
    "time": {"validate_ms": 1000, "run_ms": 10000, "finalize_ms": 500, "cancel_ms": 1000, "pending_ms": 0},
    "accounts": [
        {"name": "oai", "kind": "openai", "port": 0, "key": "sk-sim", "organization": "org-x",
         "models": ["m1", "m2"], "enqueued_token_limit": 100000},
        {"name": "az", "kind": "azure", "port": 0, "key": "azure-key", "tokens": ["static-token"], "deployments": [
            {"name": "fast", "model": "gpt-4o", "sku": "GlobalBatch", "enqueued_token_limit": 100000, "refusal": "fast"},
            {"name": "slow", "model": "gpt-4o", "sku": "DataZoneBatch", "enqueued_token_limit": 100000, "refusal": "slow"},
            {"name": "online", "model": "gpt-4o", "sku": "Standard"}]},
        {"name": "entra", "kind": "entra", "port": 0, "client_id": "app", "client_secret": "s3cret"},
        {"name": "tokens", "kind": "entra", "port": 0, "app_service_header": "app-header", "ml_secret": "ml-secret",
         "fabric_secret": "fabric-secret", "arc_directory": "@DIRECTORY", "clients": []},
    ],
}


def find_program():
    build = pathlib.Path(os.environ.get("TRANCHE_BUILD_DIR", ROOT / "build" / "dev"))
    return str(build / "tests" / "sim" / "tranche-sim")


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:400]!r}>"


def request(port, method, target, body=None, headers=None, chunked=False):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        c.request(method, target, body, headers or {}, encode_chunked=chunked)
        r = c.getresponse()
        return Answer(r, r.read())
    finally:
        c.close()


def multipart(parts, boundary="xxBOUNDARYxx"):
    out = []
    for headers, content in parts:
        out.append(f"--{boundary}\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in headers).encode() + b"\r\n" + content + b"\r\n")
    return b"".join(out) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def text_part(name, value):
    return [("Content-Disposition", f'form-data; name="{name}"')], value.encode()


def file_part(content, filename="in.jsonl", ctype="application/octet-stream", extra=()):
    headers = [("Content-Disposition", f'form-data; name="file"; filename="{filename}"')]
    if ctype:
        headers.append(("Content-Type", ctype))
    return headers + list(extra), content


def line(custom_id, model="m1", url=CHAT, method="POST", **more):
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": {"model": model, "messages": []}, **more})


def jsonl(*lines):
    return ("\n".join(lines) + "\n").encode()


class Sim:
    def __init__(self, program, config):
        self.dir = tempfile.mkdtemp(prefix="check-sim-")
        path = os.path.join(self.dir, "sim.json")
        pathlib.Path(path).write_text(json.dumps(config).replace("@DIRECTORY", self.dir))
        self.process = subprocess.Popen([program, "--config", path], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": self.dir})
        ready = json.loads(self.process.stdout.readline())
        self.control_port, self.ports = ready["control"], ready["accounts"]
        self.path = path

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(120)
        os.unlink(self.path)
        left = os.listdir(self.dir)
        os.rmdir(self.dir) if not left else None
        return status, left

    def control(self, method, target, body=None):
        return request(self.control_port, method, "/control/" + target, body)

    def reset(self):
        assert self.control("POST", "reset").status == 200

    def switch(self, account, time=None, **set):
        a = self.control("POST", "switches", {"account": account, "set": set, **({"time": time} if time else {})})
        assert a.status == 200, a

    def fault(self, action, **match):
        a = self.control("POST", "faults", {**match, "action": action})
        assert a.status == 200, a

    def advance(self, ms):
        assert self.control("POST", "time", {"advance_ms": ms}).status == 200

    def ledger(self, account):
        return self.control("GET", "ledger").json()["accounts"][account]

    def requests(self, account):
        return self.control("GET", f"requests?account={account}").json()


class Openai:
    """An OpenAI client as small as can be."""
    base, account, model = "/v1", "oai", "m1"

    def __init__(self, sim):
        self.sim = sim
        self.auth = {"Authorization": "Bearer sk-sim"}

    def call(self, method, path, body=None, headers=None, query=None, chunked=False):
        target = self.base + path
        q = {**self.query(), **(query or {})}
        if q:
            target += "?" + urlencode(q)
        return request(self.sim.ports[self.account], method, target, body, {**self.auth, **(headers or {})}, chunked)

    def query(self):
        return {}

    def post_parts(self, parts, chunked=False, headers=None):
        body, ctype = multipart(parts)
        headers = {"Content-Type": ctype, **(headers or {})}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = iter([body[i:i + 7] for i in range(0, len(body), 7)])
        return self.call("POST", "/files", body, headers, chunked=chunked)

    def upload(self, content=None, purpose="batch", filename="in.jsonl", fields=(), **kw):
        content = jsonl(line("a", self.model)) if content is None else content
        return self.post_parts([text_part("purpose", purpose), *[text_part(*f) for f in fields], file_part(content, filename)], **kw)

    def uploaded(self, *args, **kw):
        a = self.upload(*args, **kw)
        assert a.status in (200, 201), a
        return a.json()

    def create(self, file_id, **more):
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}
        return self.call("POST", "/batches", {k: v for k, v in body.items() if v is not ...})

    def created(self, content=None, **more):
        a = self.create(self.uploaded(content)["id"], **more)
        assert a.status in (200, 201), a
        return a.json()

    def batch(self, b):
        return self.call("GET", f"/batches/{b['id']}").json()

    def finished(self, content=None, **more):
        b = self.created(content, **more)
        self.sim.advance(20000)
        return self.batch(b)

    def content(self, file_id):
        a = self.call("GET", f"/files/{file_id}/content")
        assert a.status == 200, a
        return a.body

    def lines(self, file_id):
        return [json.loads(x) for x in self.content(file_id).splitlines()]


class Azure(Openai):
    account, model = "az", "fast"

    def __init__(self, sim, version=V21, v1=False):
        super().__init__(sim)
        self.auth = {"api-key": "azure-key"}
        self.version = version
        self.base = "/openai/v1" if v1 else "/openai"

    def query(self):
        return {"api-version": self.version} if self.version else {}


def is_error(a, status, code=..., param=..., part=None):
    assert a.status == status, a
    e = a.json()["error"]
    assert set(e) >= {"message", "type", "param", "code"}, e
    assert code is ... or e["code"] == code, e
    assert param is ... or e["param"] == param, e
    assert part is None or part in e["message"], e


def is_azure_error(a, status, code, part=None):
    assert a.status == status, a
    e = a.json()["error"]
    assert set(e) == {"code", "message"} and e["code"] == code, e
    assert part is None or part in e["message"], e


CHECKS = []


def check(f):
    CHECKS.append(f)
    return f
