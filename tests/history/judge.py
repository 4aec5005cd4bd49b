#!/usr/bin/env python3
"""The judge of a history: reads what a run left (record.py) and says what cannot be so. It needs no process and changes nothing.

    judge.py DIR...     one line for each thing that is wrong; exit code 1 when there is any

Each invariant is a function that yields sentences. What a program cannot do yet is not asked of it: `needs` names what has to be there
(`can` of end.json, which is seen in the running program and its database, never guessed from a version).
"""

import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from record import Past, Tale, began, failed_late, is_move, native, owner_of  # noqa: E402

TERMINAL = {"failed", "completed", "expired", "cancelled"}
STEPS = {"validating": {"in_progress", "failed", "cancelling", "expired"}, "in_progress": {"finalizing", "cancelling", "expired", "failed"},
         "finalizing": {"completed", "cancelling", "expired", "failed"}, "cancelling": {"cancelled", "completed", "expired", "failed"}}
# Refusals after which a client may take it that there is no batch; 409 and 429 say "not now", and these that nobody knows.
UNSURE = {"create_outcome_unknown", "repeat_unknown", "idempotency_answer_lost", "idempotency_in_progress"}
# What became of a batch that failed late is news to other nodes for about a second: their keepers read it then (keeper/followed_rows). Until
# that is mended one node alone has to keep D4 (journal README) at once, and all of them after so long.
NEWS_MS = 15_000
MOST_MOVES = 3  # of one batch (server/journal/include/journal/moves.h)
OUTAGE_SLACK_MS = 15_000  # after an outage a node may go on for so long as if it lasted: it does not try again at once

INVARIANTS = {}


def invariant(*needs):
    def keep(function):
        function.needs = set(needs)
        INVARIANTS[function.__name__] = function
        return function
    return keep


def reachable():
    out = {}
    for status in [*STEPS, *TERMINAL]:
        seen, more = {status}, [status]
        while more:
            for after in STEPS.get(more.pop(), ()):
                if after not in seen:
                    seen.add(after)
                    more.append(after)
        out[status] = seen
    return out


REACHABLE = reachable()


def by_intent(past):
    found = collections.defaultdict(list)
    for tale in past.tales:
        found[tale.intent].append(tale)
    return found


def ended_at(batch):
    return min([at for status, at in (batch.get("entered_ms") or {}).items() if status in TERMINAL], default=float("inf"))


def was_failed_over(past):
    """To a replica that had not heard of everything: what the database had been told then is lost."""
    return any(line["what"] == "fault" and line.get("name") == "fail over" for line in past.lines)


# --- batches and files ---


def batches_of_one(calls, gaps):
    """How many batches one intent may have. Several first tries at once are known to be one only where the nodes that got them reach the
    database (journal C28: `idempotency: local`); a try that is announced as another one is looked for at the providers, and needs none."""
    first = [c for c in calls if not c.announced]
    alone = [c for c in first if in_outage(gaps, c.node, c.began, c.ended)]
    return len(first) if alone and len({c.node for c in first}) > 1 else 1


@invariant()
def no_batch_is_made_twice(past):
    """One batch at most for each thing that a client wanted once, and nothing that nobody wanted."""
    intents, gaps = past.intents(), outages(past)
    for intent, told in by_intent(past).items():
        if len(told) > batches_of_one(intents.get(intent, ()), gaps):
            ids = [f"{t.id} at {t.all[0]['account']}" for t in told]
            yield f"{intent} was made {len(told)} times: {', '.join(ids)}; {intents.get(intent)}"
        if intent not in intents:
            yield f"{told[0].id} at {told[0].all[0]['account']} was asked for by nobody (intent {intent})"


@invariant()
def a_batch_moves_only_when_it_has_failed_late(past):
    """To one place at a time, and so often."""
    for tale in past.tales:
        for before, after in zip(tale.all, tale.all[1:]):
            if not failed_late(before) or ended_at(before) > began(after):
                yield f"{tale.id} was moved to {after['id']} at {after['account']} while it was {before['status']} as {before['id']} at {before['account']}"
        if len(tale.all) > 1 + MOST_MOVES or is_move(tale.all[0]):
            yield f"{tale.id} was moved to {[b['id'] for b in tale.all[1:]]}, and began at {tale.all[0]['account']}"


@invariant()
def a_moved_batch_keeps_its_id(past):
    """Nobody ever sees the one that it has where it runs."""
    moved = {b["id"] for b in past.batches if is_move(b)}
    if was_failed_over(past):
        return
    for call in past.calls:
        for thing in call.objects if call.good else ():
            if thing.get("kind") == "batch" and native(thing["id"]) in moved:
                yield f"{thing['id']} is a batch that was moved there: {call}"


@invariant()
def one_batch_is_told_for_one_intent(past):
    """All answers to one intent name the same batch, or one of those that it may have, and that one carries its name."""
    made, gaps = {b["id"]: b for b in past.batches}, outages(past)
    for intent, calls in past.intents().items():
        told = {native(o["id"]) for c in calls if c.good for o in c.objects}
        if len(told) > batches_of_one(calls, gaps):
            yield f"{intent} was told of {sorted(told)}: {calls}"
        for name in told & set(made):
            mark = (made[name].get("metadata") or {}).get("intent")
            if mark != intent:
                yield f"{intent} was told of {name}, which is {mark}: {calls}"


def kept(past, kind, makers, there, gone):
    """What was acknowledged is at a provider, and whoever looks for it at the end finds it."""
    looked = {c.target: c for c in past.of_op(f"get_{kind}")}  # the last one of each
    for call in makers:
        for shown in {o["id"] for o in call.objects} if call.good else ():
            if native(shown) not in there:
                yield f"{kind} {shown} was acknowledged, and no provider has it: {call}"
            elif shown in gone:
                continue
            elif looked.get(shown) is not None and looked[shown].status == 404:
                yield f"{kind} {shown} was acknowledged, and is not found: {looked[shown]}"
            elif past.world.get("looked_at_the_end") and (shown not in looked or not looked[shown].good):
                yield f"{kind} {shown} was acknowledged, and the last look did not show it: {looked.get(shown)}"


@invariant()
def no_acknowledged_batch_is_lost(past):
    yield from kept(past, "batch", past.of_op("create", "retry"), {b["id"] for b in past.batches}, set())


@invariant()
def no_acknowledged_file_is_lost(past):
    deleted = {f["id"] for f in past.files if f.get("deleted")}
    gone = {c.target for c in past.of_op("delete")}
    gone |= {o["id"] for c in past.of_op("upload") for o in c.objects if native(o["id"]) in deleted}
    yield from kept(past, "file", past.of_op("upload"), {f["id"] for f in past.files}, gone)


def rids(past):
    """Owners whose files go some time after the end of their batches (delete_after)."""
    return {key["owner"] for key in past.world["keys"].values() if "delete_after" in key} if past.world.get("database") != "none" else set()


class Uses:
    """Which batches files are of."""

    def __init__(self, past):
        intents = past.intents()
        self.told = {native(o["id"]) for c in past.of_op("upload") if c.good for o in c.objects}
        self.runs, self.tales = collections.defaultdict(list), collections.defaultdict(list)
        for tale in past.tales:
            asked = {native(c.file) for c in intents.get(tale.intent, ()) if c.file}
            for batch in tale.all:
                self.runs[batch.get("input_file_id")].append(batch)
                asked |= {batch.get(name) for name in ("input_file_id", "output_file_id", "error_file_id")}
            for name in asked - {None}:
                self.tales[name].append(tale)

    def owner(self, file):
        tales = self.tales[file["id"]]
        return owner_of(file.get("filename")) or (tales[0].owner if tales else None)


@invariant()
def no_file_goes_before_its_time(past):
    """Deleted is what its owner asked for, or wants to be deleted after the end of the last batch that has it. Copies, and what a retry
    stores, are the gateway's: they go as soon as nothing runs on them."""
    uses, asked = Uses(past), {native(c.target) for c in past.of_op("delete")}
    owners = {key["owner"] for key in past.world["keys"].values()}
    for file in past.files:
        name, owner, at = file["id"], uses.owner(file), file.get("deleted_ms", 0)
        if not file.get("deleted") or name in asked or owner not in owners:
            continue
        ours = not file.get("output") and name not in uses.told
        running = [b["id"] for b in uses.runs[name] if began(b) < at < ended_at(b)]
        if not ours:
            running = [t.id for t in uses.tales[name] if began(t.all[0]) < at < ended_at(t.last)]
        if running:
            yield f"file {name} at {file['account']} was deleted while {running} ran"
        if not ours and (owner not in rids(past) or not uses.tales[name]):
            yield f"file {name} at {file['account']} is {owner}'s, who did not want it deleted"


@invariant("deletions")
def each_file_goes_when_its_time_has_come(past):
    """All of the batches of who wants that, wherever they ran."""
    uses = Uses(past)
    if was_failed_over(past):
        return
    for file in past.files:
        if not file.get("deleted") and uses.tales[file["id"]] and uses.owner(file) in rids(past):
            yield f"file {file['id']} at {file['account']} is still there, of {[t.id for t in uses.tales[file['id']]]}"


# --- lines ---


def asked_lines(past, results, tale, calls):
    """Of a batch, in their order. @return None: it is not known"""
    call = calls[0]
    if call.op == "create":
        return [f"request-{n}" for n in range(1, call.lines + 1)]
    of = results.get(call.target)
    return [line for line, what in of.answers if what != "ok"] if of is not None else None


@invariant()
def every_line_is_answered_once(past):
    """The results of each batch are a line for each one that was asked, in that order: what a retry asks again has no answer, and what its
    provider answered stands there once. Of the lines of a provider that loses none none is missing."""
    intents, by_id = past.intents(), {t.id: t for t in past.tales}
    results = {c.target: c for c in past.of_op("results") if c.good}
    for shown, call in results.items():
        tale = by_id.get(native(shown), Tale({"id": native(shown), "status": ""}))
        calls, got = intents.get(tale.intent), [line for line, _ in call.answers]
        wanted = asked_lines(past, results, tale, calls) if calls else None
        if len(set(got)) != len(got) or (wanted is not None and got != wanted):
            yield f"{shown} was asked for {wanted}, and its results are {got}: {call}"
        answered = sorted(line for line, what in call.answers if what == "ok")
        if call.output is not None and sorted(call.output) != answered:
            yield f"{shown} has an output of {sorted(call.output)}, and its results say {answered}: {call}"
        if tale.last["status"] == "completed" and tale.last["account"] not in past.world.get("loses", ()) and len(answered) != len(got):
            yield f"{shown} completed at {tale.last['account']} without all answers: {call.answers}"


@invariant()
def one_file_is_told_for_one_key(past):
    told = collections.defaultdict(set)
    for call in past.of_op("upload"):
        if call.keyed and call.good:
            told[call.intent] |= {native(o["id"]) for o in call.objects}
    for intent, names in told.items():
        if len(names) > 1:
            yield f"the upload {intent} was told of {sorted(names)}"


@invariant()
def what_was_denied_was_not_made(past):
    """A client that was told no, for good, does not pay for a batch."""
    made = by_intent(past)
    for intent, calls in past.intents().items():
        last = calls[-1]
        told = any(c.good for c in calls)
        denied = last.status is not None and 400 <= last.status < 500 and last.status not in (408, 409, 429) and last.code not in UNSURE
        if denied and not told and made.get(intent):
            yield f"{intent} was denied with {last.status} {last.code}, and there is {made[intent][0].id}: {calls}"


@invariant()
def no_status_goes_backwards(past):
    """A look that began after another one had ended sees what that one saw, or what may come of it."""
    late = {t.id for t in past.tales if failed_late(t.all[0])}
    for name, looks in seen_of(past, "status").items():
        for call, status, known in with_what_was_known(looks, name in late):
            for before, earlier in known.items():
                if status in REACHABLE and before in REACHABLE and status not in REACHABLE[before]:
                    yield f"{name} was {before} ({earlier}), and then {status} ({call})"


@invariant()
def no_count_shrinks(past):
    """What was done of a batch stays done."""
    late = {t.id for t in past.tales if failed_late(t.all[0])}
    for name, looks in seen_of(past, "counts").items():
        for call, counts, known in with_what_was_known(looks, name in late):
            for before, earlier in known.items():
                if any(now < then for now, then in zip(counts, before)):
                    yield f"{name} had the counts {list(before)} ({earlier}), and then {list(counts)} ({call})"


def seen_of(past, member):
    """id -> [(call, what it showed)]. Of a batch that was moved a node without the database may know nothing: it shows what its first
    provider says."""
    seen, gaps = collections.defaultdict(list), outages(past)
    moved = {t.id for t in past.tales if failed_late(t.all[0])}
    for call in past.of_op("get_batch", "list", "cancel"):
        for thing in call.objects if call.good else ():
            name = native(thing["id"])
            if thing.get("kind") != "batch" or thing.get(member) is None:
                continue
            if name not in moved or not in_outage(gaps, call.node, call.began, call.ended):
                value = thing[member]
                seen[name].append((call, tuple(value) if isinstance(value, list) else value))
    return seen


def with_what_was_known(looks, is_late):
    """Each look, and what looks that had ended before it began had seen: (call, what it saw, {what was seen: by whom first}).
    @param is_late  its batch failed late: see NEWS_MS"""
    if is_late:
        for call, value in looks:
            known = [look for look in looks if look[0].ended + (NEWS_MS if look[0].node != call.node else 0) < call.began]
            yield call, value, {what: earlier for earlier, what in reversed(known)}
        return
    ended = sorted(looks, key=lambda look: look[0].ended)
    known, at = {}, 0
    for call, value in sorted(looks, key=lambda look: look[0].began):
        while at < len(ended) and ended[at][0].ended < call.began:
            known.setdefault(ended[at][1], ended[at][0])
            at += 1
        yield call, value, known


@invariant()
def no_tenant_sees_anothers(past):
    """Whatever an answer shows was made by the caller's owner, as the providers know it."""
    owners = {b["id"]: owner_of((b.get("metadata") or {}).get("intent")) for b in past.batches}
    owners.update({f["id"]: owner_of(f.get("filename")) for f in past.files if not f.get("output")})
    for batch in past.batches:
        for name in ("output_file_id", "error_file_id", "input_file_id"):
            if batch.get(name) and owners.get(batch[name]) is None:
                owners[batch[name]] = owners[batch["id"]]
    for call in past.calls:
        if past.world["keys"].get(call.who, {}).get("admin"):
            continue
        mine = past.owner(call.who)
        for thing in call.objects if call.good else ():
            for whose in (owners.get(native(thing["id"])), thing.get("owner")):
                if whose is not None and whose != mine:
                    yield f"{call.who} of {mine} saw {thing['id']} of {whose}: {call}"


# --- limits ---


def outages(past):
    """node -> [(from, until)], with the time that a node needs to see that it is over"""
    found, open_ = collections.defaultdict(list), {}
    for line in past.lines:
        if line["what"] != "outage":
            continue
        if line["begins"]:
            open_.setdefault(line["node"], line["at"])
        elif line["node"] in open_:
            found[line["node"]].append((open_.pop(line["node"]), line["at"] + OUTAGE_SLACK_MS))
    for node, since in open_.items():
        found[node].append((since, float("inf")))
    return found


def in_outage(gaps, node, since, until=None):
    return any(begin <= (until if until is not None else float("inf")) and since <= end for begin, end in gaps.get(node, ()))


def lives(past):
    """(node, at) -> which of its lives that was: after a death nothing of the one before is in its memory"""
    deaths = collections.defaultdict(list)
    for line in past.lines:
        if line["what"] == "death":
            deaths[line["node"]].append(line["at"])
    return lambda node, at: sum(1 for death in deaths[node] if death <= at)


class Job:
    """A batch as limits see it: from its creation to its end at the provider, which every count of the gateway has to cover."""

    def __init__(self, past, batch, tale, calls, life):
        good = next((c for c in calls if c.good and not c.replayed), None)
        first = good or calls[0]
        entered = batch["entered_ms"]
        self.id, self.who, self.lines = batch["id"], first.who, first.lines or tale.lines
        self.begins = entered["validating"]
        self.ends = ended_at(batch)
        self.node = good.node if good else None
        self.life = life(good.node, self.begins) if good else None
        self.tokens = past.world["tokens"].get(str(self.lines), 0)  # nobody knows how long a retry was that has failed late
        key = past.world["keys"][self.who]
        self.scopes = {f"deployment:{batch['account']}"}
        if not is_move(batch):  # key and team were asked when it was made, and are not asked again
            self.scopes |= {f"key:{self.who}", f"team:{key.get('team')}"}
        self.in_outage = False


def jobs(past):
    intents, life, found = past.intents(), lives(past), []
    gaps = outages(past)
    for tale, batch in [(tale, batch) for tale in past.tales for batch in tale.all]:
        calls = intents.get(tale.intent)
        if calls and batch.get("entered_ms", {}).get("validating"):
            job = Job(past, batch, tale, calls, life)
            job.in_outage = in_outage(gaps, job.node, job.begins, job.begins)
            found.append(job)
    return found


def keeps_back(past):
    """Whether what a node may grant alone is granted by nobody else (`leases: counted`): then an outage excuses nothing. More than a database
    keeps its word for is not promised: what a replica had not heard of is gone when it takes over."""
    return past.world.get("leases") == "counted" and not was_failed_over(past)


def over(jobs_of_scope, limit, size_of, nodes, shares):
    """Moments at which more was there than allowed: (at, how much, allowed). What nodes without a database granted may be k/n of the limit
    more, k of them having granted something of what is there; when all were cut off, their shares add up to what was free (journal C30).
    @param shares  False: it may not"""
    steps = sorted([(j.begins, 1, n, j) for n, j in enumerate(jobs_of_scope)] + [(j.ends, 0, n, j) for n, j in enumerate(jobs_of_scope)])
    there, total = set(), 0
    for at, begins, _, job in steps:
        if not begins:
            there.discard(job)
            total -= size_of(job)
            continue
        there.add(job)
        total += size_of(job)
        cut = {j.node for j in there if j.in_outage}
        share = len(cut) if shares and len(cut) < nodes else 0
        allowed = limit + limit * share // nodes
        if total > allowed:
            yield at, total, allowed, len(there)


@invariant()
def no_limit_is_exceeded(past):
    """At each moment, by the providers' own clocks, what is there of a key, a team and a deployment is within its limits. A fleet has one
    limit; nodes that know nothing of each other have one each, from start to death."""
    found = jobs(past)
    fleet = "fleet" in past.can
    for scope, limits in past.world["limits"].items():
        # What a node without a database makes for keys without limits counts at its deployment by that node alone (journal C28).
        mine = [j for j in found if scope in j.scopes and not (j.in_outage and scope.startswith("deployment:"))]
        groups = {None: mine}
        if not fleet:
            groups = collections.defaultdict(list)
            for job in mine:
                if job.node is not None:
                    groups[job.node, job.life].append(job)
        for group, members in groups.items():
            for what, size_of in (("tokens", lambda j: j.tokens), ("batches", lambda j: 1)):
                if what not in limits:
                    continue
                for at, total, allowed, count in over(members, limits[what], size_of, past.world["nodes"] if fleet else 1, not keeps_back(past)):
                    where = "" if group is None else f" at node {group[0]}"
                    yield f"{scope} had {total} {what} in {count} batches at {at}{where}: limit {limits[what]}, allowed {allowed}"
                    break  # one of a scope says it


# --- the journal ---


def ends_of(past, tale):
    """As what it may have ended: one that is cancelled while it moves ends as that, and no provider knows."""
    asked = any(native(c.target) == tale.id for c in past.of_op("cancel"))
    return {tale.last["status"], *(["cancelled"] if asked and failed_late(tale.last) else [])}


@invariant("registry")
def every_batch_is_in_the_registry(past):
    """With the state that its provider says it ended in."""
    rows = {native(r["id"]): r for r in past.rows("batch")}
    for tale in past.tales:
        row = rows.get(tale.id)
        if row is None:
            yield f"{tale.id} at {tale.all[0]['account']} is not in the registry"
        elif tale.last["status"] in TERMINAL and row["status"] not in ends_of(past, tale):
            yield f"{tale.id} ended as {tale.last['status']}, and the registry says {row['status']}"
    there = {t.id for t in past.tales}
    for name in set(rows) - there:
        yield f"the registry has {name}, which no provider has"


@invariant("usage")
def usage_is_counted_once(past):
    """For each batch that has ended the tokens that its provider counted, once, and each row has a number of its own. Of an answer that its
    provider has lost nobody can know."""
    of_batch = collections.defaultdict(list)
    for row in past.rows("usage"):
        of_batch[native(row["batch_id"])].append(row)
    for tale in past.tales:
        rows, batch = of_batch.pop(tale.id, []), {**tale.last, "id": tale.id}
        twice = [k for k, n in collections.Counter((r["part"], r["model"]) for r in rows).items() if n > 1]
        if twice:
            yield f"{batch['id']} has several rows of usage for {twice}"
        if batch["status"] not in TERMINAL:
            if rows:
                yield f"{batch['id']} has rows of usage and still runs"
            continue
        if not rows:
            yield f"{batch['id']} ended as {batch['status']}, and its usage is nowhere"
            continue
        for ours, theirs in (("tok_in", "input_tokens"), ("tok_out", "output_tokens")):
            total, lost = sum(r[ours] for r in rows), batch["account"] in past.world.get("loses", ())
            if total > batch[theirs] or (total < batch[theirs] and not lost):
                yield f"{batch['id']}: {ours} is {total}, its provider counted {batch[theirs]}"
    for name in of_batch:
        yield f"there is usage of {name}, which no provider has"
    twice = [seq for seq, n in collections.Counter(r["seq"] for r in past.rows("usage")).items() if n > 1]
    if twice:
        yield f"rows of usage share the numbers {twice}"


@invariant("events")
def each_end_is_one_event(past):
    """One event for each batch that has ended, of the type of its end, and none for one that runs."""
    of_batch = collections.defaultdict(list)
    for row in past.rows("hook_event"):
        of_batch[native(row["batch_id"])].append(row["type"])
    for tale in past.tales:
        types = [t.removeprefix("batch.") for t in of_batch.pop(tale.id, [])]
        status = tale.last["status"]
        wanted = [[end] for end in ends_of(past, tale)] if status in TERMINAL else [[]]
        if types not in wanted:
            yield f"{tale.id} is {status}, and its events are {types}"
    for name in of_batch:
        yield f"there are events of {name}, which no provider has"


@invariant()
def in_the_end_nothing_is_counted(past):
    """When all batches have ended, every sum of every node and of the database is zero, and no reservation is open."""
    for batch in past.batches:
        if batch["status"] not in TERMINAL:
            yield f"{batch['id']} at {batch['account']} has not ended: the run ended too early to be judged"
    for node, sums in past.end.get("sums", {}).items():
        for name, value in sums.items():
            if value != 0:
                yield f"node {node}: {name} is {value}"
    for row in past.rows("allowance"):
        for name in ("used", "held_nano"):
            if row.get(name):
                yield f"the database: {name} of {row['scope']} is {row[name]}"
    for row in past.rows("reservation"):
        if row["state"] != 2:
            yield f"the database: the reservation {row['id']} is still open (state {row['state']})"


@invariant()
def nobody_died_by_itself(past):
    yield from past.end.get("deaths", [])


@invariant()
def every_answer_is_one(past):
    """No answer that has no request id, no envelope, or a provider's key in it."""
    for line in past.lines:
        if line["what"] == "broken":
            yield line["text"]


def judge(past):
    """@return [(invariant, sentence)]"""
    return [(name, text) for name, function in INVARIANTS.items() if function.needs <= past.can for text in function(past)]


def main(directories):
    bad = 0
    for directory in directories:
        past = Past.read(directory)
        asked = [name for name, function in INVARIANTS.items() if function.needs <= past.can]
        found = judge(past)
        bad += len(found)
        for name, text in found:
            print(f"{directory}: {name}: {text}")
        print(f"{directory}: {len(past.calls)} calls, {len(past.batches)} batches, {len(past.files)} files, {len(asked)} of {len(INVARIANTS)} "
              f"invariants asked, {len(found)} violations; seed {past.world.get('seed')}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
