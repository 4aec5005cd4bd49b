"""What the front costs: HTTP/2, TLS handshakes, connections that do nothing, and how connections are shared by workers."""

import collections
import contextlib
import re
import resource
import socket
import ssl
import statistics
import subprocess
import time

import client
import programs

STREAMS = ("-c8", "-m32")
HANDSHAKES = {"full": "-new", "resumed": "-reuse"}
IDLE = {"clear": 10000, "TLS": 2000}


def pss(pids):
    """Proportional bytes of processes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            total += int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M).group(1)) << 10
    return total


def all_of(server):
    return [server.popen.pid, *programs.children_of(server.popen.pid)]


# --- HTTP/2 ---

def h2load(bench, server, target, seconds):
    argv = [bench.find("h2load"), *STREAMS, "-t1", "-D", str(seconds), "--warm-up-time=1"]
    for name, value in server.headers.items():
        argv += ["-H", f"{name}: {value}"]
    cpu_s = server.cpu_s()
    done = subprocess.run(argv + [f"http://127.0.0.1:{server.h2_port}{target}"], capture_output=True, text=True, check=True, timeout=60)
    cpu_s = server.cpu_s() - cpu_s
    rate = re.search(r"finished in .*, ([\d.]+) req/s", done.stdout)
    codes = [int(n) for n in re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout).groups()]
    if not codes[0] or any(codes[1:]):
        raise client.WireError(f"h2load and {server.name}:\n{done.stdout}{done.stderr}")
    return {"per_s": float(rate.group(1)), "cpu_us": cpu_s / (float(rate.group(1)) * (seconds + 1)) * 1e6}


def measure_h2(bench, servers, native, tagged):
    """One worker each, 8 connections of 32 streams in clear text."""
    seconds, rounds = (1, 1) if bench.args.quick else (3, 5)
    out = []
    for what, target_of in (("batch status", lambda s: s.poll_target(native, tagged)), ("no upstream", lambda s: "/health/liveliness")):
        runs = {}
        for n in range(rounds):
            names = [name for name in servers if what == "batch status" or name != "h2o"]
            for name in names[n % len(names):] + names[:n % len(names)]:
                runs.setdefault(name, []).append(h2load(bench, servers[name], target_of(servers[name]), seconds))
        out.append({"what": what, "servers": {name: {key: statistics.median(r[key] for r in rs) for key in rs[0]} for name, rs in runs.items()}})
    return out


# --- TLS ---

def handshakes(server, kind, seconds):
    """Connections a second of two clients, each with one request; the server's CPU for each."""
    argv = ["openssl", "s_time", "-connect", f"127.0.0.1:{server.tls_port}", HANDSHAKES[kind], "-tls1_2", "-time", str(seconds),
            "-www", "/health/liveliness"]
    began, cpu_s = time.monotonic(), server.cpu_s()
    clients = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    texts = [one.communicate(timeout=60)[0] for one in clients]
    took, cpu_s = time.monotonic() - began, server.cpu_s() - cpu_s
    num = 0
    for text in texts:
        found = re.search(r"(\d+) connections in \d+ real seconds", text)
        if found is None:
            raise client.WireError(f"s_time and {server.name}:\n{text}")
        num += int(found.group(1))
    return {"per_s": num / took, "cpu_us": cpu_s / num * 1e6}


def measure_tls(bench, servers):
    seconds, rounds = (1, 1) if bench.args.quick else (2, 5)
    out = []
    for kind in HANDSHAKES:
        runs = {}
        for n in range(rounds):
            names = list(servers)
            for name in names[n % len(names):] + names[:n % len(names)]:
                runs.setdefault(name, []).append(handshakes(servers[name], kind, seconds))
        out.append({"what": kind, "servers": {name: {key: statistics.median(r[key] for r in rs) for key in rs[0]} for name, rs in runs.items()}})
    return out


# --- connections ---

def owners(server, socks):
    """How many of these connections each process of the server has."""
    inodes = {f"socket:[{programs.socket_inode_of_peer(sock)}]" for sock in socks}
    counts = collections.Counter()
    for pid in programs.children_of(server.popen.pid):
        counts[pid] = sum(name in inodes for name in programs.files_of(pid))
    return [num for num in counts.values() if num]


def share(server, num=64):
    """Connections that come one after the other, each with a request: (most, least) of the workers."""
    with contextlib.ExitStack() as more:
        socks = []
        for _ in range(num):
            socks.append(more.enter_context(client.connect(server.port)))
            socks[-1].sendall(client.head_of("GET", "/health/liveliness", server.headers))
            client.read_answer(socks[-1])
        counts = owners(server, socks)
        return max(counts), min(counts) if len(counts) > 1 else 0


def measure_shares(bench, servers):
    rounds = 3 if bench.args.quick else 10
    return {name: [share(server) for _ in range(rounds)] for name, server in servers.items()}


def idle_connections(server, num, tls):
    """Bytes that each of so many connections costs which were used once and then do nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    before, socks = pss(all_of(server)), []
    try:
        for _ in range(num):
            sock = socket.create_connection(("127.0.0.1", server.tls_port if tls else server.port), timeout=client.PATIENCE)
            socks.append(context.wrap_socket(sock) if tls else sock)
            socks[-1].sendall(client.head_of("GET", "/health/liveliness", server.headers))
            client.read_answer(socks[-1])
        return (pss(all_of(server)) - before) / num
    finally:
        for sock in socks:
            sock.close()


def allow_files(num):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(num, hard) if hard != resource.RLIM_INFINITY else num, hard))


def measure_size(bench, start_clear, start_tls):
    """Two workers that do nothing, and what connections add to that. @param start_clear, start_tls  make a gateway with two workers"""
    allow_files(max(IDLE.values()) + 1000)
    out = {}
    for what, start in (("clear", start_clear), ("TLS", start_tls)):
        num = IDLE[what] // (10 if bench.args.quick else 1)
        server = start()
        try:
            out[what] = {"idle_bytes": pss(all_of(server)), "connections": num, "each_bytes": idle_connections(server, num, what == "TLS")}
        finally:
            server.stop()
    return out


# --- start ---

class Large(programs.Tranche):
    """With so many rows of a group, spread over so many accounts."""

    def __init__(self, rows, accounts, *rest, **more):
        self.rows, self.accounts = rows, accounts
        super().__init__(*rest, **more)

    def model_list(self, sim, polls):
        rows = []
        for n in range(self.rows):
            rows.append(self.row(f"group-{n % 500}", sim))
            rows[-1]["litellm_params"] = dict(rows[-1]["litellm_params"], model=f"azure/deployment-{n}",
                                              api_key=f"{programs.AZURE_KEY}-{n % self.accounts}")
        return rows


def measure_large(bench, sim, polls):
    """Seconds from exec to the first answer of configurations of many rows."""
    out, rest = {}, (bench.binary("server", "tranche"), bench.directory, sim, polls, bench.proxy_cpus)
    for rows, accounts in ((10, 10), (10000, 10)):
        times = []
        for _ in range(3 if bench.args.quick else 7):
            server = Large(rows, accounts, *rest, name=f"rows-{rows}")
            times.append(server.first_answer_s)
            server.stop()
        out[f"{rows} rows, {accounts} accounts"] = statistics.median(times)
    return out
