"""Two tenants at one worker, one of them hostile: what the other one's polls and creates take beside a flood of uploads, polls or
creates. README.md says what it is compared with, and why."""

import contextlib
import json
import multiprocessing
import os
import queue
import statistics
import subprocess
import threading
import time

import client
import programs
import report

CONNECTIONS = {"uploads": 50, "polls": 200, "creates": 64}  # of the hostile one
EVERY_S = 0.002  # the good one's pause


def upload_one(server, tenant, group):
    """A small file of a tenant's, for a group."""
    kind, before, after = client.form_around("batch", "requests.jsonl")
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": group, "messages": [{"role": "user", "content": "Hello world!"}]}}
    body = before + json.dumps(line).encode() + after
    headers = dict(server.headers_of(tenant), **{"Content-Type": kind})
    return json.loads(client.request(server.port, "POST", "/v1/files", headers, body))["id"]


def create_of(server, tenant, file):
    body = json.dumps({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}).encode()
    headers = dict(server.headers_of(tenant), **{"Content-Type": "application/json"})
    return client.head_of("POST", "/v1/batches", headers, len(body)) + body


def poll_of(server, tenant, file):
    ask = create_of(server, tenant, file)
    with client.connect(server.port) as sock:
        sock.sendall(ask)
        status, body = client.read_answer(sock)
    if status != 200:
        raise client.WireError(f"create: {status} {body[:400]!r}")
    return client.head_of("GET", f"/v1/batches/{json.loads(body)['id']}", server.headers_of(tenant))


# --- the good tenant ---

def stand_apart(pid):
    """Who stands for a machine of his own waits for nobody here; without the right to, he has to."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -15)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


def ask_in_turn(stop, port, asks, results):
    """Each question in turn on a connection of its own, which is kept."""
    stand_apart(0)
    socks = {name: client.connect(port) for name in asks}
    times = {name: [] for name in asks}
    refused = 0
    while not stop.is_set():
        for name, ask in asks.items():
            began = time.perf_counter()
            socks[name].sendall(ask)
            status, _ = client.read_answer(socks[name])
            times[name].append(time.perf_counter() - began)
            refused += status != 200
            time.sleep(EVERY_S)
    results.put((times, refused))


def good_tenant(server, asks, seconds):
    stop, results = multiprocessing.Event(), multiprocessing.Queue()
    process = multiprocessing.Process(target=ask_in_turn, args=(stop, server.port, asks, results))
    process.start()
    time.sleep(seconds)
    stop.set()
    try:
        times, refused = results.get(timeout=client.PATIENCE)
    except queue.Empty:
        raise client.WireError("the good tenant was not answered") from None
    finally:
        process.join(10)
        if process.is_alive():
            process.kill()
    if refused:
        raise client.WireError(f"the good tenant was refused {refused} times")
    return times


# --- the hostile one ---

def again_and_again(stop, task):
    """A client that does not care what it is answered."""
    while not stop.is_set():
        with contextlib.suppress(client.WireError, OSError):
            task(stop)


def stand_back():
    """Who makes the load leaves the processor to who measures; what has to be shared is the gateway."""
    os.setpriority(os.PRIO_PROCESS, 0, 10)


def crowd(stop, num, task):
    stand_back()
    threads = [threading.Thread(target=again_and_again, args=(stop, task), daemon=True) for _ in range(num)]
    for thread in threads:
        thread.start()
    stop.wait()
    os._exit(0)  # whatever they are at


def uploads(port, headers, source):
    return lambda stop: client.upload(port, "/v1/files", headers, source)


def requests(port, ask):
    def task(stop):
        with client.connect(port) as sock:
            while not stop.is_set():
                sock.sendall(ask)
                client.read_answer(sock)
    return task


@contextlib.contextmanager
def flood(kind, server, source, asks, wrk):
    """The hostile tenant's at a server, while the block runs."""
    stop = multiprocessing.Event()
    headers = server.headers_of("hostile")
    processes, program = [], None
    if kind == "polls":
        target = asks["poll"].split(b" ")[1].decode()
        program = subprocess.Popen([wrk, "-t1", f"-c{CONNECTIONS[kind]}", "-d600s", "-H", f"Authorization: {headers['Authorization']}",
                                    f"http://127.0.0.1:{server.port}{target}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   preexec_fn=stand_back)
    elif kind in CONNECTIONS:
        task = uploads(server.port, headers, source) if kind == "uploads" else requests(server.port, asks["create"])
        processes = [multiprocessing.Process(target=crowd, args=(stop, CONNECTIONS[kind] // 2, task)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        time.sleep(1 if kind != "alone" else 0)  # it has begun
        yield
    finally:
        stop.set()
        if program is not None:
            program.kill()
            program.wait()
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()


def asks_of(server, tenant, group):
    file = upload_one(server, tenant, group)
    return {"poll": poll_of(server, tenant, file), "create": create_of(server, tenant, file)}


class Answered:
    """How many of the hostile tenant's requests a server answers, by its access log."""

    LINE = b'"key":"hostile"'

    def __init__(self, server):
        self.path, self.began, self.at = server.log_path, time.monotonic(), os.path.getsize(server.log_path)

    def per_s(self):
        took = time.monotonic() - self.began
        with open(self.path, "rb") as f:
            f.seek(self.at)
            return f.read().count(self.LINE) / took


def settle(servers):
    """What a flood has left in the kernel's buffers is read; no longer than a few seconds, on a busy machine."""
    for _ in range(20):
        before = [server.cpu_s() for server in servers]
        time.sleep(0.2)
        if all(server.cpu_s() - cpu < 0.01 for server, cpu in zip(servers, before)):
            return


def run_beside(kind, server, flooded, source, asks, seconds, wrk):
    """{poll, create: quantiles} of the good tenant at `server` while the flood goes to `flooded`, and what the flood got."""
    with flood(kind, flooded, source, asks[flooded.name], wrk):
        answered = Answered(flooded)
        run = {what: report.quantiles(times) for what, times in good_tenant(server, asks["good"], seconds).items()}
        run["flood"] = {"per_s": answered.per_s()}
    return run


def measure(server, other, source, seconds, rounds, wrk):
    """{alone, or (kind of flood, where): {poll, create: quantiles}}, the median of the rounds. `other` is the gateway of another process
    with its own simulator, which has nothing to do with the good tenant."""
    asks = {"good": asks_of(server, "good", "polls"), server.name: asks_of(server, "hostile", programs.GROUP),
            other.name: asks_of(other, "hostile", programs.GROUP)}
    runs = {name: [] for name in ("alone", *(f"{kind} {where}" for kind in CONNECTIONS for where in ("here", "elsewhere")))}
    for _ in range(rounds):
        for name, done in runs.items():
            kind, _, where = name.partition(" ")
            settle((server, other))
            done.append(run_beside(kind, server, other if where == "elsewhere" else server, source, asks, seconds, wrk))
    return {name: {what: {key: statistics.median(r[what][key] for r in rs) for key in rs[0][what]} for what in rs[0]}
            for name, rs in runs.items()}
