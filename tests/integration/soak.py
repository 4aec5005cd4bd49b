"""A soak: several clients do everything at once, while answers are lost, clocks jump, workers are killed and configurations are
loaded. Afterwards the gateway owes nothing: every sum that it keeps is zero, its memory is what it was, and the simulator's
ledger has one batch at most for each thing that a client wanted once. What is downloaded is whole, or visibly is not.

How long it takes is said in operations, never in time, and everything that is drawn by lot comes from one seed.
"""

import contextlib
import gzip
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import threading

from harness import (GROUP, MASTER_KEY, PROVIDER_KEYS, Gateway, Sim, azure_account, azure_deployment, balanced_config, lines, renamed,
                     sim_config, until)
from proof import FAULTS, as_sdk, sdk_repeats
from test_metrics import Page
from wire import sanitized

SETTLED = float(os.environ.get("TRANCHE_SOAK_SETTLED", "240"))  # seconds within which all must have come to an end
AZURE, OPENAI = ("eu", "us"), "oai"
MINUTE, HOUR = 60, 3600
CLOCKS = [0, 0, 30, -30, 15 * MINUTE, -15 * MINUTE, 26 * HOUR, -26 * HOUR]
# What ends by itself or by a limit of the gateway's. A 4xx about the request is no fault of the way.
PLACES = [("POST", "*/batches*"), ("POST", "*/batches*"), ("POST", "*/files*"), ("GET", "*/batches*"), ("GET", "*/files*"),
          ("POST", "*/cancel*"), ("DELETE", "*/files*")]
WAYS = {name: action for name, action in FAULTS.items()
        if action.get("status") in (None, 429, 500, 502, 503, 504) and name != "oversize"}
WAYS.update({f"hang-{phase}": {"hang": phase} for phase in ("head", "answer")})
# What must be nothing in the end.
SUMS = ("tranche_reservations", "tranche_orphaned_reservations", "tranche_enqueued_tokens", "tranche_upstream_in_flight",
        "tranche_spool_bytes")
TERMINAL = {"completed", "failed", "expired", "cancelled"}
WORKERS = 2
# What a file of the group becomes at each account, and what the fault "not-json" puts in the place of any body.
NAMES = [*(f"{GROUP}-{account}" for account in AZURE), "gpt-4o-mini"]
NOT_JSON = b"<html><body>this is not JSON</body></html>\n"


class Intent:
    """One batch that a client wants, and what it was told."""

    def __init__(self, number):
        self.name, self.answers = f"intent-{number}", []

    @property
    def made(self):
        """Ids of the batches that it was told of."""
        return {a.json()["id"] for a in self.answers if a is not None and a.status == 200}

    def __repr__(self):
        return f"{self.name}: {self.answers}"


def world(directory):
    """Two Azure resources, one of them with little room, and an OpenAI project; batches take a second."""
    small = {"name": "gpt-4o-batch-eu", "model": "gpt-4o", "sku": "GlobalBatch", "enqueued_token_limit": 3000, "refusal": "fast"}
    accounts = [azure_account("eu", deployments=[small], switches={"max_files": 0}),
                azure_account("us", switches={"max_files": 0}),
                {"name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"], "models": ["gpt-4o-mini"],
                 "switches": {"batches_per_hour": 0}}]
    return Sim(directory, sim_config(accounts, validate_ms=100, run_ms=800, finalize_ms=50, cancel_ms=100))


def config_of(sim, allowed_fails=50):
    rows = [azure_deployment(sim, a) for a in AZURE]
    rows.append({"model_name": GROUP, "model_info": {"mode": "batch"},
                 "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": sim.base(OPENAI) + "/v1",
                                    "api_key": PROVIDER_KEYS[OPENAI]}})
    timeouts = {"json_total_ms": "2s", "first_byte_ms": "2s", "low_speed_ms": "2s", "watch_ms": "1s", "count_files_ms": "1s"}
    return balanced_config(sim, accounts=(), model_list=rows, router_settings={"cooldown_time": 1, "allowed_fails": allowed_fails},
                           tranche_settings={"seal_keys": ["a-seal-key-of-the-soak"], "timeouts": timeouts,
                                             "limits": {"max_files": {"azure": 100_000}}})


class Soak:
    def __init__(self, directory, seed, clients=12):
        self.seed, self.clients = seed, clients
        self.sim = world(directory)
        self.gateway = Gateway(directory, config_of(self.sim), workers=WORKERS)
        self.gateway.deaths_expected = True  # only of those that we kill: see unexpected_deaths()
        self.lot = random.Random(seed)  # of the disturber; each client has its own
        self.intents, self.judged, self.files, self.batches, self.killed = [], [], [], [], []
        self.contents = {}  # file -> what was uploaded
        self.lock = threading.Lock()
        self.done = self.rounds = self.reloaded = self.downloaded = 0
        self.kills = self.reloads = True
        self.problem = None

    # --- one client ---

    def upload(self, lot):
        headers = {"Idempotency-Key": f"file-{lot.random()}"} if lot.random() < 0.3 else None
        data = lines(count=lot.randint(1, 8))
        answer = self.gateway.upload(data, headers=headers)
        if answer.status == 200:
            self.contents[answer.json()["id"]] = data
            self.files.append(answer.json()["id"])

    def intend(self):
        with self.lock:
            self.intents.append(Intent(len(self.judged) + len(self.intents)))
            return self.intents[-1]

    def create(self, lot):
        if not self.files:
            return self.upload(lot)
        intent = self.intend()
        file, keyed, full = lot.choice(self.files), lot.random() < 0.5, lot.random() < 0.1
        metadata = {"intent": intent.name, **({f"k{n}": "" for n in range(15)} if full else {})}

        def send(headers):
            if keyed:
                headers = {**headers, "Idempotency-Key": intent.name}
            return self.gateway.create(file, headers=headers, metadata=metadata)

        intent.answers = as_sdk(send)
        with self.lock:
            self.batches += [i for i in intent.made if i not in self.batches]

    def leave(self, lot):
        """Ask, and be gone before the answer comes."""
        if not self.files or not self.batches:
            return
        ask, body = lot.choice(["GET /v1/files/{file}/content", "GET /v1/batches/{batch}", "GET /v1/files", "POST /v1/batches"]), b""
        if ask.startswith("POST"):
            intent = self.intend()
            intent.answers = [None]
            body = json.dumps({"input_file_id": lot.choice(self.files), "endpoint": "/v1/chat/completions",
                               "completion_window": "24h", "metadata": {"intent": intent.name}}).encode()
        head = f"{ask.format(file=lot.choice(self.files), batch=lot.choice(self.batches))} HTTP/1.1\r\nHost: soak\r\n" \
               f"Authorization: Bearer {MASTER_KEY}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.gateway.port)) as sock:
            sock.sendall(head.encode() + body)
            sock.settimeout(lot.choice([0.001, 0.01, 0.1]))
            with contextlib.suppress(TimeoutError):
                sock.recv(1)

    def poll(self, lot):
        if self.batches:
            self.gateway.get(f"/v1/batches/{lot.choice(self.batches)}")

    def download(self, lot):
        """What was uploaded, or what came of a batch: all of it. What is cut off is an exception of the client's."""
        if self.batches and lot.random() < 0.5:
            batch = self.gateway.get(f"/v1/batches/{lot.choice(self.batches)}")
            file = batch.json().get("output_file_id") if batch.status == 200 else None
            if file is None:
                return
            wanted = None
        elif self.files:
            file = lot.choice(self.files)
            wanted = [renamed(self.contents[file], name) for name in NAMES]
        else:
            return
        answer = self.gateway.get(f"/v1/files/{file}/content")
        body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
        if answer.status != 200 or body == NOT_JSON:
            return
        if wanted is None:
            assert body.endswith(b"\n") and all(json.loads(line)["custom_id"] for line in body.splitlines()), answer
        else:
            assert body in wanted, f"{file}: {body} instead of {wanted}"
        with self.lock:
            self.downloaded += 1

    def cancel(self, lot):
        if self.batches:
            self.gateway.post(f"/v1/batches/{lot.choice(self.batches)}/cancel")

    def list(self, lot):
        self.gateway.get(f"/v1/{lot.choice(['batches', 'files'])}?limit={lot.choice([1, 20, 100])}")

    def delete(self, lot):
        with self.lock:
            file = self.files.pop(lot.randrange(len(self.files))) if len(self.files) > 10 else None
        if file is not None:
            self.gateway.delete(f"/v1/files/{file}")

    def one(self, lot):
        kinds = [self.upload, self.create, self.poll, self.cancel, self.list, self.delete, self.leave, self.download]
        (kind,) = lot.choices(kinds, [3, 6, 6, 1, 1, 2, 3, 3])
        with contextlib.suppress(OSError, http.client.HTTPException):  # a worker was killed
            kind(lot)

    def client(self, number, count):
        lot = random.Random(f"{self.seed} {self.rounds} {number}")
        try:
            for _ in range(count):
                self.one(lot)
                with self.lock:
                    self.done += 1
                    self.disturb(self.done)
        except BaseException as problem:  # told by run()
            self.problem = problem

    # --- what is in their way ---

    def disturb(self, done):
        if done % 3 == 0:
            method, path = self.lot.choice(PLACES)
            self.sim.fault(self.lot.choice(list(WAYS.values())), account=self.lot.choice([*AZURE, OPENAI]), method=method, path=path)
        if done % 25 == 0:
            self.sim.control("POST", "/control/switches", {"account": self.lot.choice([*AZURE, OPENAI]),
                                                           "set": {"clock_skew_s": self.lot.choice(CLOCKS)}})
        if self.kills and done % 80 == 0:
            self.kill()
        if self.reloads and done % 60 == 30:
            self.reload()

    def kill(self):
        pid = self.lot.choice(until(self.gateway.workers, "a child"))
        self.killed.append(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def reload(self):
        """Also while the one before is under way."""
        self.reloaded += 1
        self.gateway.write_config(config_of(self.sim, allowed_fails=50 + self.reloaded % 2))
        self.gateway.send(signal.SIGHUP)

    def run(self, operations):
        """So many, by all clients together; then nothing of it is under way and no fault is left."""
        self.rounds += 1
        threads = [threading.Thread(target=self.client, args=(n, operations // self.clients)) for n in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.sim.clear_faults()
        if self.problem is not None:
            raise self.problem

    # --- the judges ---

    def page(self):
        answer = self.gateway.get("/metrics")
        assert answer.status == 200, answer
        return Page(answer.body.decode())

    def owed(self):
        """Sums that are not zero."""
        page = self.page()
        sums = {name: page.sum(name) for name in SUMS}
        sums["tranche_client_connections"] = page.sum("tranche_client_connections") - 1  # ours
        owed = {name: value for name, value in sums.items() if value != 0}
        return {**owed, "sockets": self.sockets()} if owed else {}

    def sockets(self):
        """Lines of the kernel's table about the gateway's port, to tell what a connection that stays waits for."""
        rows = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
        return [" ".join(row.split()[1:5]) for row in rows if f":{self.gateway.port:04X}" in row]

    def files_off(self):
        """How many more or fewer files are counted at the accounts than there are."""
        page, off = self.page(), {}
        for account in AZURE:
            ids = {s.labels["model_id"] for s in page.all("litellm_deployment_state", api_base=self.sim.base(account))}
            counted = sum(s.value for s in page.all("tranche_account_files") if s.labels["model_id"] in ids)
            there = len([f for f in self.sim.ledger(account)["files"] if f["purpose"] == "batch" and not f["deleted"]])
            off[account] = counted - there
        return {account: number for account, number in off.items() if number != 0}

    def all_batches(self):
        ledger = self.sim.control("GET", "/control/ledger").json()["accounts"]
        return [b for account in ledger.values() for b in account.get("batches", [])]

    def settle(self):
        """All batches have ended at their providers; within minutes nothing is counted any more. Nobody polls."""
        until(lambda: all(b["status"] in TERMINAL for b in self.all_batches()), "all batches end", SETTLED)
        until(lambda: len(self.gateway.workers()) == WORKERS + 1, "generations of the past have left", SETTLED)
        self.settled(self.owed, "sums that are zero")
        self.settled(self.files_off, "as many files counted as there are")

    @staticmethod
    def settled(what, name):
        last = []

        def ask():
            last[:] = [what()]
            return not last[0]

        try:
            until(ask, name, SETTLED)
        except AssertionError:
            raise AssertionError(f"never {name}: {last[0]}") from None

    def renew(self):
        """Judge, and begin again with empty providers: lists are as short as before, so that memory can be compared."""
        self.judge_batches()
        self.judged += self.intents
        self.intents, self.files, self.batches, self.contents = [], [], [], {}
        self.sim.reset()
        self.settled(self.files_off, "no file counted")

    def judge_batches(self):
        """One batch at most for each intent, and what was acknowledged is that one. @return how many there are"""
        made = {}
        for batch in self.all_batches():
            made.setdefault(batch["metadata"]["intent"], []).append(batch["id"])
        for intent in self.intents:
            ids = made.get(intent.name, [])
            assert len(ids) <= 1, f"made {len(ids)} times, {ids}: {intent}"
            assert len(intent.made) <= 1, f"told of two: {intent}"
            for told in intent.made:
                assert ids and told.startswith(ids[0]), f"told of {told}, there is {ids}: {intent}"
        return len(made)

    def unexpected_deaths(self):
        dead = {int(pid) for pid in re.findall(r"(?:worker|prober) \d+ \(pid (\d+)[^)]*\) ended", self.gateway.log)}
        return dead - set(self.killed)

    def processes(self):
        return [self.gateway.pid, *self.gateway.workers()]

    def descriptors(self):
        """Of the master, each worker and the prober: (pid, whether they are sockets) -> how many are open."""
        found = {}
        for pid in self.processes():
            found[pid, True] = found[pid, False] = 0
            for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    found[pid, str(fd.readlink()).startswith("socket:")] += 1
        return found

    def memory_kb(self):
        """Of the master, each worker and the prober, what is theirs alone: pid -> kB."""
        found = {}
        for pid in self.processes():
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            found[pid] = int(re.search(r"^Pss_Anon:\s+(\d+)", text, re.M).group(1))
        return found

    def end(self):
        self.gateway.finish(self.sim)
        self.sim.stop()


def memory_counts():
    """A sanitizer keeps what was freed."""
    return not sanitized()


def unknown(intents):
    """How many clients were left without an answer that says what became of their batch."""
    return len([i for i in intents if not i.made and (i.answers[-1] is None or not sdk_repeats(i.answers[-1]))])
