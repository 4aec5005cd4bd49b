"""The programs that are measured, each with one worker, its own generated configuration in the benchmark's directory and a free port of the loopback."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time

import client

MASTER_KEY = "sk-bench-master"
GROUP = "gpt-4o-batch"
DEPLOYMENT = "gpt-4o-batch-eu"  # longer than the group's name: every line is rewritten and the file grows
AZURE_KEY = "azure-key-bench"
VERSION = "api-version=2024-10-21"
NO_LIMIT = 1 << 40
OPENAI_KEY = "sk-bench-openai"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def tls_files(directory):
    """(certificate, key) that all servers of a run share: EC, P-256."""
    cert, key = (os.path.join(directory, f"bench-{name}.pem") for name in ("cert", "key"))
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True, timeout=60)
    return cert, key


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


class Program:
    """A started process; its output goes to a file, so that it never waits for a reader."""

    def __init__(self, name, argv, directory, cpus=None, env=None):
        self.name = name
        self.log_path = os.path.join(directory, f"{name}.log")
        self.began = time.perf_counter()
        with self.output() as log:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=directory,
                                          preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)

    def output(self):
        return open(self.log_path, "wb")

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def fail(self, why):
        tail = "\n".join(self.log().splitlines()[-10:])
        self.stop()
        raise client.WireError(f"{self.name} {why}:\n{tail}")

    def wait_log(self, pattern, timeout=20):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log(), re.M)
            if found:
                return found
            if self.popen.poll() is not None:
                break
            time.sleep(0.001)
        self.fail("did not start")

    def wait_port(self, timeout=20):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.popen.poll() is None:
            try:
                client.connect(self.port).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.001)
        self.fail("does not listen")

    def stop(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()

    # --- what the kernel tells about the process that does the work ---

    def worker_pid(self):
        return self.popen.pid

    def cpu_s(self):
        """Seconds of CPU that all its threads have used."""
        total = 0
        pid = self.worker_pid()
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def memory(self):
        """(resident, peak) bytes."""
        with open(f"/proc/{self.worker_pid()}/status") as f:
            text = f.read()
        return tuple(int(re.search(rf"{name}:\s+(\d+) kB", text).group(1)) << 10 for name in ("VmRSS", "VmHWM"))

    def forget_peak(self):
        with open(f"/proc/{self.worker_pid()}/clear_refs", "w") as f:
            f.write("5")


class Sim(Program):
    """tranche-sim: one Azure account that takes files of any size."""

    def __init__(self, binary, directory, data_dir, cpus=None, name="sim"):
        path = os.path.join(directory, f"{name}.json")
        account = {"name": "eu", "kind": "azure", "port": 0, "key": AZURE_KEY,
                   "deployments": [{"name": DEPLOYMENT, "model": "gpt-4o", "sku": "GlobalBatch"}],
                   "switches": {"max_file_bytes": NO_LIMIT, "max_lines": 1000000000, "max_files": 0}}
        with open(path, "w") as f:
            json.dump({"control_port": 0, "time": {"validate_ms": 1, "run_ms": 86000000},
                       "accounts": [account, {"name": "oai", "kind": "openai", "port": 0, "key": OPENAI_KEY,
                                              "switches": {"max_file_bytes": NO_LIMIT, "max_lines": 1000000000, "max_files": 0}}]}, f)
        super().__init__(name, [binary, "--config", path, "--data-dir", data_dir], directory, cpus)
        ready = json.loads(self.wait_log(r"^\{.*\}$").group(0))
        self.control_port, self.port, self.openai_port = ready["control"], ready["accounts"]["eu"], ready["accounts"]["oai"]
        self.base = f"http://127.0.0.1:{self.port}"
        self.headers = {"api-key": AZURE_KEY}

    def reset(self):
        client.request(self.control_port, "POST", "/control/reset", body=b"")


class AzurePaths:
    """Whoever only passes on: the client speaks Azure itself."""

    headers = {"api-key": AZURE_KEY}

    def upload_target(self, purpose):
        return f"/openai/files?{VERSION}"

    def content_target(self, native, tagged):
        return f"/openai/files/{native}/content?{VERSION}"

    def poll_target(self, native, tagged):
        return f"/polls/openai/batches/{native}?{VERSION}"


class Direct(AzurePaths):
    """No proxy at all: what the client and the simulator cost."""

    name = "direct"

    def __init__(self, sim):
        self.sim = sim
        self.port = sim.port

    def cpu_s(self):
        return 0.0

    def memory(self):
        return (0, 0)

    def forget_peak(self):
        pass

    def stop(self):
        pass


class Nginx(AzurePaths, Program):
    """Plain streaming: Debian's nginx with buffering off and all else as it comes, or with `buffers` as large as tranche's."""

    LARGE_BUFFERS = """    client_body_buffer_size 64k;
    proxy_buffer_size 64k;
    proxy_buffers 8 64k;
    proxy_busy_buffers_size 128k;
"""

    def __init__(self, binary, directory, sim, polls, cpus=None, name="nginx", buffers="", workers=1):
        home = os.path.join(directory, name)
        os.makedirs(home, exist_ok=True)
        self.port, self.h2_port, self.tls_port = free_port(), free_port(), free_port()
        temp = "".join(f"    {kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;\n" if os.geteuid() == 0 else ""
        with open(f"{home}/nginx.conf", "w") as f:
            f.write(f"""daemon off;
{user}worker_processes {workers};
pid {home}/pid;
error_log {home}/error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log {home}/access.log;
{temp}{buffers}    client_max_body_size 0;
    keepalive_requests 1000000000;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_request_buffering off;
    proxy_buffering off;
    upstream sim {{ server 127.0.0.1:{sim.port}; keepalive 64; keepalive_requests 1000000000; }}
    upstream polls {{ server 127.0.0.1:{polls.port}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{self.port};
        listen 127.0.0.1:{self.h2_port} http2;
        listen 127.0.0.1:{self.tls_port} ssl http2;
        ssl_certificate {tls_files(directory)[0]};
        ssl_certificate_key {tls_files(directory)[1]};
        location / {{ proxy_pass http://sim; }}
        location /polls/ {{ proxy_pass http://polls/; }}
        location = /health/liveliness {{ return 200 "ok"; }}
    }}
}}
""")
        super().__init__(name, [binary, "-p", home, "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf"], directory, cpus)
        self.first_answer_s = first_answer(self)

    def worker_pid(self):
        return children_of(self.popen.pid)[0]


class H2o(AzurePaths, Program):
    """Debian's h2o 2.2.5: it has no streaming of request bodies."""

    def __init__(self, binary, directory, sim, polls, cpus=None):
        home = os.path.join(directory, "h2o")
        os.makedirs(home, exist_ok=True)
        self.port = self.h2_port = free_port()
        self.tls_port = free_port()
        cert, key = tls_files(directory)
        user = "user: root\n" if os.geteuid() == 0 else ""
        with open(f"{home}/h2o.conf", "w") as f:
            f.write(f"""{user}num-threads: 1
temp-buffer-path: {home}
access-log: {home}/access.log
error-log: {home}/error.log
limit-request-body: {NO_LIMIT}
http1-request-timeout: 600
proxy.timeout.io: 600000
proxy.timeout.keepalive: 60000
listen:
  host: 127.0.0.1
  port: {self.port}
listen:
  host: 127.0.0.1
  port: {self.tls_port}
  ssl:
    certificate-file: {cert}
    key-file: {key}
hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://127.0.0.1:{sim.port}/"
      "/polls/":
        proxy.reverse.url: "http://127.0.0.1:{polls.port}/"
""")
        super().__init__("h2o", [binary, "-c", f"{home}/h2o.conf"], directory, cpus)
        self.first_answer_s = first_answer(self)


class HAProxy(AzurePaths, Program):
    """Debian's HAProxy: one thread, connections to the provider shared by all clients."""

    def __init__(self, binary, directory, sim, polls, cpus=None):
        home = os.path.join(directory, "haproxy")
        os.makedirs(home, exist_ok=True)
        self.port, self.h2_port, self.tls_port = free_port(), free_port(), free_port()
        cert, key = tls_files(directory)
        with open(f"{home}/pair.pem", "w") as pair:
            for path in (cert, key):
                with open(path) as f:
                    pair.write(f.read())
        with open(f"{home}/log.sock.cfg", "w") as f:
            f.write(f"""global
    nbthread 1
    maxconn 20000
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    http-reuse always
    timeout connect 10s
    timeout client 600s
    timeout server 600s
frontend front
    bind 127.0.0.1:{self.port}
    bind 127.0.0.1:{self.h2_port} proto h2
    bind 127.0.0.1:{self.tls_port} ssl crt {home}/pair.pem alpn h2,http/1.1
    monitor-uri /health/liveliness
    use_backend polls if {{ path_beg /polls/ }}
    default_backend sim
backend sim
    server sim 127.0.0.1:{sim.port}
backend polls
    http-request replace-path /polls(.*) \\1
    server polls 127.0.0.1:{polls.port}
""")
        super().__init__("haproxy", [binary, "-f", f"{home}/log.sock.cfg", "-db"], directory, cpus)
        self.first_answer_s = first_answer(self)


class OpenAIPaths:
    """Whoever speaks OpenAI's paths to one provider: its batch is the provider's own."""

    def make_batch(self, polls):
        headers = {"Authorization": f"Bearer {OPENAI_KEY}"}
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
                "body": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello world!"}]}}
        kind, before, after = client.form_around("batch", "one.jsonl")
        answer = client.request(polls.openai_port, "POST", "/v1/files", dict(headers, **{"Content-Type": kind}),
                                before + json.dumps(line).encode() + after)
        body = {"input_file_id": json.loads(answer)["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        answer = client.request(polls.openai_port, "POST", "/v1/batches", dict(headers, **{"Content-Type": "application/json"}),
                                json.dumps(body).encode())
        self.batch = json.loads(answer)["id"]

    def poll_target(self, native, tagged):
        return f"/v1/batches/{self.batch}"

    def upload_target(self, purpose):
        return "/v1/files"


class LiteLLM(OpenAIPaths, Program):
    """LiteLLM's proxy of PyPI, one worker, without a database: its users' shortest configuration for batches of OpenAI."""

    headers = {"Authorization": f"Bearer {MASTER_KEY}"}

    def __init__(self, binary, directory, sim, polls, cpus=None):
        path = os.path.join(directory, "litellm.yaml")
        self.port = free_port()
        with open(path, "w") as f:
            json.dump({"model_list": [{"model_name": GROUP, "litellm_params": {"model": "openai/gpt-4o", "api_key": OPENAI_KEY}}],
                       "general_settings": {"master_key": MASTER_KEY}}, f)
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": directory, "OPENAI_API_KEY": OPENAI_KEY,
               "OPENAI_API_BASE": f"http://127.0.0.1:{polls.openai_port}/v1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        super().__init__("litellm", [binary, "--config", path, "--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1"],
                         directory, cpus, env)
        self.wait_port(120)
        self.first_answer_s = first_answer(self)
        self.make_batch(polls)


class Portkey(OpenAIPaths, Program):
    """Portkey's gateway of npm."""

    def __init__(self, script, directory, sim, polls, cpus=None):
        self.port = free_port()
        self.headers = {"Authorization": f"Bearer {OPENAI_KEY}", "x-portkey-provider": "openai",
                        "x-portkey-custom-host": f"http://127.0.0.1:{polls.openai_port}/v1"}
        super().__init__("portkey", ["node", script, f"--port={self.port}", "--headless"], directory, cpus)
        self.wait_port(60)
        self.first_answer_s = first_answer(self)
        self.make_batch(polls)


class Tranche(Program):
    """Authentication, form, every line, model names, ids: all that it is for."""

    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    more_settings = {}

    def __init__(self, binary, directory, sim, polls, cpus=None, name="tranche", workers=1):
        path = os.path.join(directory, f"{name}.yaml")
        limits = {"max_file_bytes": {"openai": NO_LIMIT, "azure": NO_LIMIT}, "max_other_file_bytes": NO_LIMIT,
                  "max_lines": {"openai": 1000000000, "azure": 1000000000}, "max_connections": 20000,
                  "max_connections_per_address": 20000}
        with open(path, "w") as f:
            json.dump({"model_list": self.model_list(sim, polls),
                       "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
                       "general_settings": {"master_key": MASTER_KEY},
                       # Each poll goes to the provider, as with its peers
                       "tranche_settings": {"spool_dir": directory, "limits": limits, "poll_cache_ms": 0, **self.more_settings}}, f)
        argv = [binary, "--config", path, "--host", "127.0.0.1", "--port", "0", "--num_workers", str(workers)]
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
        super().__init__(name, argv, directory, cpus, env)
        self.port = self.h2_port = int(self.wait_log(r"listening on 127\.0\.0\.1:(\d+)").group(1))
        self.first_answer_s = self.first_answer()
        self.worker = self.find_worker()

    def first_answer(self):
        return first_answer(self)

    def model_list(self, sim, polls):
        return [self.row(GROUP, sim), self.row("polls", polls)]

    @staticmethod
    def row(group, sim):
        return {"model_name": group, "model_info": {"mode": "batch"},
                "litellm_params": {"model": f"azure/{DEPLOYMENT}", "api_base": sim.base, "api_key": AZURE_KEY,
                                   "api_version": VERSION.partition("=")[2]}}

    def find_worker(self):
        """The child that holds a client's connection; the others probe."""
        with client.connect(self.port) as sock:
            inode, deadline = socket_inode_of_peer(sock), time.monotonic() + client.PATIENCE
            while time.monotonic() < deadline:
                for pid in children_of(self.popen.pid):
                    if f"socket:[{inode}]" in files_of(pid):
                        return pid
        self.fail("has no worker")

    def worker_pid(self):
        return self.worker

    def upload_target(self, purpose):
        return "/v1/files" if purpose == "batch" else "/azure/v1/files"

    def content_target(self, native, tagged):
        return f"/v1/files/{tagged}/content"

    def poll_target(self, native, tagged):
        return f"/v1/batches/{tagged}"


class TrancheTls(Tranche):
    """Its one port speaks TLS."""

    def __init__(self, binary, directory, *rest, **more):
        cert, key = tls_files(directory)
        self.more_settings = {"tls": {"cert_file": cert, "key_file": key}}
        super().__init__(binary, directory, *rest, **more)
        self.tls_port = self.port

    def first_answer(self):
        """It is told by the one that speaks clear text."""
        self.wait_port()


class TwoTenants(Tranche):
    """With keys of two tenants, of whom nobody is limited."""

    KEYS = {"hostile": "sk-bench-hostile-0123456789", "good": "sk-bench-good-0123456789"}
    more_settings = {"keys": [{"key_alias": alias, "models": ["*"], "hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest()}
                              for alias, key in KEYS.items()]}

    @classmethod
    def headers_of(cls, tenant):
        return {"Authorization": f"Bearer {cls.KEYS[tenant]}"}


class ManyKeys(Tranche):
    """With a keys file of 100,000 keys, one of which the polls have."""

    NUM = 100000
    KEY = "sk-bench-tenant-of-many-0123456789"
    headers = {"Authorization": f"Bearer {KEY}"}

    def __init__(self, binary, directory, *rest, **more):
        path = os.path.join(directory, "keys.yaml")
        self.more_settings = {"keys_file": path}
        with open(path, "w") as f:
            f.write("keys:\n")
            for n in range(self.NUM):
                key = self.KEY if n == self.NUM // 2 else f"sk-bench-{n}"
                f.write(f"- hash: sha256:{hashlib.sha256(key.encode()).hexdigest()}\n  key_alias: alias-{n}\n  models: [\"*\"]\n")
        super().__init__(binary, directory, *rest, **more)


def files_of(pid):
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def socket_inode_of_peer(sock):
    """The other end's socket on this machine, found by its ports, once it was accepted."""
    mine, theirs = f":{sock.getsockname()[1]:04X}", f":{sock.getpeername()[1]:04X}"
    deadline = time.monotonic() + client.PATIENCE
    while time.monotonic() < deadline:
        with open("/proc/net/tcp") as f:
            for row in list(f)[1:]:
                fields = row.split()
                if fields[1].endswith(theirs) and fields[2].endswith(mine) and int(fields[9]) != 0:
                    return int(fields[9])
    raise client.WireError("the connection is not in /proc/net/tcp")


def first_answer(program):
    """Seconds from the start of the program to the first answer, whatever its status."""
    program.wait_port()
    client.request(program.port, "GET", "/health/liveliness", expect=None)
    return time.perf_counter() - program.began
