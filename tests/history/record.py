"""What a run leaves behind, and how it is read again.

    world.json      what the run was given: seed, nodes, keys, limits, sizes of files
    history.jsonl   one line for each call, each answer and each disturbance, as they came
    ledger.json     what the providers really did (the simulator's /control/ledger)
    end.json        afterwards: what the nodes and the database still count, the database's rows, who died unexpectedly

Times are Unix milliseconds of one machine, which are the simulator's too: the run never moves its clock. Lines of the history:

    {"at", "what": "call", "call": n, "client", "node", "who", "op", ...}   op: upload create retry get_batch get_file list cancel delete results
    {"at", "what": "answer", "call": n, "status", "code", "again", "replayed", "objects": [...]}   status null: the connection broke
    {"at", "what": "outage", "node", "begins": true}       from here, to false, that node and the database do not reach each other
    {"at", "what": "death", "node"}                        all of that node was killed: its shared memory is gone
    {"at", "what": "fault", ...}                           anything else that was done to them, for who reads it
    {"at", "what": "broken", "text"}                       an answer that no answer may be

A create's call has `intent`, `file`, `lines`, `keyed`, `announced` (an SDK says that it asked before), a retry's has `target`, the batch that
it is of, in place of `file` and `lines`; an object of an answer has `kind` (file, batch), `id`, `status`, `counts` (total, completed, failed),
and `owner`: whose it is according to what its maker wrote into it (metadata `intent` of a batch, name of a file), null where nothing is
written. The answer to `results` has `answers`, pairs of a line's custom_id and what became of it (ok, or an error's code), in their order,
and, at the end of the run, `output`: the custom_ids in the output file that were answered well.
"""

import json
import pathlib
import re
import threading
import time

TAG = re.compile(r"-t[a-z2-7]{32}$")
MARK = re.compile(r"^(.+)\.\d+(\.jsonl)?$")
# In the marker of a batch that was moved after its failure the nonce begins so (server/objects/include/objects/moved.h).
MOVED = re.compile(r"(^|\.)6d6f7665[0-9a-f]{24}\.")


def now_ms():
    return time.time_ns() // 1_000_000


def native(shown):
    """The provider's own id in one that a client sees."""
    return TAG.sub("", shown) if shown else shown


def owner_of(mark):
    """Whose an object is by what its maker wrote: OWNER.NUMBER, with .jsonl behind it for a file."""
    found = MARK.match(mark or "")
    return found.group(1) if found else None


def is_move(batch):
    return bool(MOVED.search((batch.get("metadata") or {}).get("tranche", "")))


def failed_late(batch):
    return batch["status"] == "failed" and batch.get("code") == "token_limit_exceeded"


def began(batch):
    return (batch.get("entered_ms") or {}).get("validating", 0)


class Tale:
    """A batch as its client knows it: what its providers made of it, one after the other, under the id of the first."""

    def __init__(self, first):
        self.all = [first]
        self.id, self.intent = first["id"], (first.get("metadata") or {}).get("intent")
        self.owner = owner_of(self.intent)

    @property
    def last(self):
        return self.all[-1]

    @property
    def lines(self):
        return max(b.get("lines", 0) for b in self.all)


def tales(batches):
    """Of what providers made."""
    found, of_intent = [], {}
    for batch in sorted(batches, key=lambda b: (began(b), is_move(b))):
        before = of_intent.setdefault((batch.get("metadata") or {}).get("intent"), [])
        if is_move(batch) and before:
            next((t for t in before if failed_late(t.last)), before[-1]).all.append(batch)
        else:
            before.append(Tale(batch))
            found.append(before[-1])
    return found


class Recorder:
    """Lines of the history, from many threads."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        self.calls = 0
        self.out = open(self.directory / "history.jsonl", "w", encoding="utf-8")

    def note(self, what, **more):
        with self.lock:
            self.out.write(json.dumps({"at": now_ms(), "what": what, **more}) + "\n")

    def call(self, **more):
        """@return the call's number, for its answer"""
        with self.lock:
            self.calls += 1
            self.out.write(json.dumps({"at": now_ms(), "what": "call", "call": self.calls, **more}) + "\n")
            return self.calls

    def keep(self, name, value):
        (self.directory / f"{name}.json").write_text(json.dumps(value, indent=1), encoding="utf-8")

    def close(self):
        self.out.close()


class Call:
    """A call and its answer; one that was never answered has status None and ends when the history does."""

    def __init__(self, line):
        self.began, self.ended, self.status, self.code = line["at"], None, None, None
        self.number, self.node, self.who, self.op = line["call"], line.get("node"), line.get("who"), line.get("op")
        self.intent, self.lines, self.keyed, self.target = line.get("intent"), line.get("lines"), line.get("keyed"), line.get("target")
        self.announced = line.get("announced", False)
        self.again, self.replayed, self.objects = False, False, []
        self.file, self.answers, self.output = line.get("file"), None, None

    def answer(self, line):
        self.ended, self.status, self.code = line["at"], line["status"], line.get("code")
        self.again, self.replayed, self.objects = line.get("again", False), line.get("replayed", False), line.get("objects", [])
        self.answers, self.output = line.get("answers"), line.get("output")

    @property
    def good(self):
        return self.status == 200

    def __repr__(self):
        return f"call {self.number} ({self.op} of {self.who} at node {self.node}: {self.status} {self.code or ''})"


class Past:
    """All that a run left, as the judge reads it."""

    def __init__(self, world, lines, ledger, end):
        self.world, self.end = world, end
        self.lines = lines
        self.calls = {}
        for line in lines:
            if line["what"] == "call":
                self.calls[line["call"]] = Call(line)
            elif line["what"] == "answer":
                self.calls[line["call"]].answer(line)
        self.calls = list(self.calls.values())
        self.batches = [{**b, "account": name} for name, a in ledger["accounts"].items() for b in a.get("batches", [])]
        self.tales = tales(self.batches)
        self.files = [{**f, "account": name} for name, a in ledger["accounts"].items() for f in a.get("files", [])]

    @classmethod
    def read(cls, directory):
        directory = pathlib.Path(directory)
        with open(directory / "history.jsonl", encoding="utf-8") as text:
            lines = [json.loads(line) for line in text]
        world, ledger, end = (json.loads((directory / f"{name}.json").read_text()) for name in ("world", "ledger", "end"))
        return cls(world, lines, ledger, end)

    @property
    def can(self):
        """What this program and its database do for a fleet: fleet, registry, usage, events, deletions."""
        return set(self.end.get("can", []))

    def rows(self, table):
        return self.end.get("tables", {}).get(table, [])

    def owner(self, who):
        return self.world["keys"][who]["owner"]

    def of_op(self, *ops):
        return [c for c in self.calls if c.op in ops]

    def intents(self):
        """intent -> its creates, in order"""
        found = {}
        for call in self.of_op("create", "retry"):
            found.setdefault(call.intent, []).append(call)
        return found
