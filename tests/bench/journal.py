"""What a journal costs: polls and creates with none, with SQLite and with PostgreSQL, in turns of one run; and keepers of a fleet at one
PostgreSQL. Databases are durable here, as an operator's are: each commit waits for the disk."""

import contextlib
import ctypes
import glob
import json
import os
import pwd
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time

import client
import programs

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1:]
WARM_UP = 20


def as_user():
    """The server refuses to run as root: then it runs as the package's own user. It ends with the benchmark, however that ends."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class Cluster:
    """A PostgreSQL of its own, as Debian sets it up, on a Unix socket."""

    def __init__(self, cpus=None):
        self.dir = tempfile.mkdtemp(prefix="tranche-bench-pg-")
        self.server = None
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres")
        subprocess.run([f"{PROGRAMS[0]}/initdb", "-D", f"{self.dir}/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"],
                       check=True, stdout=subprocess.DEVNULL, preexec_fn=as_user, cwd="/", timeout=120)
        self.url = f"postgresql:///postgres?host={self.dir}&user=postgres"
        with open(f"{self.dir}/log", "wb") as log:
            self.server = subprocess.Popen([f"{PROGRAMS[0]}/postgres", "-D", f"{self.dir}/data", "-k", self.dir, "-c", "listen_addresses="],
                                           stdout=log, stderr=log, preexec_fn=as_user, cwd="/")
        if cpus:
            os.sched_setaffinity(self.server.pid, cpus)
        deadline = time.monotonic() + client.PATIENCE
        while self.ask("select 1") != "1":
            if time.monotonic() > deadline or self.server.poll() is not None:
                self.close()
                raise client.WireError("PostgreSQL does not start")
            time.sleep(0.05)

    def ask(self, sql):
        done = subprocess.run([f"{PROGRAMS[0]}/psql", "-X", "-q", "-At", self.url, "-c", sql], capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip()

    def connections(self):
        """Of clients, without the one that asks."""
        return int(self.ask("select count(*) - 1 from pg_stat_activity where backend_type = 'client backend'") or 0)

    def close(self):
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGQUIT)
            self.server.wait(60)
        shutil.rmtree(self.dir, ignore_errors=True)


# --- polls and creates ---

class Journalled(programs.Tranche):
    """A gateway with a database; None: without one."""

    def __init__(self, database, *rest, **more):
        if database is not None:
            self.more_settings = {"database": database}
        super().__init__(*rest, **more)


class Creator:
    """Creates batches of one file on a kept connection."""

    def __init__(self, server, group):
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
                "body": {"model": group, "messages": [{"role": "user", "content": "Hello world!"}]}}
        kind, before, after = client.form_around("batch", "one.jsonl")
        answer = client.request(server.port, "POST", "/v1/files", dict(server.headers, **{"Content-Type": kind}), before + json.dumps(line).encode() + after)
        body = json.dumps({"input_file_id": json.loads(answer)["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}).encode()
        self.ask = client.head_of("POST", "/v1/batches", dict(server.headers, **{"Content-Type": "application/json"}), len(body)) + body
        self.sock = client.connect(server.port)

    def create(self):
        """(seconds, the batch's id)"""
        began = time.perf_counter()
        self.sock.sendall(self.ask)
        status, body = client.read_answer(self.sock)
        took = time.perf_counter() - began
        if status != 200:
            raise client.WireError(f"create: {status} {body[:400]!r}")
        return took, json.loads(body)["id"]


def low(values):
    """The lower quarter: what else the machine does only ever adds."""
    return sorted(values)[len(values) // 4]


class Runs:
    """What the rounds of one gateway gave."""

    def __init__(self, server):
        self.server = server
        self.creator = Creator(server, "polls")
        batch = [self.creator.create()[1] for _ in range(WARM_UP)][-1]
        self.poller = client.Poller(server.port, f"/v1/batches/{batch}", server.headers)
        for _ in range(WARM_UP):
            self.poller.poll()
        self.polls, self.cpu_us, self.creates = [], [], []

    def poll_round(self, seconds):
        times, cpu_s, end = [], self.server.cpu_s(), time.monotonic() + seconds
        while time.monotonic() < end:
            times.append(self.poller.poll())
        self.cpu_us.append((self.server.cpu_s() - cpu_s) / len(times) * 1e6)
        self.polls.append(times)

    def create_round(self, num):
        self.creates += [self.creator.create()[0] for _ in range(num)]

    def summary(self):
        creates = statistics.quantiles(self.creates, n=100, method="inclusive")
        tenths = [statistics.quantiles(times, n=10)[0] for times in self.polls if len(times) > 10]
        return {"poll_us": low(tenths) * 1e6, "poll_cpu_us": low(self.cpu_us), "polls": sum(map(len, self.polls)),
                "create_p50_ms": creates[49] * 1000, "create_p99_ms": creates[98] * 1000, "creates": len(self.creates)}


def measure(bench, sim, polls):
    """Polls and creates of gateways that take turns; one simulator answers all of them. One more without a journal says how much of a
    ratio is nothing but the machine."""
    seconds, rounds, creates = (0.15, 20, 5) if bench.args.quick else (0.15, 80, 8)
    binary = bench.binary("server", "tranche")
    databases = {"none": None, "none, again": None, "SQLite": f"sqlite://{bench.directory}/journal.db"}
    with contextlib.ExitStack() as more:
        if PROGRAMS:
            cluster = Cluster(bench.other_cpus)
            more.callback(cluster.close)
            databases["PostgreSQL"] = cluster.url
        runs = {}
        for name, database in databases.items():
            server = Journalled(database, binary, bench.directory, sim, polls, bench.proxy_cpus, name=f"journal {name}")
            more.callback(server.stop)
            runs[name] = Runs(server)
        names = list(runs)
        for n in range(rounds):
            turn = names[n % len(names):] + names[:n % len(names)]
            for name in turn:
                runs[name].poll_round(seconds)
            for name in turn:
                runs[name].create_round(creates)
        return {name: r.summary() for name, r in runs.items()}


# --- a fleet ---

def measure_fleet(bench):
    """50 keepers and 100 creates a second against one PostgreSQL."""
    if not PROGRAMS:
        return {"lines": ["left out: PostgreSQL is not installed"]}
    argv = ["50", "100", "6" if bench.args.quick else "20"]
    with contextlib.closing(Cluster()) as cluster:
        run = subprocess.Popen([bench.binary("tests", "bench", "bench_fleet"), cluster.url, *argv], stdout=subprocess.PIPE, text=True)
        lines, most = [], 0

        def read():
            for line in run.stdout:
                lines.append(line.rstrip())

        reader = threading.Thread(target=read)
        reader.start()
        while run.poll() is None:
            if lines:
                most = max(most, cluster.connections())
            time.sleep(0.2)
        reader.join()
        if run.returncode != 0:
            raise client.WireError("bench_fleet: " + "; ".join(lines))
    p99 = re.search(r"reservation.*p99 ([\d.]+) ms", "\n".join(lines))
    return {"lines": lines + [f"connections of all keepers together, at most: {most}"], "connections": most,
            "reserve_p99_ms": float(p99.group(1)) if p99 else None}
