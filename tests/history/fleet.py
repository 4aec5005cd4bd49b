"""The world of a run: providers, a database, and nodes that are one gateway as far as they can be: one configuration, one set of seal keys,
one database. Everything that can be done to them is a method here; who does it when is storm.py's."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import struct
import time

import harness
from harness import BUILD, GROUP, MASTER_KEY, PROVIDER_KEYS, Gateway, Sim, azure_account, azure_deployment, free_port, lines, sim_config, until
from postgres import Cluster, Replica
from proxy import Proxy
from record import tales
from tenants import hash_of
from test_metrics import Page

# Seconds within which all must have come to an end: a create whose worker died is left alone for ten minutes and looked for twice then, a
# claim of a minute each time. Both are the database's time, which is made to pass where that can be done: LEFT_ALONE at once, and CLAIM
# whenever all that is in doubt has been claimed for PASSES seconds, each time half as much longer, for a look takes as long as ever.
SETTLED = float(os.environ.get("TRANCHE_SOAK_SETTLED", "900"))
LEFT_ALONE, CLAIM, PASSES = 601, 61, 3.0
TERMINAL = {"completed", "failed", "expired", "cancelled"}
# What must be nothing in the end.
SUMS = ("tranche_reservations", "tranche_orphaned_reservations", "tranche_enqueued_tokens", "tranche_upstream_in_flight", "tranche_spool_bytes")
TABLES = ("node", "allowance", "reservation", "idempotency", "lease", "batch", "batch_part", "usage", "hook_event", "owned_gap", "deletion")
HOURS = "update {}deletion set due = 5, next_at = 5 where done is null"
DIED = re.compile(r"(\w+ \d+) \(pid (\d+)[^)]*\) ended(.*)")
MAX_LINES = 8
CLOCK_SHIFT = BUILD / "tests" / "history" / "tranche-clock-shift.so"  # clock_shift.c
CACHE = BUILD / "CMakeCache.txt"
# A sanitizer's runtime has to be the first library of a program, so nodes of such a build have the machine's clock.
NODES_CLOCKS = CACHE.is_file() and not re.search(r"TRANCHE_(ASAN|TSAN):BOOL=ON", CACHE.read_text())

# Who asks: the owner is what its objects carry in their names. Batches of every owner are limited, of some their tokens too.
KEYS = {
    "a1": {"owner": "team-a", "team": "team-a", "max_open_batches": 6},
    "a2": {"owner": "team-a", "team": "team-a"},
    "b1": {"owner": "team-b", "team": "team-b", "batch_enqueued_token_limit": 250, "delete_after": "1h"},
    "lone": {"owner": "lone", "max_open_batches": 4, "batch_enqueued_token_limit": 300},
    "master": {"owner": None, "admin": True},
}
TEAMS = {"team-a": {"batch_enqueued_token_limit": 600}, "team-b": {"max_open_batches": 5}}
DEPLOYMENT_TOKENS = 300  # of the account eu, as configured: its provider has no limit of its own
LATE_TOKENS = 700  # of the account us, as its provider counts and nobody has configured: what is more fails after its create
LOSES = {"us": 3}  # of whose lines each so-manyth that ran has no answer
TEXTS = {name: MASTER_KEY if name == "master" else f"sk-history-{name}-5b1c0d9e7f3a" for name in KEYS}
LIMIT_NAMES = {"batch_enqueued_token_limit": "tokens", "max_open_batches": "batches"}


def limits():
    """As the judge reads them."""
    found = {f"key:{name}": key for name, key in KEYS.items()}
    found.update({f"team:{name}": team for name, team in TEAMS.items()})
    named = {scope: {LIMIT_NAMES[n]: v for n, v in fields.items() if n in LIMIT_NAMES} for scope, fields in found.items()}
    return {**{scope: values for scope, values in named.items() if values}, "deployment:eu": {"tokens": DEPLOYMENT_TOKENS}}


def providers(directory):
    """Two Azure resources and an OpenAI project, whose batches take some seconds: as long as is needed for limits to bite."""
    accounts = [azure_account(name, switches={"max_files": 0, "seed": seed, "lose_every": LOSES.get(name, 0)},
                              deployments=[{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch", "refusal": "slow",
                                            "enqueued_token_limit": LATE_TOKENS if name == "us" else 0}])
                for seed, name in enumerate(("eu", "us"), 1)]
    accounts.append({"name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"], "models": ["gpt-4o-mini"],
                     "switches": {"batches_per_hour": 0, "seed": 3}})
    return Sim(directory, sim_config(accounts, validate_ms=200, run_ms=2500, finalize_ms=50, cancel_ms=200))


def config_of(sim, state, database, leases):
    rows = [azure_deployment(sim, name, order=order) for order, name in enumerate(("eu", "us"), 1)]
    rows[0]["model_info"]["enqueued_token_limit"] = DEPLOYMENT_TOKENS
    rows.append({"model_name": GROUP, "model_info": {"mode": "batch"},
                 "litellm_params": {"order": 3, "model": "openai/gpt-4o-mini", "api_base": sim.base("oai") + "/v1", "api_key": PROVIDER_KEYS["oai"]}})
    fields = {*LIMIT_NAMES, *(["delete_after"] if database else [])}
    keys = [{"hash": hash_of(TEXTS[name]), "key_alias": name, "models": ["*"], **({"team_id": key["team"]} if "team" in key else {}),
             **{n: v for n, v in key.items() if n in fields}} for name, key in KEYS.items() if name != "master"]
    settings = {"seal_keys": ["a-seal-key-of-the-histories"], "state_dir": str(state), "keys": keys,
                "teams": [{"team_id": name, "models": ["*"], **team} for name, team in TEAMS.items()],
                "timeouts": {"json_total_ms": "2s", "first_byte_ms": "2s", "low_speed_ms": "2s", "watch_ms": "1s", "count_files_ms": "1s"},
                "limits": {"max_files": {"azure": 100_000}}}
    if database:
        settings.update(database="os.environ/HISTORY_DATABASE", leases=leases)
    return {"model_list": rows, "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
            "general_settings": {"master_key": MASTER_KEY}, "router_settings": {"cooldown_time": 1, "allowed_fails": 50},
            "tranche_settings": settings}


class Postgres:
    """The server, and one that follows it; nodes reach whichever serves through a proxy each."""

    def __init__(self):
        self.gone = []
        self.now = Cluster(clock=CLOCK_SHIFT)
        self.passed = 0
        self.link = Proxy(lambda: unix(self.now.socket))  # over which the replica follows
        self.replica = Replica(self.now, "127.0.0.1", self.link.port)
        until(self.replica.follows, "the replica follows")

    def connect(self):
        return unix(self.now.socket)

    def fail_over(self, lose):
        """The server dies, and with it what came while lose() ran; the replica takes its place, and gets one of its own."""
        until(self.replica.follows, "the replica follows")
        self.link.hold()
        lose()
        self.now.stop()
        self.gone.append(self.now)
        self.link.refuse()
        self.replica.promote()
        self.now = self.replica
        self.link.heal()
        self.replica = Replica(self.now, "127.0.0.1", self.link.port)

    def pass_time(self, seconds):
        """So much later is it for the database from now on, at once: whatever waits for its time has waited."""
        self.passed += seconds
        self.now.set_clock(self.passed)

    def hours_pass(self):
        """For files that are to go, and for nothing else."""
        self.now.psql(HOURS.format("tranche."), check=False)

    def rows(self, table):
        done = self.now.psql(f"select coalesce(json_agg(t), '[]') from tranche.{table} t", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else []

    def close(self):
        self.link.close()
        for one in [self.replica, self.now, *self.gone]:
            one.close()


class Sqlite:
    def __init__(self, directory):
        self.path = directory / "history.db"

    def hours_pass(self):
        with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as db, db:
            db.execute(HOURS.format(""))

    def rows(self, table):
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=60)) as db:
            db.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in db.execute(f"select * from {table}")]
            except sqlite3.OperationalError:
                return []

    def close(self):
        pass


def unix(path):
    one = socket.socket(socket.AF_UNIX)
    try:
        one.connect(path)
    except OSError:
        one.close()
        raise
    return one


class Node:
    """One gateway, that may be killed and started again at its address."""

    def __init__(self, fleet, number):
        self.fleet, self.number = fleet, number
        self.port = free_port()
        self.proxy = Proxy(fleet.database.connect) if isinstance(fleet.database, Postgres) else None
        self.clock = fleet.directory / f"clock-{number}"
        self.set_clock(0)
        self.killed, self.deaths, self.stopped, self.logs = set(), [], set(), []
        self.gateway = None
        self.start()

    @property
    def name(self):
        return f"node {self.number}"

    def start(self):
        env = dict(self.fleet.env)
        if NODES_CLOCKS:
            env.update(LD_PRELOAD=str(CLOCK_SHIFT), HISTORY_CLOCK=str(self.clock))
        if self.proxy is not None:
            env["HISTORY_DATABASE"] = f"postgresql://postgres@127.0.0.1:{self.proxy.port}/postgres?sslmode=disable"
        elif self.fleet.database is not None:
            env["HISTORY_DATABASE"] = f"sqlite://{self.fleet.database.path}"
        self.gateway = Gateway(self.fleet.directory, self.fleet.config, host_port=False, env=env,
                               args=["--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "2"])
        self.gateway.deaths_expected = True  # of those that we kill: see look_for_deaths()
        self.gateway.wait_line("generation 1 serves")

    def set_clock(self, seconds):
        """So far before or behind the machine's is its wall clock from now on."""
        with open(self.clock, "r+b" if self.clock.exists() else "wb") as file:
            file.write(struct.pack("q", seconds * 1000))

    def children(self, role=""):
        """pids of the children of that role"""
        found = []
        for pid in self.gateway.workers():
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip().startswith(f"tranche-{role}"):
                    found.append(pid)
        return found

    def kill_child(self, pid):
        self.killed.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def stop(self, pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.stopped.add(pid)

    def go_on(self):
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.stopped.clear()

    def kill(self, all_of_it):
        """The master alone, whose children end with it, or all at once: a machine without power."""
        self.look_for_deaths()
        self.stopped.clear()
        (os.killpg if all_of_it else os.kill)(self.gateway.pid, signal.SIGKILL)
        self.gateway.wait()
        assert self.gateway.wait_output_end(), f"{self.name}: a child outlived its master:\n{self.gateway.log}"
        self.judge_log()

    def look_for_deaths(self):
        for who, pid, how in DIED.findall(self.gateway.log):
            text = f"{self.name}: {who} (pid {pid}) ended{how}"
            if int(pid) not in self.killed and text not in self.deaths:
                self.deaths.append(text)

    def judge_log(self):
        """Of a gateway that has ended."""
        self.logs.append(self.gateway.log)
        for what in filter(None, [harness.SANITIZER.search(self.gateway.log), *(re.search(re.escape(t), self.gateway.log) for t in TEXTS.values())]):
            self.deaths.append(f"{self.name}: its log has {what.group(0)!r}")

    def sums(self):
        """What it still counts."""
        page = Page(self.gateway.get("/metrics").body.decode())
        return {name: page.sum(name) for name in SUMS}

    def end(self):
        self.look_for_deaths()
        try:
            if self.gateway.stop() != 0:
                self.deaths.append(f"{self.name} ended with status {self.gateway.popen.returncode}")
            self.gateway.finish(self.fleet.sim)
        finally:
            if self.proxy is not None:
                self.proxy.close()
        self.look_for_deaths()
        self.judge_log()


class Fleet:
    def __init__(self, directory, nodes=3, database="postgres", env=None, leases="shares"):
        self.directory, self.env = pathlib.Path(directory), dict(env or {})
        self.directory.mkdir(parents=True, exist_ok=True)
        state = self.directory / "state"
        state.mkdir()
        self.nodes, self.database, self.sim = [], None, None
        try:
            self.sim = providers(self.directory)
            self.database = {"postgres": Postgres, "sqlite": lambda: Sqlite(self.directory), "none": lambda: None}[database]()
            self.config = config_of(self.sim, state, self.database, leases)
            for number in range(nodes):
                self.nodes.append(Node(self, number))
        except BaseException:
            self.end()
            raise

    def sizes(self):
        """How many tokens a file of so many lines counts for."""
        gateway, found = self.nodes[0].gateway, {}
        for count in range(1, MAX_LINES + 1):
            file = gateway.uploaded(lines(count=count), filename="master.0.jsonl")["id"]
            answer = gateway.post("/v1/batches/placement", {"input_file_id": file})
            assert answer.status == 200, answer
            found[str(count)] = answer.json()["tokens"]
            assert gateway.delete(f"/v1/files/{file}").status == 200
        return found

    def ledger(self):
        return self.sim.control("GET", "/control/ledger").json()

    def tables(self):
        return {table: self.database.rows(table) for table in TABLES} if self.database is not None else {}

    def can(self):
        """What is seen to work, in what the database has of this very run. A reservation that was written down after its batch was found
        has the marker's name: it is nothing that a create has asked for."""
        if self.database is None or not any(r["id"] != r["nonce"] for r in self.database.rows("reservation")):
            return []
        return ["fleet", *(ability for ability, table in (("registry", "batch"), ("usage", "usage"), ("events", "hook_event"),
                                                           ("deletions", "deletion")) if self.database.rows(table))]

    def holders(self):
        """Nodes that may grant a batch of some key alone."""
        return {row["node"] for row in self.database.rows("lease") if row["scope"].startswith("k:") and (row["batches"] or 0) > 0}

    def heal(self):
        """Nothing is in anybody's way any more, and all nodes are there."""
        self.sim.clear_faults()
        self.sim.control("POST", "/control/switches", {"set": {"clock_skew_s": 0}})
        if isinstance(self.database, Postgres):
            if self.database.now.server.poll() is None:
                self.database.now.send(signal.SIGCONT)
            else:
                self.database.now.start()
        for node in self.nodes:
            node.go_on()
            node.set_clock(0)
            if node.proxy is not None:
                node.proxy.heal()
            if node.gateway.popen.poll() is not None:
                node.start()

    def batches_ended(self):
        return all(b["status"] in TERMINAL for account in self.ledger()["accounts"].values() for b in account.get("batches", []))

    def settle(self, patience=SETTLED, passes=True):
        """Wait until nothing is counted any more, or for long enough. @param passes  whether the database's time may be made to pass
        @return what end.json says of it"""
        until(self.batches_ended, "all batches end", SETTLED)
        began, said = time.monotonic(), {}
        leap, wait, since = LEFT_ALONE, PASSES, began
        while True:
            said = {"sums": {str(node.number): node.sums() for node in self.nodes}, "tables": self.tables(), "can": self.can()}
            if not self.owed(said) or time.monotonic() > began + patience:
                return said
            if self.files_wait(said["tables"]):
                self.database.hours_pass()
            if self.must_wait(said, leap):
                since = time.monotonic()
            elif passes and isinstance(self.database, Postgres) and time.monotonic() > since + wait:
                self.database.pass_time(leap)
                leap, wait, since = CLAIM, wait * 1.5, time.monotonic()
            time.sleep(0.5)  # between two looks at what says nothing of itself when it changes

    def must_wait(self, said, leap):
        """Whether something is under way that no time shall pass over."""
        if leap == LEFT_ALONE:  # what is under way is no create that was left alone
            return any(sums["tranche_upstream_in_flight"] for sums in said["sums"].values())
        now_ms = (time.time() + getattr(self.database, "passed", 0)) * 1000
        return any(r["state"] in (0, 3) and r["claim_until"] <= now_ms for r in said["tables"].get("reservation", ()))

    def owed(self, said):
        """Whether anything is left that is not zero, or not written yet."""
        batches = tales([b for account in self.ledger()["accounts"].values() for b in account.get("batches", [])])
        rows, wanted = said["tables"], {"registry": "batch", "usage": "usage", "events": "hook_event"}
        late = [ability for ability, table in wanted.items() if ability in said["can"] and len(rows[table]) < len(batches)]
        counted = any(value != 0 for sums in said["sums"].values() for value in sums.values())
        held = any(r["used"] or r["held_nano"] for r in rows.get("allowance", ())) or any(r["state"] != 2 for r in rows.get("reservation", ()))
        running = any(r["status"] not in TERMINAL for r in rows.get("batch", ()))
        return late or counted or held or running or self.files_wait(rows)

    def files_wait(self, rows):
        return any(r["done"] is None for r in rows.get("deletion", ()))

    def end(self):
        problems = []
        for node in self.nodes:
            try:
                node.end()
            except AssertionError as problem:
                problems.append(f"{node.name}: {str(problem)[:3000]}")
        for one in filter(None, (self.sim, self.database)):
            (one.stop if one is self.sim else one.close)()
        return problems
