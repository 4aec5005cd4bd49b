"""What the tests stand on: the simulated providers, the real gateway, and a plain HTTP client that hides nothing.

Nothing here waits for time to pass. Whoever waits, waits for an event (a line of a log, an answer, the end of a process)
and gives up at a deadline.
"""

import atexit
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
import uuid
from urllib.parse import quote, urlencode

from words import lacking, names

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TRANCHE_BUILD_DIR", ROOT / "build" / "dev")).resolve()
MASTER_KEY = "sk-master-1234"
PROVIDER_KEYS = {
    "eu": "azure-key-eu-5c1f", "us": "azure-key-us-77aa", "sw": "azure-key-sw-0b0b", "oai": "sk-provider-oai-9e9e",
}
DEPLOYMENTS = {"eu": "gpt-4o-batch-eu", "us": "gpt-4o-batch-us", "sw": "gpt-4o-batch-sw"}
GROUP = "gpt-4o-batch"
PATIENCE = float(os.environ.get("TRANCHE_TEST_PATIENCE", "60"))  # seconds until an event that does not come is a failure
PATIENT_DATABASE = "8s"  # timeouts.database_ms of tests that are not about a database that stands still: a busy machine may take its time
SANITIZER = re.compile(r"ERROR: (Address|Leak|Undefined\w*)Sanitizer|runtime error:|ERROR: libFuzzer")

ANSWER_HEADERS = names("header of an answer")
DEATH = re.compile(r"(worker|prober) \d+ \(pid [^)]*\) (ended|did not end)|no heartbeat for")


def find_binary(name):
    """A program of the build under test, wherever its CMakeLists.txt puts it."""
    for candidate in (BUILD / "server" / name, BUILD / "tests" / "sim" / name, BUILD / name, BUILD / "bin" / name):
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise FileNotFoundError(f"{name} is not in {BUILD}: build it first (scripts/test does)")


def program_env(extra=None):
    """An environment without anything that configures a gateway by accident."""
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")}
    keep["ASAN_OPTIONS"] = "detect_leaks=1:exitcode=99"
    keep["UBSAN_OPTIONS"] = "print_stacktrace=1"
    keep.update(extra or {})
    return keep


def until(condition, what, timeout=PATIENCE):
    """Ask again and again until `condition()` is true; each question has to be an event of its own (a request, a wait)."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        threading.Event().wait(0.01)


class Process:
    """A program whose output is read as it comes, so that a test can wait for a line."""

    started = []  # all that this process started, for end_all()

    def __init__(self, argv, env=None, cwd=None):
        self._lines = []
        self._rest = b""  # of a line that has not ended yet
        self._news = threading.Condition()
        self._closed = False
        self.popen = subprocess.Popen(argv, env=program_env(env), cwd=cwd, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        os.set_blocking(self.popen.stdout.fileno(), False)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        Process.started.append(self)

    def _take(self):
        """Take what the program has written up to now. Under the lock."""
        while not self._closed:
            try:
                piece = os.read(self.popen.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + piece).split(b"\n")
            if not piece:
                lines, self._closed = [self._rest] if self._rest else [], True
            self._lines += [line.decode("utf-8", "replace") for line in lines]
            self._news.notify_all()

    def _read(self):
        more = select.poll()
        more.register(self.popen.stdout, select.POLLIN)
        while not self._closed:
            more.poll()
            with self._news:
                self._take()
        self.popen.stdout.close()  # end_all() knows this program for longer than its test runs

    @property
    def pid(self):
        return self.popen.pid

    @property
    def lines(self):
        """All that it has written, up to now: what stood there before an answer came is in it."""
        with self._news:
            self._take()
            return list(self._lines)

    @property
    def log(self):
        return "\n".join(self.lines)

    def wait_line(self, pattern, timeout=PATIENCE, start=0):
        """The match in the first line from `start` on that has one."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self._lines[start:]:
                    found = regex.search(line)
                    if found:
                        return found
                start = len(self._lines)
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    raise AssertionError(f"no line matches {pattern!r} in:\n" + "\n".join(self._lines))
                self._news.wait(left)

    def send(self, signum):
        self.popen.send_signal(signum)

    def wait(self, timeout=PATIENCE):
        return self.popen.wait(timeout)

    def wait_output_end(self, timeout=PATIENCE):
        """Every process that holds the output has ended: the program and all its children."""
        self._reader.join(timeout)
        return not self._reader.is_alive()

    def abandon(self):
        """End it with all its children, at once: a start that failed must not leave them running for ever."""
        try:
            os.killpg(self.pid, signal.SIGKILL)  # the session is its own
        except ProcessLookupError:
            pass
        self.popen.wait()

    def stop(self, timeout=PATIENCE):
        if self.popen.poll() is None:
            self.send(signal.SIGTERM)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise AssertionError("did not end after SIGTERM; its output:\n" + self.log) from None


@atexit.register
def end_all():
    """Whoever was forgotten, by a test that failed at a bad moment, ends with the tests."""
    for process in Process.started:
        if process.popen.poll() is None:
            process.abandon()


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # lower-case name -> value
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:600]!r}>"


def http_request(port, method, target, body=None, headers=None, tls=False, timeout=PATIENCE * 3):
    """One HTTP/1.1 request on a connection of its own. `body`: bytes, str, an iterable (chunked), or a JSON value."""
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    elif isinstance(body, str):
        body = body.encode()
    if tls:
        conn = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=ssl._create_unverified_context())
    else:
        conn = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        conn.request(method, target, body=body, headers=headers, encode_chunked=True)
        got = conn.getresponse()
        data = got.read()
        return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, data)
    finally:
        conn.close()


def multipart(fields, file=None, boundary=None, filename="requests.jsonl", content_type="application/octet-stream"):
    """(body, content type) of a form; `fields` is a list of pairs, a value of None marks where the file goes."""
    boundary = boundary or uuid.uuid4().hex
    out = b""
    for name, value in fields:
        out += f"--{boundary}\r\n".encode()
        if value is None:
            out += f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'.encode()
            if content_type:
                out += f"Content-Type: {content_type}\r\n".encode()
            out += b"\r\n" + file + b"\r\n"
        else:
            out += f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    out += f"--{boundary}--\r\n".encode()
    return out, f"multipart/form-data; boundary={boundary}"


def renamed(data, model):
    """What a provider gets of lines that name the group: the same with its deployment's name."""
    return data.replace(json.dumps(GROUP).encode(), json.dumps(model).encode())


def lines(model=GROUP, count=3, url="/v1/chat/completions", content="Hello world!"):
    """Input lines as LiteLLM's batches page shows them."""
    out = []
    for n in range(1, count + 1):
        body = {"model": model, "messages": [{"role": "system", "content": "You are a helpful assistant."},
                                             {"role": "user", "content": content}], "max_tokens": 1000}
        out.append(json.dumps({"custom_id": f"request-{n}", "method": "POST", "url": url, "body": body}))
    return ("\n".join(out) + "\n").encode()


def is_probe(request):
    path, _, query = request["target"].partition("?")
    return request["method"] == "GET" and path.endswith("/batches") and "limit=1" in query.split("&")


def is_upkeep(request):
    """One of the prober's calls for its ledgers: it rebuilds them, follows batches and counts files."""
    return "(upkeep)" in request["headers"].get("user-agent", "")


class Sim(Process):
    """tranche-sim: the providers that the gateway talks to, and the ledger of what they were really asked to do."""

    def __init__(self, directory, config):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"sim-{uuid.uuid4().hex}.json"
        path.write_text(json.dumps(config))
        super().__init__([find_binary("tranche-sim"), "--config", str(path)])
        try:
            ready = json.loads(self.wait_line(r"^\{.*\}$").group(0))
        except BaseException:
            self.abandon()
            raise
        self.control_port = ready["control"]
        self.ports = ready["accounts"]
        self.config = config

    def control(self, method, target, body=None, timeout=PATIENCE * 3):
        answer = http_request(self.control_port, method, target, body, timeout=timeout)
        assert answer.status in (200, 201, 204, 408), f"{method} {target}: {answer}"
        return answer

    def reset(self):
        self.control("POST", "/control/reset")

    def fault(self, action, account=None, method=None, path=None, times=1, skip=0):
        fault = {"account": account, "method": method, "path": path, "times": times, "skip": skip, "action": action}
        return self.control("POST", "/control/faults", fault).json()["id"]

    def clear_faults(self):
        self.control("DELETE", "/control/faults")

    def release(self, after_ms=0):
        """What a fault holds for a time goes on in so long, once there is something: a test says when, whatever a machine's speed is."""
        until(lambda: self.control("POST", f"/control/release?after_ms={after_ms}").json()["released"], "something is held")

    def ledger(self, account):
        return self.control("GET", "/control/ledger").json()["accounts"][account]

    def ledgers(self, accounts):
        """Of several accounts at one moment."""
        found = self.control("GET", "/control/ledger").json()["accounts"]
        return [found[account] for account in accounts]

    def created(self, what, accounts=None):
        """How many files or batches were really made, over all accounts or the named ones."""
        ledger = self.control("GET", "/control/ledger").json()["accounts"]
        return sum(a["creates"][what] for name, a in ledger.items()
                   if (accounts is None or name in accounts) and "creates" in a)

    def requests(self, account=None, probes=False, upkeep=False):
        """What the providers were asked, in order; without the gateway's own health probes and upkeep unless asked for."""
        kinds = {a["name"]: a["kind"] for a in self.config["accounts"]}
        names = [account] if account else [n for n in self.ports if kinds[n] != "entra"]
        seen = [r for n in names for r in self.control("GET", f"/control/requests?account={n}").json()]
        return [r for r in seen if (upkeep or not is_upkeep(r)) and (probes or not is_probe(r))]

    def wait(self, account, method, path, count=1, phase="answered", timeout=PATIENCE):
        query = urlencode({"account": account, "method": method, "path": path, "count": count, "phase": phase,
                           "timeout_ms": int(timeout * 1000)})
        answer = self.control("GET", f"/control/wait?{query}", timeout=timeout + 5)
        assert answer.status == 200, f"the simulator never saw {count} {phase} {method} {path} at {account}"

    def advance(self, milliseconds):
        self.control("POST", "/control/time", {"advance_ms": milliseconds})

    def base(self, account):
        return f"http://127.0.0.1:{self.ports[account]}"

    def switch(self, account, **values):
        """Switches of one account (tests/sim/README.md), until the next reset."""
        self.control("POST", "/control/switches", {"account": account, "set": values})

    # Token services (accounts of kind entra).

    def token_calls(self, account=None, **wanted):
        """The ledger of token calls, in order; `wanted`: source, tenant, client_id, object_id, scope, status, number, ..."""
        query = f"?account={account}" if account else ""
        calls = sorted(self.control("GET", f"/control/tokens{query}").json()["calls"], key=lambda c: c["order"])
        return [c for c in calls if all(c[k] == v for k, v in wanted.items())]

    def tokens(self, account=None, **wanted):
        """What was issued: number, text, audience, whose, issued_ms, expires_ms, expired, revoked, accepted, refused."""
        query = f"?account={account}" if account else ""
        tokens = self.control("GET", f"/control/tokens{query}").json()["tokens"]
        return [t for t in tokens if all(t[k] == v for k, v in wanted.items())]

    def revoke(self, **which):
        """Tokens that were issued are refused from now on; `which`: account, tenant, client_id, object_id, audience, number;
        answer="edge", "bare" (a 401 without `error`) or "challenge". Returns how many."""
        return self.control("POST", "/control/revoke", which).json()["revoked"]

    def set_client(self, client_id, account="entra", **members):
        """Change a client, or add one: secrets, assertions, certificates, disabled, ... (rotation)."""
        self.control("POST", "/control/entra", {"account": account, "client": {"client_id": client_id, **members}})

    def set_identities(self, identities, account="entra"):
        """The managed identities that there are from now on."""
        self.control("POST", "/control/entra", {"account": account, "identities": identities})


def azure_account(name, **more):
    account = {"name": name, "kind": "azure", "port": 0, "key": PROVIDER_KEYS.get(name, f"azure-key-{name}"),
               "deployments": [{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch"}]}
    account.update(more)
    return account


def keyless_account(name, **switches):
    """An Azure resource whose keys are switched off."""
    return azure_account(name, switches={"local_auth": False, **switches})


def entra_account(name="entra", **more):
    """Token services. Without `clients` and `identities`: one client of any name, one identity of the machine."""
    return {"name": name, "kind": "entra", "port": 0, **more}


def entra_client(client_id="app-1", tenant="contoso", secrets=("s3cret~of.app+1",), **more):
    return {"client_id": client_id, "tenant": tenant, "secrets": list(secrets), **more}


def sim_config(accounts=None, **time_ms):
    """The world of most tests: three Azure resources with one batch deployment each, and one OpenAI project."""
    if accounts is None:
        accounts = [azure_account("eu"), azure_account("us"), azure_account("sw"),
                    {"name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"],
                     "models": ["gpt-4o-mini", "gpt-4o"]}]
    # Long on the simulator's clock, which the tests move: no batch ends while a test still wants it running.
    times = {"validate_ms": 20_000, "run_ms": 600_000, "finalize_ms": 20_000, "cancel_ms": 60_000, "pending_ms": 0}
    times.update(time_ms)
    return {"control_port": 0, "time": times, "accounts": accounts}


def azure_deployment(sim, account, group=GROUP, **params):
    values = {"model": f"azure/gpt-4o-batch-{account}", "api_base": sim.base(account),
              "api_key": PROVIDER_KEYS.get(account, f"azure-key-{account}"), "api_version": "2024-10-21"}
    values.update(params)
    return {"model_name": group, "litellm_params": {k: v for k, v in values.items() if v is not None},
            "model_info": {"mode": "batch"}}


def balanced_config(sim, accounts=("eu", "us", "sw"), **sections):
    """LiteLLM's load-balanced batch configuration over Azure deployments of one name."""
    config = {"model_list": [azure_deployment(sim, a) for a in accounts],
              "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
              "general_settings": {"master_key": MASTER_KEY}}
    config.update(sections)
    return config


def direct_config(sim, **sections):
    """No balancing: files_settings says where each provider is."""
    config = {"files_settings": [
                  {"custom_llm_provider": "azure", "api_base": sim.base("eu"), "api_key": PROVIDER_KEYS["eu"],
                   "api_version": "2024-10-21"},
                  {"custom_llm_provider": "openai", "api_base": sim.base("oai") + "/v1", "api_key": PROVIDER_KEYS["oai"]}],
              "general_settings": {"master_key": MASTER_KEY}}
    config.update(sections)
    return config


class Gateway(Process):
    """The real program with a generated configuration, on a free port of the loopback."""

    databases = None  # engines.Given, where gateways of this test have a database that it does not name

    def __init__(self, directory, config=None, args=(), env=None, workers=2, host_port=True, host="127.0.0.1"):
        self.secrets = [k for k in PROVIDER_KEYS.values()]
        self.deaths_expected = False
        self.tls = False
        argv = [find_binary("tranche")]
        if config is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self.config_path = directory / f"config-{uuid.uuid4().hex}.yaml"
            self.database = self.databases.url_for(directory, config) if self.databases is not None else None
            self.write_config(config)
            argv += ["--config", str(self.config_path)]
        if host_port:
            argv += ["--host", host, "--port", "0", "--num_workers", str(workers)]
        super().__init__(argv + list(args), env=env)
        try:
            self.port = int(self.wait_line(r"listening on (?:" + re.escape(host) + r"|127\.0\.0\.1|0\.0\.0\.0|\[::\]):(\d+)").group(1))
        except BaseException:
            self.abandon()
            raise
        self.url = f"http://127.0.0.1:{self.port}"

    def write_config(self, config):
        if not isinstance(config, str):  # a system call that no list has ends the process, and its test fails; a poll sees what a test has just done
            settings = {"seccomp": "kill", "poll_cache_ms": 0, **(config.get("tranche_settings") or {})}
            settings["timeouts"] = {"database_ms": PATIENT_DATABASE, **(settings.get("timeouts") or {})}
            config = {**config, "tranche_settings": settings}
        if self.databases is not None:
            config = self.databases.text_of(config, self.database)
        self.config_path.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))

    def request(self, method, target, body=None, headers=None, key=MASTER_KEY, timeout=PATIENCE * 3):
        headers = dict(headers or {})
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        answer = http_request(self.port, method, target, body, headers, tls=self.tls, timeout=timeout)
        self.check(answer, method)
        return answer

    def check(self, answer, method="GET"):
        """What holds for every answer, errors too."""
        assert answer.headers.get("x-request-id"), f"no x-request-id in {answer}"
        assert not lacking(set(answer.headers), ANSWER_HEADERS), f"a header without a row in server README 11: {answer}"
        seen = repr(answer.headers) + answer.body[:1 << 20].decode("latin-1")
        for secret in self.secrets:
            assert secret not in seen, f"a provider's key came back in {answer}"
        if answer.status >= 400 and method != "HEAD":
            envelope(answer)

    def get(self, target, **kw):
        return self.request("GET", target, **kw)

    def post(self, target, body=None, **kw):
        return self.request("POST", target, body, **kw)

    def delete(self, target, **kw):
        return self.request("DELETE", target, **kw)

    def upload(self, data=None, target="/v1/files", fields=None, file_first=False, filename="requests.jsonl",
               content_type="application/octet-stream", **kw):
        data = lines() if data is None else data
        pairs = list((fields or {}).items())
        pairs = [("purpose", "batch")] + pairs if "purpose" not in dict(pairs) else pairs
        pairs = [("file", None)] + pairs if file_first else pairs + [("file", None)]
        body, form = multipart(pairs, data, filename=filename, content_type=content_type)
        headers = dict(kw.pop("headers", None) or {})
        headers["Content-Type"] = form
        return self.request("POST", target, body, headers=headers, **kw)

    def uploaded(self, *args, **kw):
        answer = self.upload(*args, **kw)
        assert answer.status == 200, answer
        return answer.json()

    def create(self, file_id, target="/v1/batches", **more):
        headers = more.pop("headers", None)
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        body.update(more)
        return self.request("POST", target, body, headers=headers)

    def created(self, file_id, **kw):
        answer = self.create(file_id, **kw)
        assert answer.status == 200, answer
        return answer.json()

    def wait_batch(self, sim, batch_id, status="completed", target="/v1/batches"):
        """Move the simulator's clock until the batch is where it should be."""
        for _ in range(60):
            answer = self.get(f"{target}/{quote(batch_id)}")
            assert answer.status == 200, answer
            batch = answer.json()
            if batch["status"] == status:
                return batch
            assert batch["status"] not in ("failed", "completed", "expired", "cancelled"), batch
            sim.advance(60_000)
        raise AssertionError(f"never {status}: {batch}")

    def workers(self):
        """Pids of the master's children."""
        out = []
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                out += [int(p) for p in (task / "children").read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue  # a thread that ended meanwhile
        return out

    def finish(self, sim=None):
        """SIGTERM, and what must hold of every run: a clean end, no report of a sanitizer, no key in the log, none sent upstream."""
        code = self.popen.poll()
        if code is None:
            code = self.stop()
        if not self.wait_output_end():
            os.killpg(self.pid, signal.SIGKILL)  # the session is the gateway's own
            raise AssertionError("a child outlived the master:\n" + self.log)
        log = self.log
        assert not SANITIZER.search(log), log
        for secret in self.secrets + [MASTER_KEY]:
            assert secret not in log, f"a key is in the log:\n{log}"
        if not self.deaths_expected:
            assert code == 0, f"exit code {code}:\n{log}"
            assert not DEATH.search(log), f"a child died:\n{log}"
        if sim is not None and sim.popen.poll() is None:
            check_upstream_requests(sim.requests(probes=True, upkeep=True))


COMMON_HEADERS = {"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "connection", "expect",
                  "transfer-encoding", "authorization", "api-key"}


def check_upstream_requests(requests):
    """No credential of a client, nothing of its SDK's and at most ten headers of our own went to a provider."""
    for request in requests:
        headers = request["headers"]
        assert MASTER_KEY not in json.dumps(headers), request
        assert MASTER_KEY not in request["target"], request
        assert not [h for h in headers if h.startswith("x-stainless") or h in ("cookie", "x-litellm-model")], request
        assert len([h for h in headers if h not in COMMON_HEADERS]) <= 10, request


def envelope(answer, status=None, **wanted):
    """The error envelope with exactly its four keys; returns what is inside."""
    if status is not None:
        assert answer.status == status, answer
    assert answer.headers.get("content-type", "").startswith("application/json"), answer
    error = answer.json()["error"]
    # The management API has FastAPI's `detail` besides (tenants statement A2).
    assert list(answer.json()) == ["error"] + (["detail"] if answer.status == 422 and "detail" in answer.json() else []), answer
    assert set(error) == {"message", "type", "param", "code"}, answer
    assert isinstance(error["message"], str) and error["message"], answer
    assert isinstance(error["type"], str) and error["type"], answer
    assert error["param"] is None or isinstance(error["param"], str), answer
    # A number is one that a provider has there (vLLM does); digits as a text are LiteLLM's of a key: the status again.
    code = error["code"]
    assert code is None or type(code) is int or (isinstance(code, str) and (
        not code.isdigit() or code == str(answer.status))), answer
    for name, value in wanted.items():
        assert error[name] == value, answer
    return error


class Ports:
    """Ports that a test may use, leave and use again: below those that the kernel gives to whoever asks for any, so that no other
    program gets one of them meanwhile. Each process of tests has a block for itself, by a name that the kernel frees with it."""

    FIRST, BLOCK = 10_000, 100

    def __init__(self):
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            self.end = min(int(file.read().split()[0]), 32768)
        self.name, self.ports = None, None

    def take_block(self):
        blocks = list(range(self.FIRST, self.end - self.BLOCK, self.BLOCK))
        random.SystemRandom().shuffle(blocks)
        for first in blocks:
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0tranche-test-ports-{first}")
            except OSError:  # another process has it
                name.close()
                continue
            self.name, self.ports = name, itertools.cycle(range(first, first + self.BLOCK))
            return

    def any(self):
        if self.ports is None:
            self.take_block()
        for _ in range(self.BLOCK if self.ports is not None else 0):
            port = next(self.ports)
            with socket.socket() as s:
                try:
                    s.bind(("0.0.0.0", port))
                    return port
                except OSError:  # somebody has it for good
                    continue
        with socket.socket() as s:  # a machine that hands out all ports
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]


PORTS = Ports()


def free_port():
    return PORTS.any()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False


def is_child(pid, role):
    """Whether a process lives and has given itself the name of that role. One that was killed and only waits for its master to
    notice has its name still, and is none."""
    try:
        with open(f"/proc/{pid}/comm") as name:
            return name.read() == f"tranche-{role}\n" and alive(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_keeper(pid):
    """Whether a child is the one that a gateway with a database has besides workers and prober."""
    return is_child(pid, "keeper")


def keeper_of(gateway, other_than=None):
    """Its keeper's pid, as soon as that has given itself its name."""
    return until(lambda: next((pid for pid in gateway.workers() if pid != other_than and is_keeper(pid)), None), "a keeper lives")


def prober_of(gateway, other_than=None):
    """Its prober's, likewise."""
    return until(lambda: next((pid for pid in gateway.workers() if pid != other_than and is_child(pid, "prober")), None), "a prober lives")


def worker_pids(gateway, number=None):
    """Its workers that live; `number`: as soon as there are so many."""
    def now():
        return [pid for pid in sorted(gateway.workers()) if is_child(pid, "worker")]

    if number is None:
        return now()
    return until(lambda: found if len(found := now()) == number else None, f"{number} workers live")


def kill_child(pid):
    """It has ended when this returns, and with it its sockets: nothing that is sent from now on can reach it."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), f"the end of {pid}")
