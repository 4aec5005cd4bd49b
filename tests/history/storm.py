#!/usr/bin/env python3
"""A run: several tenants' clients ask any node for anything, while nodes, database and providers are disturbed; all of it is recorded, and
judged afterwards (judge.py).

    storm.py --minutes 60 [--seed S] [--nodes 3] [--database postgres|sqlite|none] [--leases shares|counted] [--operations N] [--keep DIR]
             [--plant FAULT]

What clients ask and what disturbs them comes from the seed, in rounds of --operations; what becomes of it depends on time, so a seed
repeats the plan and not each race. A run that the judge finds fault with is kept (its folder is printed): judge.py judges it again.
TRANCHE_BUILD_DIR says which build.
"""

import argparse
import http.client
import json
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

from fleet import GROUP, KEYS, LOSES, MAX_LINES, NODES_CLOCKS, SETTLED, TEXTS, Fleet, Postgres, limits  # noqa: E402
from harness import BUILD, lines, multipart, until  # noqa: E402
from judge import TERMINAL, judge  # noqa: E402
from proof import FAULTS, sdk_repeats  # noqa: E402
from record import Past, Recorder, is_move, owner_of  # noqa: E402

CLIENTS, TRIES = 8, 6
ASK_S = 30  # a client's patience with one answer
WANTED = [name for name in KEYS if name != "master"]
CLOCKS = [0, 30, -30, 900, -900]
PROVIDERS_CLOCKS = [0, 30, -30, 600, -600]  # what failed longer ago than half an hour by its provider's clock is not moved any more
PLACES = [("POST", "*/batches*"), ("POST", "*/batches*"), ("POST", "*/files*"), ("GET", "*/batches*"), ("GET", "*/files*"), ("POST", "*/cancel*")]
# What ends by itself or by a limit of the gateway's; a 4xx about the request is no fault of the way.
WAYS = {name: action for name, action in FAULTS.items() if action.get("status") in (None, 429, 500, 502, 503, 504) and name != "oversize"}
WAYS.update({f"hang-{phase}": {"hang": phase} for phase in ("head", "answer")})


class Client(threading.Thread):
    """One client after the other's tenants; what it wants comes from the seed."""

    def __init__(self, storm, number, count):
        super().__init__(daemon=True)
        self.storm, self.number, self.count = storm, number, count
        self.lot = random.Random(f"{storm.seed} {storm.round} client {number}")
        self.problem = None

    def run(self):
        kinds = {self.upload: 3, self.create: 7, self.poll: 6, self.list: 1, self.cancel: 1, self.delete: 1, self.pry: 1, self.retry: 2}
        try:
            for _ in range(self.count):
                (kind,) = self.lot.choices(list(kinds), list(kinds.values()))
                kind(self.lot.choice(WANTED))
                self.storm.did_one()
        except BaseException as problem:  # told by the storm
            self.problem = problem

    def ask(self, who, op, method, path, body=None, headers=None, node=None, patience=ASK_S, **noted):
        """One call, recorded. @return the answer, or None: the connection broke, or patience ended"""
        out, node = self.storm.out, self.any_node() if node is None else node
        number = out.call(client=self.number, node=node, who=who, op=op, **noted)
        status, told, answer = None, {}, None
        try:
            answer = self.storm.fleet.nodes[node].gateway.request(method, path, body, headers=headers, key=TEXTS[who], timeout=patience)
            status, told = answer.status, what_it_says(answer)
        except (OSError, http.client.HTTPException) as problem:
            told = {"problem": type(problem).__name__}
        except (AssertionError, ValueError, KeyError) as problem:
            out.note("broken", text=f"call {number}: {str(problem)[:500]}")
        out.note("answer", call=number, status=status, **told)
        owner = KEYS[who]["owner"]
        for thing in told.get("objects", ()) if status == 200 else ():
            if op in ("create", "retry", "upload"):
                self.storm.have(thing["kind"], owner, (thing["id"], noted["lines"]) if op == "upload" else thing["id"])
            elif op in ("get_batch", "list") and thing["kind"] == "batch" and thing["status"] in TERMINAL:
                self.storm.have("ended", owner, thing["id"])
        return answer

    def read(self, who, path):
        """A file, or results: of lines. @return None: there is none, or it is not told"""
        try:
            answer = self.storm.fleet.nodes[self.any_node()].gateway.request("GET", path, key=TEXTS[who], timeout=ASK_S)
        except (OSError, http.client.HTTPException):
            return None
        return [json.loads(line) for line in answer.body.splitlines()] if answer.status == 200 else None

    def results(self, who, batch):
        """What became of each line, and what the output file has of them."""
        number = self.storm.out.call(client=self.number, who=who, op="results", target=batch)
        found = self.read(who, f"/v1/batches/{batch}/results")
        told = {"status": None if found is None else 200, "answers": [(line["custom_id"], what_became(line)) for line in found or ()]}
        answer = self.ask(who, "get_batch", "GET", f"/v1/batches/{batch}", target=batch)
        output = answer.json()["output_file_id"] if answer is not None and answer.status == 200 else None
        lines_of_it = self.read(who, f"/v1/files/{output}/content") if output else None
        if lines_of_it is not None:
            told["output"] = [line["custom_id"] for line in lines_of_it if what_became(line) == "ok"]
        self.storm.out.note("answer", call=number, **told)

    def any_node(self):
        return self.lot.randrange(len(self.storm.fleet.nodes))

    def repeat(self, who, op, method, path, body, headers, key, at=None, **noted):
        """As an SDK repeats it, or who trusts in the key and says nothing; at any node where nodes are one gateway, else at the same one.
        @param at  the node that is asked first; None: any"""
        node, answer, silent = self.any_node() if at is None else at, None, key is not None and self.lot.random() < 0.5
        for attempt in range(TRIES):
            more = {**headers, **({"Idempotency-Key": key} if key else {}), **({} if silent else {"x-stainless-retry-count": str(attempt)})}
            answer = self.ask(who, op, method, path, body, more, node=node, announced=attempt > 0 and not silent, **noted)
            if answer is not None and not sdk_repeats(answer):
                return answer
            wait = float(answer.headers.get("retry-after", 0.2)) if answer is not None else 0.3
            time.sleep(min(wait, 1.0))
            if self.storm.one_gateway:
                node = self.any_node()
        return answer

    # --- what it wants ---

    def upload(self, who):
        owner, count = KEYS[who]["owner"], self.lot.randint(1, MAX_LINES)
        name = self.storm.number(owner)
        key = f"file {name}" if self.lot.random() < 0.3 else None
        data, form = self.storm.form(count, f"{name}.jsonl")
        self.repeat(who, "upload", "POST", "/v1/files", data, {"Content-Type": form}, key, keyed=bool(key), lines=count, intent=name)

    def create(self, who, at=None):
        owner = KEYS[who]["owner"]
        picked = self.storm.pick("file", owner, self.lot)
        if picked is None:
            return self.upload(who)
        file, count = picked
        intent = self.storm.number(owner)
        key = intent if self.lot.random() < 0.6 else None
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"intent": intent}}
        noted = {"intent": intent, "keyed": bool(key), "lines": count, "file": file}
        twin = None
        if key and self.storm.one_gateway and self.lot.random() < 0.2:  # the same at the same time, anywhere
            twin = threading.Thread(target=self.ask, args=(who, "create", "POST", "/v1/batches", body, {"Idempotency-Key": key}),
                                    kwargs={**noted, "node": self.any_node()}, daemon=True)
            twin.start()
        self.repeat(who, "create", "POST", "/v1/batches", body, {}, key, at, **noted)
        if twin is not None:
            twin.join()

    def retry(self, who):
        """What has no answer of a batch that was seen to have ended."""
        batch = self.storm.pick("ended", KEYS[who]["owner"], self.lot)
        if batch is None:
            return self.poll(who)
        intent = self.storm.number(KEYS[who]["owner"])
        key = intent if self.lot.random() < 0.6 else None
        self.repeat(who, "retry", "POST", f"/v1/batches/{batch}/retry", {"metadata": {"intent": intent}}, {}, key, intent=intent, keyed=bool(key),
                    target=batch)

    def poll(self, who):
        batch = self.storm.pick("batch", KEYS[who]["owner"], self.lot)
        if batch is not None:
            self.ask(who, "get_batch", "GET", f"/v1/batches/{batch}", target=batch)

    def cancel(self, who):
        batch = self.storm.pick("batch", KEYS[who]["owner"], self.lot)
        if batch is not None:
            self.ask(who, "cancel", "POST", f"/v1/batches/{batch}/cancel", target=batch)

    def list(self, who):
        self.ask(who, "list", "GET", f"/v1/{self.lot.choice(['batches', 'batches', 'files'])}?limit={self.lot.choice([5, 20, 100])}")

    def delete(self, who):
        picked = self.storm.take("file", KEYS[who]["owner"], self.lot)
        if picked is not None:
            self.ask(who, "delete", "DELETE", f"/v1/files/{picked[0]}", target=picked[0])

    def pry(self, who):
        """Another tenant's batch or file."""
        other = self.lot.choice([name for name in WANTED if KEYS[name]["owner"] != KEYS[who]["owner"]])
        batch, file = (self.storm.pick(kind, KEYS[other]["owner"], self.lot) for kind in ("batch", "file"))
        if batch is not None:
            self.ask(who, "pry", *self.lot.choice([("GET", f"/v1/batches/{batch}"), ("POST", f"/v1/batches/{batch}/cancel")]), target=batch)
        if file is not None:
            self.ask(who, "pry", "GET", f"/v1/files/{file[0]}", target=file[0])


def what_it_says(answer):
    """What the history keeps of an answer."""
    told = {"replayed": answer.headers.get("idempotent-replayed") == "true", "again": sdk_repeats(answer)}
    value = answer.json()
    if answer.status >= 400:
        return {**told, "code": value["error"]["code"]}
    things = value["data"] if value.get("object") == "list" else [value]
    told["objects"] = [{"kind": t["object"], "id": t["id"], "status": t.get("status"), **counts_of(t),
                        "owner": owner_of((t.get("metadata") or {}).get("intent") or t.get("filename") if not is_output(t) else None)}
                       for t in things if t.get("object") in ("batch", "file") and not t.get("deleted")]
    return told


def counts_of(thing):
    counts = thing.get("request_counts")
    return {"counts": [counts.get(name) or 0 for name in ("total", "completed", "failed")]} if counts else {}


def what_became(line):
    """Of a line of results, or of an output file."""
    if line.get("error"):
        return str(line["error"].get("code"))
    status = (line.get("response") or {}).get("status_code")
    return "ok" if status == 200 else str(status)


def is_output(thing):
    return thing.get("purpose") == "batch_output"


class Storm:
    def __init__(self, directory, seed, nodes=3, database="postgres", env=None, disturbances=None, create_ms=0, leases="shares"):
        """@param leases  what nodes do with the shares that others have of an outage (tranche_settings.leases)
        @param disturbances  names of those that may come; None: all that make sense here
        @param create_ms  so long each provider takes to answer a create, so that many are under way when something dies"""
        self.seed, self.round, self.done = seed, 0, 0
        self.directory = pathlib.Path(directory)
        self.lot = random.Random(f"{seed} disturber")
        self.lock, self.news = threading.Lock(), threading.Condition()
        self.things, self.numbers, self.forms = {}, 0, {}
        self.fleet = Fleet(self.directory / "world", nodes, database, env, leases)
        self.out = Recorder(self.directory)
        # Whether a request may go to another node than the one before: seen in the warm-up.
        self.one_gateway = nodes == 1
        if create_ms:
            self.fleet.sim.fault({"hang": "answer", "ms": create_ms}, method="POST", path="*/batches", times=1_000_000)
        self.disturbances = [d for d in self.all_disturbances() if disturbances is None or d.__name__ in disturbances]
        self.deck = []
        self.world = {"seed": seed, "loses": sorted(LOSES), "nodes": nodes, "database": database, "leases": leases, "keys": KEYS, "limits": limits(), "looked_at_the_end": True}

    # --- what clients share ---

    def number(self, owner):
        with self.lock:
            self.numbers += 1
            return f"{owner}.{self.numbers}"

    def form(self, count, name):
        body, form = multipart([("purpose", "batch"), ("file", None)], lines(GROUP, count), filename=name)
        return body, form

    def have(self, kind, owner, thing):
        with self.lock:
            pool = self.things.setdefault((kind, owner), [])
            if thing not in pool:
                pool.append(thing)

    def pick(self, kind, owner, lot):
        """One of the newer ones, most often."""
        with self.lock:
            pool = self.things.get((kind, owner), [])
            return lot.choice(pool[-12:] if lot.random() < 0.8 else pool) if pool else None

    def take(self, kind, owner, lot):
        with self.lock:
            pool = self.things.get((kind, owner), [])
            return pool.pop(lot.randrange(len(pool))) if len(pool) > 6 else None

    def did_one(self):
        with self.news:
            self.done += 1
            if self.done % 4 == 0:
                method, path = self.lot_of_faults.choice(PLACES)
                name = self.lot_of_faults.choice(sorted(WAYS))
                account = self.lot_of_faults.choice(["eu", "us", "oai"])
                self.fleet.sim.fault(WAYS[name], account=account, method=method, path=path)
                self.out.note("fault", name=name, account=account, method=method, path=path)
            self.news.notify_all()

    # --- what is in their way. Each one is over when it returns ---

    def all_disturbances(self):
        found = [self.kill_worker, self.kill_prober, self.kill_master, self.kill_node, self.stop_worker, self.stop_prober, self.stop_node,
                 self.jump_providers_clock]
        if NODES_CLOCKS:
            found += [self.jump_nodes_clock]
        if self.fleet.database is not None:
            found += [self.kill_keeper, self.stop_keeper, self.hours_pass]
        if isinstance(self.fleet.database, Postgres):
            found += [self.cut_database, self.refuse_database, self.hold_database, self.hold_all, self.stop_database, self.restart_database,
                      self.fail_over]
        return found

    def node(self):
        return self.lot.choice(self.fleet.nodes)

    def pause(self, least, most):
        time.sleep(self.lot.uniform(least, most))  # for as long as the disturbance shall last

    def kill_child(self, role):
        node = self.node()
        for pid in node.children(role)[:1]:
            self.out.note("fault", name=f"kill {role}", node=node.number, pid=pid)
            if role == "keeper":  # without it the node is as without the database
                self.outage([node], True)
            node.kill_child(pid)
            if role == "keeper":
                self.outage([node], False)

    def kill_worker(self):
        self.kill_child("worker")

    def kill_prober(self):
        self.kill_child("prober")

    def kill_keeper(self):
        self.kill_child("keeper")

    def kill_whole(self, all_of_it):
        node = self.node()
        self.out.note("fault", name="kill node" if all_of_it else "kill master", node=node.number)
        self.out.note("death", node=node.number)
        node.kill(all_of_it)
        self.out.note("death", node=node.number)  # whatever it did until then was of the life before
        node.start()
        self.out.note("fault", name="start", node=node.number)

    def kill_master(self):
        self.kill_whole(False)

    def kill_node(self):
        self.kill_whole(True)

    def stop_some(self, role):
        node = self.node()
        pids = node.children(role) if role != "node" else [node.gateway.pid, *node.children()]
        self.out.note("fault", name=f"stop {role}", node=node.number, pids=pids)
        if role == "keeper":
            self.outage([node], True)
        node.stop(pids if role == "node" else pids[:1])
        self.pause(0.5, 3.0)
        node.go_on()
        if role == "keeper":
            self.outage([node], False)
        self.out.note("fault", name=f"go on {role}", node=node.number)

    def stop_worker(self):
        self.stop_some("worker")

    def stop_prober(self):
        self.stop_some("prober")

    def stop_keeper(self):
        self.stop_some("keeper")

    def stop_node(self):
        self.stop_some("node")

    def jump_nodes_clock(self):
        node, seconds = self.node(), self.lot.choice(CLOCKS)
        self.out.note("fault", name="clock of node", node=node.number, seconds=seconds)
        node.set_clock(seconds)

    def jump_providers_clock(self):
        account, seconds = self.lot.choice(["eu", "us", "oai"]), self.lot.choice(PROVIDERS_CLOCKS)
        self.out.note("fault", name="clock of provider", of=account, seconds=seconds)
        self.fleet.sim.switch(account, clock_skew_s=seconds)

    def hours_pass(self):
        self.out.note("fault", name="hours pass")
        self.fleet.database.hours_pass()

    def outage(self, nodes, begins):
        for node in nodes:
            self.out.note("outage", node=node.number, begins=begins)

    def cut_database(self):
        node = self.node()
        self.out.note("fault", name="cut", node=node.number)
        node.proxy.cut()

    def away(self, nodes, name, begin, end, least=1.0, most=5.0):
        self.out.note("fault", name=name, nodes=[n.number for n in nodes])
        self.outage(nodes, True)
        begin()
        self.pause(least, most)
        end()
        self.outage(nodes, False)

    def refuse_database(self):
        node = self.node()
        self.away([node], "refuse", node.proxy.refuse, node.proxy.heal)

    def hold_database(self):
        node = self.node()
        self.away([node], "hold", node.proxy.hold, node.proxy.heal)

    def hold_all(self):
        nodes = self.fleet.nodes
        self.away(nodes, "hold all", lambda: [n.proxy.hold() for n in nodes], lambda: [n.proxy.heal() for n in nodes])

    def stop_database(self):
        server = self.fleet.database.now
        self.away(self.fleet.nodes, "stop database", lambda: server.send(signal.SIGSTOP), lambda: server.send(signal.SIGCONT))

    def restart_database(self):
        server = self.fleet.database.now
        self.away(self.fleet.nodes, "restart database", server.stop, server.start, 0.1, 2.0)

    def fail_over(self):
        """What the last second or two brought is lost."""
        self.out.note("fault", name="fail over")
        self.outage(self.fleet.nodes, True)
        self.fleet.database.fail_over(lambda: self.pause(0.5, 2.0))
        self.outage(self.fleet.nodes, False)
        self.out.note("fault", name="failed over")

    # --- the run ---

    def warm_up(self):
        """A batch of each owner, in peace: whoever shares a database is seen to do so."""
        self.out.note("fault", name="warm up")
        self.world["tokens"] = self.fleet.sizes()
        client = Client(self, -1, 0)
        for who in WANTED:
            client.upload(who)
            client.create(who)
        can = self.fleet.can()
        self.one_gateway = len(self.fleet.nodes) == 1 or "fleet" in can
        if self.world["leases"] == "counted":
            self.have_leases(client)

    def have_leases(self, client):
        """Each node has some of every limit, as after hours of work: it is asked for all of them once nothing holds them any more."""
        for node in self.fleet.nodes:
            for who in WANTED:
                client.create(who, at=node.number)
        until(self.fleet.batches_ended, "all batches end", SETTLED)
        for node in self.fleet.nodes:
            self.out.note("fault", name="cut", node=node.number)
            node.proxy.cut()  # whoever meets a database anew renews them at once
        until(lambda: len(self.fleet.holders()) == len(self.fleet.nodes), "each node has leases", SETTLED)

    def blow(self, operations):
        """So many, by all clients together, while one disturbance after the other comes and goes."""
        self.round += 1
        self.lot_of_faults = random.Random(f"{self.seed} {self.round} faults")
        clients = [Client(self, n, operations // CLIENTS) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        due = self.done
        while any(c.is_alive() for c in clients):
            due += max(operations // 24, 4)
            with self.news:
                self.news.wait_for(lambda: self.done >= due or not any(c.is_alive() for c in clients), timeout=5)
            if self.disturbances and any(c.is_alive() for c in clients):
                self.deck = self.deck or self.lot.sample(self.disturbances, len(self.disturbances))
                self.deck.pop()()
        for client in clients:
            client.join()
            if client.problem is not None:
                raise client.problem

    def look_at_the_end(self):
        """Every owner looks for all that it was told of, at any node, until an answer comes that is one."""
        client = Client(self, -2, 0)
        with self.lock:
            wanted = [(kind, owner, thing) for (kind, owner), things in self.things.items() if kind != "ended" for thing in things]
        whose = {key["owner"]: name for name, key in reversed(list(KEYS.items()))}
        for kind, owner, thing in wanted:
            shown = thing if kind == "batch" else thing[0]
            target = f"/v1/{'batches' if kind == 'batch' else 'files'}/{shown}"

            def look():
                answer = client.ask(whose[owner], f"get_{kind}", "GET", target, target=shown)
                if answer is not None and answer.status in (200, 404):
                    return True
                time.sleep(0.2)
                return False

            until(look, f"an answer to {target}")

    def read_at_the_end(self):
        """The answers to every line of every batch."""
        client = Client(self, -3, 0)
        with self.lock:
            wanted = [(owner, batch) for (kind, owner), things in self.things.items() if kind == "batch" for batch in things]
        whose = {key["owner"]: name for name, key in reversed(list(KEYS.items()))}
        for owner, batch in wanted:
            client.results(whose[owner], batch)

    def finish(self, patience=SETTLED, passes=True):
        """The end of all disturbances, and what is left then. @return Past"""
        try:
            self.out.note("fault", name="heal")
            self.fleet.heal()
            self.look_at_the_end()
            until(self.fleet.batches_ended, "all batches end", SETTLED)
            self.read_at_the_end()
            end = self.fleet.settle(patience, passes)
            ledger = self.fleet.ledger()
        finally:
            problems = self.fleet.end()
        for node in self.fleet.nodes:
            (self.directory / f"node-{node.number}.log").write_text("\n".join(node.logs), encoding="utf-8")
        end["deaths"] = problems + [text for node in self.fleet.nodes for text in node.deaths]
        for name, value in (("world", self.world), ("ledger", ledger), ("end", end)):
            self.out.keep(name, value)
        self.out.close()
        return Past.read(self.directory)


def run(directory, seed, operations=320, minutes=0, patience=SETTLED, passes=True, **more):
    """One run, from start to judgement. @param patience  seconds until what is still counted in the end is wrong
    @param passes  whether the database's time may be made to pass meanwhile
    @return (Past, what is wrong with it)"""
    storm = Storm(directory, seed, **more)
    until_s = time.monotonic() + minutes * 60
    try:
        storm.warm_up()
        storm.blow(operations)
        while time.monotonic() < until_s:
            storm.blow(operations)
    except BaseException:
        storm.out.close()
        storm.fleet.end()
        raise
    past = storm.finish(patience, passes)
    return past, judge(past)


def keep(directory, name):
    """A run that somebody has to look at, in a place that stays. @return it"""
    place = BUILD / "histories" / f"{name}-{time.strftime('%H%M%S')}"
    shutil.copytree(directory, place, ignore=shutil.ignore_patterns("world"))
    return place


def retried(past):
    return sum(call.good for call in past.of_op("retry"))


def summary(past):
    kinds = {}
    for line in past.lines:
        if line["what"] == "fault" and "account" not in line:
            kinds[line["name"]] = kinds.get(line["name"], 0) + 1
    statuses = {}
    for call in past.of_op("create"):
        statuses[call.status] = statuses.get(call.status, 0) + 1
    moves, gone = sum(is_move(b) for b in past.batches), sum(f["deleted"] for f in past.files)
    return f"{len(past.calls)} calls, {len(past.intents())} intents, {len(past.batches)} batches ({moves} moved, {retried(past)} retried), " \
           f"{len(past.files)} files ({gone} deleted); creates were answered {statuses}; disturbed by {kinds}; the program can {sorted(past.can)}"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options.add_argument("--minutes", type=float, default=0)
    options.add_argument("--operations", type=int, default=320, help="of one round; there is one at least")
    options.add_argument("--nodes", type=int, default=3)
    options.add_argument("--database", choices=["none", "sqlite", "postgres"], default="postgres")
    options.add_argument("--leases", choices=["shares", "counted"], default="shares", help="tranche_settings.leases")
    options.add_argument("--keep", help="a folder for what is recorded; it must not be there")
    options.add_argument("--plant", help="a fault that the program is built with (common/seeded_fault.h)")
    options.add_argument("--only", help="disturbances, with commas; an empty text: none")
    args = options.parse_args()
    directory = pathlib.Path(args.keep or tempfile.mkdtemp(prefix="tranche-history-"))
    print(f"seed {args.seed}, {directory}", flush=True)
    past, found = run(directory, args.seed, args.operations, args.minutes, nodes=args.nodes, database=args.database, leases=args.leases,
                      env={"TRANCHE_SEEDED_FAULT": args.plant} if args.plant else None,
                      disturbances=None if args.only is None else args.only.split(","))
    print(summary(past))
    for name, text in found:
        print(f"{name}: {text}")
    if not found and not args.keep:
        shutil.rmtree(directory)
    print(f"{len(found)} violations; seed {args.seed}" + (f"; kept in {directory}" if found or args.keep else ""))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
