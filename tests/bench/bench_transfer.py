#!/usr/bin/env python3
"""What tranche costs beside a plain proxy: nginx and h2o stand in front of the same simulated provider, each has one worker, all take
turns within one run. Numbers are printed, never judged: the exit code only says whether everything ran. scripts/bench starts this."""

import argparse
import contextlib
import json
import multiprocessing
import os
import queue
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import chat_lines
import programs
import report
import client
import front
import journal
import stuck_log
import tenants

MB = 1000000
PROXIES = ("nginx", "h2o", "tranche")
POLL_EVERY_S = 0.002


class Bench:
    def __init__(self, args, directory):
        self.args = args
        self.directory = directory
        self.deadline = time.monotonic() + args.budget
        self.proxies = PROXIES + (("other",) if args.against else ())
        self.peers = self.proxies + (("haproxy", "litellm", "portkey") if args.peers else ())
        self.movers = ("direct", "nginx-64k") + self.proxies
        self.store = tempfile.mkdtemp(prefix="store-", dir=data_root(max(args.sizes) * MB) or directory)
        self.proxy_cpus, self.other_cpus = (None, None) if args.no_pin else split_cpus()
        if self.other_cpus:
            os.sched_setaffinity(0, self.other_cpus)
        self.sources = chat_lines.write(os.path.join(directory, "requests.jsonl"), {MB} | {size * MB for size in args.sizes})

    def out_of_time(self):
        return time.monotonic() > self.deadline

    def binary(self, *parts):
        return os.path.join(self.args.build, *parts)

    def find(self, program):
        return find_program(program)

    @contextlib.contextmanager
    def world(self, names=None):
        """Two simulators (the second one only for polls) and fresh servers in front of them."""
        running = []
        try:
            for name in ("sim", "polls"):
                running.append(programs.Sim(self.binary("tests", "sim", "tranche-sim"), self.directory, self.store,
                                            self.other_cpus, name))
            sim, polls = running
            raise_priority(polls.popen.pid)
            servers = {}
            for name in self.proxies if names is None else names:
                servers[name] = self.start(name, sim, polls)
                running.append(servers[name])
            yield sim, polls, servers
        finally:
            for program in reversed(running):
                program.stop()

    def start(self, name, sim, polls):
        if name == "direct":
            return programs.Direct(sim)
        rest = self.directory, sim, polls, self.proxy_cpus
        if name == "nginx":
            return programs.Nginx(find_program("nginx"), *rest)
        if name == "nginx-64k":
            return programs.Nginx(find_program("nginx"), *rest, name=name, buffers=programs.Nginx.LARGE_BUFFERS)
        if name == "h2o":
            return programs.H2o(find_program(name), *rest)
        if name == "haproxy":
            return programs.HAProxy(find_program(name), *rest)
        if name == "litellm":
            return programs.LiteLLM(os.path.join(self.args.peers, "litellm", "bin", "litellm"), *rest)
        if name == "portkey":
            return programs.Portkey(os.path.join(self.args.peers, "node_modules", "@portkey-ai", "gateway", "build", "start-server.js"), *rest)
        build = self.args.build if name == "tranche" else self.args.against
        return programs.Tranche(os.path.join(build, "server", "tranche"), *rest, name=name)


# --- the machine ---

def find_program(name):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return shutil.which(name, path=path) or sys.exit(f"bench: {name} is not installed")


def split_cpus():
    """One core for the server under test, the others for the client and the simulators; (None, None) on a single core."""
    cpus = sorted(os.sched_getaffinity(0))
    return ({cpus[0]}, set(cpus[1:])) if len(cpus) > 1 else (None, None)


def data_root(largest):
    """Where the simulators keep files: they stand for somebody else's disk, so memory where there is plenty."""
    try:
        stat = os.statvfs("/dev/shm")
    except OSError:
        return None
    with open("/proc/meminfo") as f:
        available = int(re.search(r"MemAvailable:\s+(\d+)", f.read()).group(1)) << 10
    return "/dev/shm" if min(available, stat.f_bavail * stat.f_frsize) > 6 * largest + (1 << 30) else None


def raise_priority(pid):
    """What measures must not wait for what makes the load; without the right to, it has to."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -15)


def describe_machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    return {"cpu": model.group(1) if model else "unknown", "cpus": len(os.sched_getaffinity(0)), "kernel": os.uname().release,
            "load": os.getloadavg()[0]}


# --- transfers ---

def native_of(tagged):
    return re.sub(r"-t[a-z0-9]{32}$", "", tagged)


class Samples:
    """What the rounds of one server gave."""

    def __init__(self, server):
        self.server = server
        self.idle = server.memory()[0]
        self.seconds, self.cpu, self.peaks = [], [], []

    def measure(self, action):
        self.server.forget_peak()
        cpu = self.server.cpu_s()
        self.seconds.append(action(self.server))
        self.cpu.append(self.server.cpu_s() - cpu)
        self.peaks.append(self.server.memory()[1])

    def summary(self):
        return {"seconds": statistics.median(self.seconds), "cpu_s": statistics.median(self.cpu), "idle_bytes": self.idle,
                "peak_bytes": max(self.peaks), "all_seconds": self.seconds}


def in_turns(bench, servers, rounds, action, warm_up):
    for server in servers.values():
        warm_up(server)
    samples = {name: Samples(server) for name, server in servers.items()}
    names = list(servers)
    for n in range(rounds):
        if n > 0 and bench.out_of_time():
            break
        turn = names[n % len(names):] + names[:n % len(names)]
        for name in turn if n % 2 == 0 else reversed(turn):  # or one would always find the caches as the same other one left them
            samples[name].measure(action)
    return {name: s.summary() for name, s in samples.items()}


def upload_to(server, source, purpose):
    return client.upload(server.port, server.upload_target(purpose), server.headers, source, purpose)


def bench_uploads(bench, purpose):
    out = []
    for size in bench.args.sizes:
        if bench.out_of_time():
            break
        movers = bench.movers + (bench.peers[len(bench.proxies):] if size <= 20 and purpose == "batch" else ())
        with bench.world(movers) as (sim, _, servers):
            def action(server):
                took, _ = upload_to(server, bench.sources[size * MB], purpose)
                sim.reset()
                return took

            out.append({"mb": size, "servers": in_turns(bench, servers, rounds_of(bench, size), action,
                                                        lambda s: upload_to(s, bench.sources[MB], purpose))})
    return out


def bench_downloads(bench):
    out = []
    for size in bench.args.sizes:
        if bench.out_of_time():
            break
        with bench.world(bench.movers) as (_, _, servers):
            files = {}
            for mb in {1, size}:
                stored = json.loads(upload_to(servers["tranche"], bench.sources[mb * MB], "batch")[1])
                files[mb] = stored["id"], stored["bytes"]

            def fetch(server, mb):
                tagged, length = files[mb]
                return client.download(server.port, server.content_target(native_of(tagged), tagged), server.headers, length)

            out.append({"mb": size, "servers": in_turns(bench, servers, rounds_of(bench, size), lambda s: fetch(s, size),
                                                        lambda s: fetch(s, 1))})
    return out


def rounds_of(bench, size):
    if size <= 20:
        return 12  # milliseconds each
    return 3 if size > 500 else 4 if bench.args.quick else 6


# --- small requests ---

def make_batch(tranche):
    """(native id, tagged id) of a batch that stays in progress at the second simulator."""
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "polls", "messages": [{"role": "user", "content": "Hello world!"}]}}
    kind, before, after = client.form_around("batch", "one.jsonl")
    body = before + json.dumps(line).encode() + after
    answer = client.request(tranche.port, "POST", "/v1/files", dict(tranche.headers, **{"Content-Type": kind}), body)
    create = {"input_file_id": json.loads(answer)["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    answer = client.request(tranche.port, "POST", "/v1/batches", dict(tranche.headers, **{"Content-Type": "application/json"}),
                          json.dumps(create).encode())
    tagged = json.loads(answer)["id"]
    return native_of(tagged), tagged


def wrk(bench, server, target, connections, seconds):
    argv = [find_program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in server.headers.items():
        argv += ["-H", f"{name}: {value}"]
    done = subprocess.run(argv + [f"http://127.0.0.1:{server.port}{target}"], capture_output=True, text=True, check=True, timeout=60)
    if "Non-2xx" in done.stdout or "Requests/sec" not in done.stdout:
        raise client.WireError(f"wrk and {server.name}:\n{done.stdout}{done.stderr}")
    number = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    quantiles = {q: to_ms(v, unit) for q, v, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", done.stdout, re.M)}
    return {"per_s": float(number.group(1)), "p50_ms": quantiles["50"], "p99_ms": quantiles["99"]}


def to_ms(value, unit):
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def bench_small(bench):
    """A batch's status through the proxy, and an answer that needs no upstream; one connection and 32."""
    out = []
    seconds, rounds = (1, 1) if bench.args.quick else (2, 3)
    with bench.world(bench.peers) as (_, _, servers):
        native, tagged = make_batch(servers["tranche"])
        for what, names, target_of in (
                ("batch status", bench.peers, lambda s: s.poll_target(native, tagged)),
                ("no upstream", [name for name in bench.peers if name in ("nginx", "tranche", "other", "haproxy")],
                 lambda s: "/health/liveliness")):
            for connections in (1, 32):
                runs = {name: [] for name in names}
                for _ in range(rounds):
                    for name in names:
                        runs[name].append(wrk(bench, servers[name], target_of(servers[name]), connections, seconds))
                out.append({"what": what, "connections": connections,
                            "servers": {name: {key: statistics.median(r[key] for r in rs) for key in rs[0]}
                                        for name, rs in runs.items()}})
    return out


# --- the front ---

def bench_h2(bench):
    names = bench.proxies + (("haproxy",) if bench.args.peers else ())
    with bench.world(names) as (_, _, servers):
        return front.measure_h2(bench, servers, *make_batch(servers["tranche"]))


def bench_tls(bench):
    """Handshakes; tranche's port speaks TLS here."""
    with bench.world(("nginx", "h2o") + (("haproxy",) if bench.args.peers else ())) as (sim, polls, servers):
        tranche = programs.TrancheTls(bench.binary("server", "tranche"), bench.directory, sim, polls, bench.proxy_cpus, name="tranche-tls")
        try:
            return front.measure_tls(bench, {**servers, "tranche": tranche})
        finally:
            tranche.stop()


def bench_accept(bench):
    """How 64 connections are shared by two workers."""
    with bench.world(()) as (sim, polls, _), contextlib.ExitStack() as more:
        servers = {}
        for name, kind, program in (("nginx", programs.Nginx, find_program("nginx")), ("tranche", programs.Tranche, bench.binary("server", "tranche"))):
            servers[name] = kind(program, bench.directory, sim, polls, name=f"{name}-of-two", workers=2)
            more.callback(servers[name].stop)
        return front.measure_shares(bench, servers)


def bench_size(bench):
    with bench.world(()) as (sim, polls, _):
        rest = bench.binary("server", "tranche"), bench.directory, sim, polls
        return front.measure_size(bench, lambda: programs.Tranche(*rest, name="size", workers=2),
                                  lambda: programs.TrancheTls(*rest, name="size-tls", workers=2))


def bench_large(bench):
    with bench.world(()) as (sim, polls, _):
        return front.measure_large(bench, sim, polls)


# --- polls beside uploads ---

def poll_until(stop, port, target, headers, results):
    raise_priority(os.getpid())
    poller = client.Poller(port, target, headers)
    times = []
    while not stop.is_set():
        times.append(poller.poll())
        time.sleep(POLL_EVERY_S)
    poller.close()
    results.put(times)


@contextlib.contextmanager
def polling(server, target, times):
    """A process that polls while the block runs; `times` gets its seconds."""
    stop, results = multiprocessing.Event(), multiprocessing.Queue()
    process = multiprocessing.Process(target=poll_until, args=(stop, server.port, target, server.headers, results))
    process.start()
    try:
        yield
        stop.set()
        times += results.get(timeout=client.PATIENCE)
    except queue.Empty:
        raise client.WireError(f"the polls failed at {server.name}") from None
    finally:
        stop.set()
        process.join(10)
        if process.is_alive():
            process.kill()


def upload_again(port, target, headers, source, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.upload(port, target, headers, source)


def two_uploaders(server, source, seconds):
    args = (server.port, server.upload_target("batch"), server.headers, source, seconds)
    others = [multiprocessing.Process(target=upload_again, args=args) for _ in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    if any(process.exitcode for process in others):
        raise client.WireError(f"an upload beside polls failed at {server.name}")


def bench_polls(bench):
    size = min(200, max(bench.args.sizes))
    source = bench.sources.get(size * MB) or bench.sources[max(s for s in bench.sources if s <= 200 * MB)]
    out = {"mb": round(source.size / MB), "servers": {}}
    with bench.world() as (sim, _, servers):
        native, tagged = make_batch(servers["tranche"])
        for name, server in servers.items():
            alone, beside = [], []
            target = server.poll_target(native, tagged)
            with polling(server, target, alone):
                time.sleep(1)
            with polling(server, target, beside):
                two_uploaders(server, source, 2 if bench.args.quick else 6)
            out["servers"][name] = {"alone": report.quantiles(alone), "beside": report.quantiles(beside)}
            sim.reset()
    return out


# --- the rest ---

def bench_start(bench):
    """Seconds from exec to the first answer."""
    times = {name: [] for name in bench.proxies}
    for _ in range(3 if bench.args.quick else 7):
        with bench.world() as (_, _, servers):
            for name, server in servers.items():
                times[name].append(server.first_answer_s)
    return {name: statistics.median(values) for name, values in times.items()}


# --- two tenants, one of them hostile ---

def bench_tenants(bench):
    """What one tenant's poll and create take alone, beside the other one's flood at the same worker, and while the same flood goes to
    another gateway that shares the processor, but nothing else."""
    seconds, rounds = (4, 1) if bench.args.quick else (5, 5)
    binary = bench.binary("server", "tranche")
    with bench.world(()) as (sim, polls, _), contextlib.ExitStack() as more:
        other_sim = programs.Sim(bench.binary("tests", "sim", "tranche-sim"), bench.directory, bench.store, bench.other_cpus, "elsewhere-sim")
        more.callback(other_sim.stop)
        tenants.stand_apart(polls.popen.pid)
        servers = []
        for name, sims in (("two tenants", (sim, polls)), ("elsewhere", (other_sim, other_sim))):
            servers.append(programs.TwoTenants(binary, bench.directory, *sims, bench.proxy_cpus, name=name))
            more.callback(servers[-1].stop)
        return tenants.measure(*servers, bench.sources[20 * MB if 20 * MB in bench.sources else MB], seconds, rounds, find_program("wrk"))


def bench_keys(bench):
    """A poll with one of 100,000 keys against one with the master key where there are no others: the worker's CPU time and the wait."""
    seconds, rounds = (0.5, 4) if bench.args.quick else (1, 15)
    with bench.world(()) as (sim, polls, _):
        rest = bench.directory, sim, polls, bench.proxy_cpus
        servers, runs, targets = [], {}, {}
        try:
            servers.append(programs.Tranche(bench.binary("server", "tranche"), *rest, name="master key alone"))
            servers.append(programs.ManyKeys(bench.binary("server", "tranche"), *rest, name="100,000 keys"))
            for server in servers:
                targets[server.name] = server.poll_target(*make_batch(server))
            for _ in range(rounds):
                for server in servers:
                    runs.setdefault(server.name, []).append(poll_for(server, targets[server.name], seconds))
        finally:
            for server in servers:
                server.stop()
        return {name: {key: statistics.median(r[key] for r in rs) for key in rs[0]} for name, rs in runs.items()}


def poll_for(server, target, seconds):
    poller, times = client.Poller(server.port, target, server.headers), []
    for _ in range(20):
        poller.poll()
    cpu_s, end = server.cpu_s(), time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(poller.poll())
    cpu_s = server.cpu_s() - cpu_s
    poller.close()
    return {"cpu_us": cpu_s / len(times) * 1e6, "p50_us": statistics.median(times) * 1e6,
            "p99_us": statistics.quantiles(times, n=100)[98] * 1e6, "polls": len(times)}


def bench_logs(bench):
    """Polls while the log goes to a file, and while nobody reads it."""
    with bench.world(()) as (sim, polls, _):
        return stuck_log.measure(bench, sim, polls, make_batch, poll_for)


def bench_journal(bench):
    """The same polls and creates with no journal, in SQLite and in PostgreSQL."""
    with bench.world(()) as (sim, polls, _):
        return journal.measure(bench, sim, polls)


def bench_checker(bench):
    argv = [bench.binary("tests", "bench", "bench_jsonl"), "8" if bench.args.quick else "32"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.rstrip().splitlines()


def bench_tables(bench):
    lines = []
    for name in ("bench_balancer", "bench_poll"):
        argv = [bench.binary("tests", "bench", name), "7" if bench.args.quick else "25"]
        lines += subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout.rstrip().splitlines()
    return lines


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 200 MB, fewer rounds, under 2 minutes")
    parser.add_argument("--sizes", help="megabytes, by comma")
    parser.add_argument("--json", help="all numbers go to this file, too")
    parser.add_argument("--only", default="", help="some of start, large, small, h2, tls, accept, size, checker, tables, polls, keys, logs, journal, fleet, tenants, upload, plain, download, by comma")
    parser.add_argument("--no-pin", action="store_true", help="let the kernel choose the cores")
    parser.add_argument("--build", required=True, help="directory with the release build")
    parser.add_argument("--against", help="directory with another build of tranche, which takes its turn as 'other'")
    parser.add_argument("--peers", help="directory with LiteLLM's proxy and Portkey's gateway, which take their turns too, as HAProxy does")
    parser.add_argument("--dir", help="where spools and the uploaded file are; default TMPDIR or /tmp")
    args = parser.parse_args()
    args.sizes = sorted({int(s) for s in (args.sizes or ("1,20,200" if args.quick else "1,20,200,1024")).split(",")})
    args.build = os.path.abspath(args.build)
    args.budget = 100 if args.quick else 540
    if args.sizes[0] < 1:
        parser.error("a size is at least 1 MB")
    args.only = [s for s in args.only.split(",") if s] or [name for name, _ in SECTIONS]
    if not set(args.only) <= {name for name, _ in SECTIONS}:
        parser.error("--only takes " + ", ".join(name for name, _ in SECTIONS))
    return args


SECTIONS = (("start", bench_start), ("large", bench_large), ("small", bench_small), ("h2", bench_h2), ("tls", bench_tls),
            ("accept", bench_accept), ("size", bench_size), ("checker", bench_checker), ("tables", bench_tables),
            ("polls", bench_polls), ("keys", bench_keys), ("logs", bench_logs), ("journal", bench_journal), ("fleet", journal.measure_fleet), ("tenants", bench_tenants), ("upload", lambda bench: bench_uploads(bench, "batch")), ("plain", lambda bench: bench_uploads(bench, "assistants")),
            ("download", bench_downloads))


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing that we started outlives us
    results = {"machine": describe_machine(), "sizes": args.sizes}
    directory = tempfile.mkdtemp(prefix="tranche-bench-", dir=args.dir)
    bench = None
    try:
        bench = Bench(args, directory)
        report.print_machine(results["machine"], args.no_pin, bench.store)
        for name, run in SECTIONS:
            if name not in args.only:
                continue
            if bench.out_of_time():
                print(f"\n{name}: left out, the time is up")
                continue
            results[name] = run(bench)
            report.PRINTERS[name](results[name])
            sys.stdout.flush()
    except (client.WireError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"bench: {error}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if bench is not None:
            shutil.rmtree(bench.store, ignore_errors=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f, indent=1)


if __name__ == "__main__":
    main()
