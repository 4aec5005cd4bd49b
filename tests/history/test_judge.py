"""The judge finds what a broken gateway would leave, and nothing in what a good one does: histories made by hand, for every invariant.

No process is needed. Each bad history differs from a good one in what its name says."""

import json
import subprocess
import sys
import pathlib

import judge
import pytest
from judge import judge as judged
from record import Past, Recorder, native, owner_of

TAG = "-t" + "a" * 32
MOVE = f"1.0.{'6d6f7665' + 'a' * 24}.7.file-1.seal"  # a marker, as a moved batch has one
LATE = {"validating": 1000, "failed": 1500}
RAN = {"validating": 1000, "in_progress": 1100, "finalizing": 1900, "completed": 2000}


class Story:
    """A history that grows by sentences. One second of the clock lies between two of them, unless they say otherwise."""

    def __init__(self, *can, nodes=3, limits=None):
        self.at, self.lines, self.count = 0, [], 0
        self.world = {"seed": 1, "nodes": nodes, "limits": limits or {}, "tokens": {"1": 100, "2": 200},
                      "keys": {"a1": {"owner": "team-a", "team": "team-a"}, "a2": {"owner": "team-a", "team": "team-a"},
                               "b1": {"owner": "team-b", "team": "team-b"}, "lone": {"owner": "lone"}, "master": {"owner": None, "admin": True}}}
        self.ledger = {"accounts": {"eu": {"batches": [], "files": []}, "us": {"batches": [], "files": []}, "entra": {}}}
        self.end = {"can": list(can), "sums": {"0": {"tranche_reservations": 0}}, "tables": {}, "deaths": []}

    def line(self, what, at=None, **more):
        self.at = self.at + 1000 if at is None else at
        self.lines.append({"at": self.at, "what": what, **more})
        return self

    def call(self, op, who, status=200, objects=(), node=0, at=None, until=None, answered=True, code=None, replayed=False, **more):
        self.count += 1
        number = self.count
        self.line("call", at, call=number, node=node, who=who, op=op, **more)
        if answered:
            self.line("answer", until, call=number, status=status, code=code, replayed=replayed, objects=list(objects))
        return self

    def file(self, name, filename="retry.jsonl", account="eu", deleted=None, output=False):
        """What a provider has, or had. @param deleted  when"""
        self.ledger["accounts"][account]["files"].append(
            {"id": name, "filename": filename, "deleted": deleted is not None, "deleted_ms": deleted or 0, "output": output})
        return self

    def upload(self, who="a1", name="f1", mark="team-a.1", deleted=None, account="eu", **more):
        self.file(name, f"{mark}.jsonl", account, deleted)
        return self.call("upload", who, objects=[{"kind": "file", "id": name + TAG}], **more)

    def batch(self, intent, name, account="eu", status="completed", entered=None, move=False, **more):
        """What a provider did, whoever knows of it."""
        self.ledger["accounts"][account]["batches"].append(
            {"id": name, "metadata": {"intent": intent, **({"tranche": MOVE} if move else {})}, "status": status, "entered_ms": RAN if entered is None else entered,
             "input_tokens": 30, "output_tokens": 8, "output_file_id": f"out-{name}", "error_file_id": None, **more})
        return self

    def create(self, who="a1", intent="team-a.1", name="b1", made=True, lines=1, account="eu", entered=None, state="completed", **more):
        if made:
            self.batch(intent, name, account, state, entered)
        good = more.get("status", 200) == 200
        return self.call("create", who, objects=[{"kind": "batch", "id": name + TAG, "status": "validating"}] if good else (),
                         intent=intent, lines=lines, keyed=more.pop("keyed", True), **more)

    def poll(self, who="a1", name="b1", status=200, state="completed", counts=(1, 0, 0), **more):
        objects = [{"kind": "batch", "id": name + TAG, "status": state, "counts": list(counts)}] if status == 200 else ()
        return self.call("get_batch", who, status=status, objects=objects, target=name + TAG, **more)

    def results(self, *answers, who="a1", name="b1", output=None):
        """@param answers  of each line; a text with a blank has another custom_id than its place says"""
        pairs = [a.split() if " " in a else [f"request-{n}", a] for n, a in enumerate(answers, 1)]
        self.call("results", who, target=name + TAG)
        self.lines[-1].update(answers=pairs, output=output)
        return self

    def rows(self, table, *rows):
        self.end["tables"].setdefault(table, []).extend(rows)
        return self

    def past(self):
        return Past(self.world, self.lines, self.ledger, self.end)

    def found(self):
        return sorted({name for name, _ in judged(self.past())})


def usage(name="b1", seq=1, tok_in=30, tok_out=8, model="gpt-4o", part=0):
    return {"batch_id": name, "part": part, "model": model, "tok_in": tok_in, "tok_out": tok_out, "seq": seq}


def settled(*can):
    """A batch with all that belongs to it."""
    story = Story(*can).upload().create().poll()
    if "registry" in can:
        story.rows("batch", {"id": "b1" + TAG, "status": "completed"})
    if "usage" in can:
        story.rows("usage", usage())
    if "events" in can:
        story.rows("hook_event", {"batch_id": "b1" + TAG, "type": "batch.completed"})
    return story


ALL = ("fleet", "registry", "usage", "events")


@pytest.mark.parametrize("can", [(), ("fleet",), ALL], ids=["nodes alone", "a fleet", "a journal"])
def test_a_good_history_has_no_fault(can):
    assert settled(*can).found() == []


def test_what_a_program_cannot_do_is_not_asked_of_it():
    assert Story().upload().create().poll().found() == []
    assert settled("registry").rows("usage", usage(), usage()).found() == []


# --- batches and files ---


def test_a_batch_that_was_made_twice():
    assert Story().create().batch("team-a.1", "b2", account="us").found() == ["no_batch_is_made_twice"]


def test_a_batch_that_was_made_twice_and_told_of_once_each():
    story = Story().create(answered=False).create(name="b2", account="us")
    assert story.found() == ["no_batch_is_made_twice"]
    story = Story().create().create(name="b2", account="us")
    assert story.found() == ["no_batch_is_made_twice", "one_batch_is_told_for_one_intent"]


def test_a_batch_that_nobody_asked_for():
    assert Story().batch("team-a.9", "b9").found() == ["no_batch_is_made_twice"]
    assert "asked for by nobody" in judged(Story().batch("team-a.9", "b9").past())[0][1]


def test_repeats_of_one_create_that_are_told_of_one_batch_are_good():
    assert Story().create(answered=False).create(made=False, status=503, code="x").create(made=False, replayed=True).found() == []


def test_an_answer_with_the_batch_of_another_intent():
    story = Story().create().create(intent="team-a.2", name="b2").create(intent="team-a.3", name="b2", made=False)
    assert story.found() == ["one_batch_is_told_for_one_intent"]


def test_an_acknowledged_batch_that_no_provider_has():
    assert Story().create(made=False).found() == ["no_acknowledged_batch_is_lost"]


def test_an_acknowledged_batch_that_is_not_found():
    assert Story().create().poll(status=404).found() == ["no_acknowledged_batch_is_lost"]
    assert Story().create().poll(status=404).poll().found() == []  # a look that a fault disturbed, and a later one
    assert Story().create().poll(status=503).found() == []


def test_the_last_look_has_to_show_it_where_one_was_made():
    story = Story().create().poll(status=503)
    story.world["looked_at_the_end"] = True
    assert story.found() == ["no_acknowledged_batch_is_lost"]


def test_an_acknowledged_file_that_no_provider_has():
    story = Story().upload()
    story.ledger["accounts"]["eu"]["files"].clear()
    assert story.found() == ["no_acknowledged_file_is_lost"]


def test_a_file_that_nobody_deleted():
    assert Story().upload(deleted=1).found() == ["no_file_goes_before_its_time"]
    assert Story().upload(deleted=1).call("delete", "a1", target="f1" + TAG).found() == []
    assert Story().upload(deleted=1).call("delete", "a1", target="f1" + TAG, answered=False).found() == []


def test_a_file_that_is_not_found():
    assert Story().upload().call("get_file", "a1", status=404, target="f1" + TAG).found() == ["no_acknowledged_file_is_lost"]


def test_a_batch_whose_maker_was_told_no():
    assert Story().create(status=400, code="invalid_value").found() == ["what_was_denied_was_not_made"]
    for status, code in ((400, "create_outcome_unknown"), (409, "idempotency_in_progress"), (429, "429"), (503, "down")):
        assert Story().create(status=status, code=code).found() == []
    assert Story().create(answered=False).found() == []
    assert Story().create(status=400, code="x", made=False).found() == []


def test_an_upload_with_a_key_that_is_told_of_two_files():
    for keyed, found in ((True, ["one_file_is_told_for_one_key"]), (False, [])):
        assert Story().upload(keyed=keyed, intent="team-a.1").upload(name="f2", keyed=keyed, intent="team-a.1").found() == found
    assert Story().upload(keyed=True, intent="team-a.1").upload(name="f2", keyed=True, intent="team-a.2").found() == []


def test_first_tries_at_once_are_two_only_where_a_node_is_without_the_database():
    def tries(cut, node=1, announced=False):
        story = Story("fleet")
        if cut is not None:
            story.line("outage", at=100, node=cut, begins=True)
        story.create(at=900, until=1100).create(name="b2", account="us", node=node, at=900, until=1100, announced=announced)
        return story.found()

    twice = ["no_batch_is_made_twice", "one_batch_is_told_for_one_intent"]
    assert tries(None) == tries(2) == twice
    assert tries(0) == tries(1) == []
    assert tries(0, announced=True) == tries(0, node=0) == twice


# --- what is seen ---


@pytest.mark.parametrize("before, after", [("completed", "in_progress"), ("in_progress", "validating"), ("cancelled", "cancelling"),
                                           ("cancelling", "in_progress"), ("failed", "completed"), ("completed", "finalizing")])
def test_a_status_that_goes_backwards(before, after):
    story = Story().create().poll(state=before).poll(state=after, node=2)
    assert story.found() == ["no_status_goes_backwards"]


def test_statuses_that_go_forward_are_good_also_with_leaps():
    story = Story().create()
    for state in ("validating", "validating", "in_progress", "cancelling", "cancelled", "cancelled"):
        story.poll(state=state)
    assert story.found() == []
    assert Story().create().poll(state="validating").poll(state="completed").found() == []


def test_two_looks_at_the_same_time_may_see_either():
    story = Story().create(at=10, until=20).poll(state="completed", at=100, until=200).poll(state="in_progress", at=150, until=300)
    assert story.found() == []
    story = Story().create(at=10, until=20).poll(state="completed", at=100, until=200).poll(state="in_progress", at=201, until=300)
    assert story.found() == ["no_status_goes_backwards"]


def test_a_list_is_a_look():
    story = Story().create().poll(state="completed")
    story.call("list", "a1", objects=[{"kind": "batch", "id": "b1" + TAG, "status": "in_progress"}])
    assert story.found() == ["no_status_goes_backwards"]


def test_a_repeated_create_tells_what_it_told_first():
    assert Story().create().poll(state="completed").create(made=False, replayed=True).found() == []


@pytest.mark.parametrize("op", ["get_batch", "list", "cancel", "create"])
def test_a_tenant_that_sees_anothers_batch(op):
    story = Story().create().call("get_batch", "a2", objects=[{"kind": "batch", "id": "b1" + TAG, "status": "completed"}], target="b1" + TAG)
    assert story.found() == []
    story.call(op, "b1", objects=[{"kind": "batch", "id": "b1" + TAG, "status": "completed"}], intent="team-b.1", lines=1, target="x")
    assert "no_tenant_sees_anothers" in story.found()


def test_a_tenant_that_sees_anothers_file_or_output():
    for name in ("f1", "out-b1"):
        story = Story().upload().create().call("get_file", "lone", objects=[{"kind": "file", "id": name + TAG}], target=name + TAG)
        assert story.found() == ["no_tenant_sees_anothers"]
    assert Story().upload().call("list", "master", objects=[{"kind": "file", "id": "f1" + TAG}]).found() == []


def test_whose_an_object_is_stands_in_it_too():
    story = Story().call("list", "b1", objects=[{"kind": "file", "id": "unknown", "owner": "team-a"}])
    assert story.found() == ["no_tenant_sees_anothers"]


# --- batches that fail late and run elsewhere ---


def moved(*can, begins=2000):
    """A batch that eu failed late, and that ran at us."""
    story = Story(*can).upload().create(made=False).batch("team-a.1", "b1", status="failed", entered=LATE, code="token_limit_exceeded", output_file_id=None,
                                                          input_tokens=0, output_tokens=0)
    return story.batch("team-a.1", "b2", "us", entered={"validating": begins, "in_progress": begins + 1, "completed": 4000}, move=True)


def test_a_batch_that_was_moved_is_one():
    story = moved(*ALL).poll(state="validating").poll(state="in_progress").poll().rows("batch", {"id": "b1" + TAG, "status": "completed"})
    assert story.rows("usage", usage()).rows("hook_event", {"batch_id": "b1" + TAG, "type": "batch.completed"}).found() == []
    for table, found in (("batch", "every_batch_is_in_the_registry"), ("usage", "usage_is_counted_once"), ("hook_event", "each_end_is_one_event")):
        for row in story.end["tables"][table]:
            row["id" if table == "batch" else "batch_id"] = "b2" + TAG
        assert found in story.found()


def test_a_batch_that_is_moved_while_it_runs_or_twice():
    assert moved(begins=1400).found() == ["a_batch_moves_only_when_it_has_failed_late"]
    assert moved().batch("team-a.1", "b3", move=True, entered={"validating": 5000, "completed": 6000}).found() == \
        ["a_batch_moves_only_when_it_has_failed_late"]
    assert moved().batch("team-a.1", "b3").found() == ["no_batch_is_made_twice"]
    story = Story().create(made=False)
    for n in range(5):
        story.batch("team-a.1", f"b{n + 1}", status="failed", entered={"validating": 100 * n + 1, "failed": 100 * n + 90}, code="token_limit_exceeded",
                    move=n > 0)
    assert story.found() == ["a_batch_moves_only_when_it_has_failed_late"]
    story.ledger["accounts"]["eu"]["batches"].pop()
    assert story.found() == []


def test_a_batch_that_was_moved_is_never_shown_by_the_id_that_it_has_there():
    assert moved().poll(name="b2").found() == ["a_moved_batch_keeps_its_id"]
    assert moved().line("fault", name="fail over").poll(name="b2").found() == []  # what the database knew of it is lost


def test_a_batch_that_was_moved_was_never_seen_to_fail():
    assert moved().poll(state="failed").poll(state="in_progress").found() == ["no_status_goes_backwards"]
    for node, at, found in ((0, 1800, ["no_status_goes_backwards"]), (1, 1800, []), (1, 30_000, ["no_status_goes_backwards"])):
        story = moved().poll(state="cancelled", at=1600, until=1700).poll(state="validating", node=node, at=at, until=at + 10)
        assert story.found() == found, (node, at)  # to other nodes it is news
    story = moved().line("outage", at=100, node=1, begins=True).poll(state="failed", node=1, at=1600, until=1700)
    assert story.poll(state="in_progress").found() == []  # that node did not know


def test_a_batch_that_was_cancelled_while_it_moved_ended_as_its_client_was_told():
    def cancelled(asked):
        story = moved("registry", "events").rows("batch", {"id": "b1", "status": "cancelled"})
        story.ledger["accounts"]["us"]["batches"].clear()
        if asked:
            story.call("cancel", "a1", target="b1" + TAG)
        return story.rows("hook_event", {"batch_id": "b1", "type": "batch.cancelled"}).found()

    assert cancelled(True) == []
    assert cancelled(False) == ["each_end_is_one_event", "every_batch_is_in_the_registry"]


def test_a_move_counts_at_its_deployment_and_its_key_was_asked_before():
    def at_once(scope):
        story = moved("fleet")
        story.world["limits"] = {scope: {"tokens": 100}}
        return story.create(intent="team-a.2", name="b3", account="us", entered=ran(2500, 3000)).found()

    assert at_once("key:a1") == at_once("team:team-a") == []
    assert at_once("deployment:us") == ["no_limit_is_exceeded"]


@pytest.mark.parametrize("after", [(2, 0, 0), (3, 1, 0), (3, 2, 0)])
def test_counts_that_shrink(after):
    assert Story().create().poll(counts=(3, 1, 1)).poll(counts=after).found() == ["no_count_shrinks"]
    assert Story().create().poll(counts=(0, 0, 0)).poll(counts=(3, 1, 0)).poll(counts=(3, 1, 1)).found() == []


# --- lines ---


def test_every_line_has_its_answer_once():
    for answers, output, good in ((["ok", "ok"], ["request-2", "request-1"], True), (["ok", "ok"], ["request-1"], False),
                                  (["ok", "ok"], ["request-1", "request-1", "request-2"], False), (["ok"], ["request-1"], False),
                                  (["request-2 ok", "request-1 ok"], ["request-1", "request-2"], False),
                                  (["ok", "request-1 ok"], ["request-1"], False), (["ok", "missing"], ["request-1"], False)):
        found = Story().create(lines=2).results(*answers, output=output).found()
        assert found == ([] if good else ["every_line_is_answered_once"]), (answers, output)
    story = Story().create(lines=2).results("ok", "missing", output=["request-1"])
    story.world["loses"] = ["eu"]
    assert story.found() == []


def test_a_retry_asks_for_what_has_no_answer_and_no_more():
    def retried(*answers):
        story = Story().create(lines=3).results("ok", "missing", "batch_cancelled", output=["request-1"]).batch("team-a.2", "b2")
        story.world["loses"] = ["eu"]
        story.call("retry", "a1", objects=[{"kind": "batch", "id": "b2" + TAG, "status": "validating"}], intent="team-a.2", keyed=True, target="b1" + TAG)
        return story.results(*answers, name="b2").found()

    assert retried("request-2 ok", "request-3 ok") == []
    for wrong in (["request-1 ok", "request-2 ok", "request-3 ok"], ["request-2 ok"], ["request-3 ok", "request-2 ok"]):
        assert retried(*wrong) == ["every_line_is_answered_once"], wrong


def test_a_retry_that_nobody_knows_of_is_lost_as_a_create_is():
    story = Story().create().call("retry", "a1", objects=[{"kind": "batch", "id": "b9" + TAG, "status": "validating"}], intent="team-a.2", target="b1" + TAG)
    assert story.found() == ["no_acknowledged_batch_is_lost"]


# --- files that go some time after the end ---


def tidy(*can, deleted=None, **more):
    """A batch of an owner who wants its files deleted. @param deleted  when each of them was, by its name"""
    at, story = {"f1": 3000, "out-b1": 3000, **(deleted or {})}, Story(*can)
    story.world["keys"]["b1"]["delete_after"] = "1h"
    story.file("f1", "team-b.1.jsonl", deleted=at["f1"]).call("upload", "b1", objects=[{"kind": "file", "id": "f1" + TAG}])
    story.batch("team-b.1", "b1", input_file_id="f1", **more).file("out-b1", "x_output.jsonl", deleted=at["out-b1"], output=True)
    return story.call("create", "b1", objects=[{"kind": "batch", "id": "b1" + TAG, "status": "validating"}], intent="team-b.1", lines=1, file="f1" + TAG)


def test_files_of_who_wants_that_go_after_the_end_and_all_of_them():
    assert tidy("deletions").found() == []
    assert tidy("deletions").call("get_file", "b1", status=404, target="f1" + TAG).found() == []
    for name in ("f1", "out-b1"):
        assert tidy("deletions", deleted={name: 1900}).found() == ["no_file_goes_before_its_time"]
        assert tidy("deletions", deleted={name: None}).found() == ["each_file_goes_when_its_time_has_come"]
        assert tidy(deleted={name: None}).found() == []
    assert tidy("deletions", deleted={"f1": None}).line("fault", name="fail over").found() == []


def test_an_input_stays_while_another_batch_of_its_owner_has_it():
    def another(entered, **more):
        story = tidy().batch("team-b.2", "b2", entered=entered, output_file_id=None, **more)
        return story.call("create", "b1", objects=[{"kind": "batch", "id": "b2" + TAG, "status": "validating"}], intent="team-b.2", lines=1,
                          file="f1" + TAG).found()

    assert another({"validating": 2500, "completed": 2900}, input_file_id="f1") == []
    assert another({"validating": 2500, "completed": 3100}, input_file_id="f1") == ["no_file_goes_before_its_time"]
    assert another({"validating": 2500, "completed": 3100}, input_file_id="copy") == ["no_file_goes_before_its_time"]


def test_files_of_another_owner_never_go():
    story = tidy()
    story.world["keys"]["b1"].pop("delete_after")
    assert story.found() == ["no_file_goes_before_its_time"]
    story = tidy()
    story.world["database"] = "none"
    assert story.found() == ["no_file_goes_before_its_time"]


def test_copies_and_what_a_retry_stores_go_when_nothing_runs_on_them():
    assert Story().file("copy", "team-a.1.jsonl", deleted=1).found() == []
    for at, found in ((2500, []), (1500, ["no_file_goes_before_its_time"])):
        assert Story().create(made=False).batch("team-a.1", "b1", input_file_id="copy").file("copy", deleted=at).found() == found


# --- limits ---


def ran(begins, ends):
    return {"validating": begins, "in_progress": begins + 1, "completed": ends}


def two_at_once(*can, limits, nodes=(0, 1), **more):
    story = Story(*can, limits=limits)
    story.create(node=nodes[0], entered=ran(1000, 9000), at=900, until=1100, **more)
    return story.create(intent="team-a.2", name="b2", node=nodes[1], entered=ran(2000, 5000), at=1900, until=2100, **more)


@pytest.mark.parametrize("scope, what, limit", [("key:a1", "tokens", 199), ("team:team-a", "tokens", 199), ("deployment:eu", "tokens", 199),
                                                ("key:a1", "batches", 1), ("team:team-a", "batches", 1)])
def test_a_limit_of_a_fleet_that_was_exceeded(scope, what, limit):
    assert two_at_once("fleet", limits={scope: {what: limit}}).found() == ["no_limit_is_exceeded"]
    assert two_at_once("fleet", limits={scope: {what: limit + 1}}).found() == []


def test_keys_of_a_team_are_counted_together():
    story = Story("fleet", limits={"team:team-a": {"tokens": 150}})
    story.create(entered=ran(1000, 9000)).create(who="a2", intent="team-a.2", name="b2", entered=ran(2000, 5000))
    assert story.found() == ["no_limit_is_exceeded"]


def test_batches_one_after_the_other_are_no_excess():
    story = Story("fleet", limits={"key:a1": {"tokens": 100}})
    story.create(entered=ran(1000, 2000)).create(intent="team-a.2", name="b2", entered=ran(2000, 3000))
    assert story.found() == []


def test_a_batch_whose_create_was_never_answered_counts_in_a_fleet():
    story = Story("fleet", limits={"key:a1": {"tokens": 100}})
    story.create(entered=ran(1000, 9000), answered=False).create(intent="team-a.2", name="b2", entered=ran(2000, 3000))
    assert story.found() == ["no_limit_is_exceeded"]


def test_nodes_that_know_nothing_of_each_other_have_a_limit_each():
    assert two_at_once(limits={"key:a1": {"tokens": 100}}).found() == []
    assert two_at_once(limits={"key:a1": {"tokens": 100}}, nodes=(1, 1)).found() == ["no_limit_is_exceeded"]


def test_a_node_that_was_killed_counts_anew_and_a_fleet_does_not():
    def killed(*can):
        story = Story(*can, limits={"key:a1": {"tokens": 100}})
        story.create(entered=ran(1000, 9000), at=900, until=1100).line("death", at=1500, node=0)
        return story.create(intent="team-a.2", name="b2", entered=ran(2000, 5000), at=1900, until=2100).found()

    assert killed() == []
    assert killed("fleet") == ["no_limit_is_exceeded"]


def in_outage(cut, count, limit=300, leases=None, lost=False):
    """So many batches of 100 tokens at once, made while some of three nodes were cut off."""
    story = Story("fleet", limits={"key:a1": {"tokens": limit}})
    story.world["leases"] = leases
    if lost:
        story.line("fault", at=50, name="fail over")
    for node in cut:
        story.line("outage", at=100, node=node, begins=True)
    for n in range(count):
        node = cut[n % len(cut)]
        story.create(intent=f"team-a.{n}", name=f"b{n}", node=node, entered=ran(1000 + n, 9000), at=900, until=1100)
    for node in cut:
        story.line("outage", at=5000, node=node, begins=False)
    return story.found()


def test_a_node_without_a_database_may_grant_its_share_and_no_more():
    assert in_outage([1], 4) == []  # 300, and a third of it
    assert in_outage([1], 5) == ["no_limit_is_exceeded"]
    assert in_outage([1, 2], 5) == []
    assert in_outage([1, 2], 6) == ["no_limit_is_exceeded"]


def test_when_all_nodes_are_without_their_shares_are_what_was_free():
    assert in_outage([0, 1, 2], 3) == []
    assert in_outage([0, 1, 2], 4) == ["no_limit_is_exceeded"]


def test_where_leases_are_counted_an_outage_excuses_nothing():
    assert in_outage([1], 3, leases="counted") == []
    assert in_outage([1], 4, leases="counted") == in_outage([1, 2], 4, leases="counted") == ["no_limit_is_exceeded"]
    assert in_outage([1], 4, leases="shares") == []
    assert in_outage([1], 4, leases="counted", lost=True) == []  # the database did not keep its own word
    assert in_outage([1], 5, leases="counted", lost=True) == ["no_limit_is_exceeded"]


def test_what_was_made_without_a_database_is_no_excess_at_its_deployment():
    def made(scope, cut):
        story = Story("fleet", limits={scope: {"tokens": 100}})
        story.line("outage", at=100, node=cut, begins=True)
        story.create(node=0, entered=ran(1000, 9000), at=900, until=1100)
        return story.create(intent="team-a.2", name="b2", node=1, entered=ran(2000, 5000), at=1900, until=2100).found()

    assert made("deployment:eu", cut=1) == []
    assert made("deployment:eu", cut=2) == ["no_limit_is_exceeded"]


def test_an_outage_excuses_nothing_that_other_nodes_did():
    story = two_at_once("fleet", limits={"key:a1": {"tokens": 199}})
    story.lines.insert(0, {"at": 100, "what": "outage", "node": 2, "begins": True})
    assert story.found() == ["no_limit_is_exceeded"]


# --- the journal ---


def test_a_batch_that_the_registry_does_not_have():
    story = settled(*ALL)
    story.end["tables"]["batch"].clear()
    assert story.found() == ["every_batch_is_in_the_registry"]


def test_a_registry_that_tells_another_end_or_a_batch_that_never_was():
    story = settled(*ALL)
    story.end["tables"]["batch"][0]["status"] = "in_progress"
    assert story.found() == ["every_batch_is_in_the_registry"]
    assert settled(*ALL).rows("batch", {"id": "b9" + TAG, "status": "completed"}).found() == ["every_batch_is_in_the_registry"]


@pytest.mark.parametrize("rows", [
    [], [usage(), usage(seq=2)], [usage(), usage(seq=1, name="b2")], [usage(tok_in=31)], [usage(tok_out=0)],
    [usage(), usage(name="b9", seq=2)], [usage(), usage(seq=2, model="gpt-4o-mini", tok_in=1)]],
    ids=["none", "twice", "one number twice", "other input", "other output", "of a batch that never was", "more in sum"])
def test_usage_that_is_not_there_once(rows):
    story = settled(*ALL)
    story.end["tables"]["usage"] = rows
    if any(r["batch_id"] == "b2" for r in rows):
        story.create(intent="team-a.2", name="b2").rows("batch", {"id": "b2", "status": "completed"})
        story.rows("hook_event", {"batch_id": "b2", "type": "batch.completed"})
    assert story.found() == ["usage_is_counted_once"]


def test_usage_of_answers_that_a_provider_lost_is_less_and_never_more():
    for tok_in, found in ((20, []), (31, ["usage_is_counted_once"])):
        story = settled(*ALL)
        story.world["loses"], story.end["tables"]["usage"] = ["eu"], [usage(tok_in=tok_in)]
        assert story.found() == found


def test_usage_of_several_models_is_the_providers_sum():
    story = settled(*ALL)
    story.end["tables"]["usage"] = [usage(tok_in=10, tok_out=8), usage(seq=2, model="gpt-4o-mini", tok_in=20, tok_out=0)]
    assert story.found() == []


@pytest.mark.parametrize("types", [[], ["batch.completed", "batch.completed"], ["batch.failed"], ["batch.completed", "batch.expired"]],
                         ids=["none", "twice", "another end", "two ends"])
def test_an_end_that_is_not_one_event(types):
    story = settled(*ALL)
    story.end["tables"]["hook_event"] = [{"batch_id": "b1", "type": t} for t in types]
    assert story.found() == ["each_end_is_one_event"]


def test_an_event_of_a_batch_that_never_was():
    assert settled(*ALL).rows("hook_event", {"batch_id": "b9", "type": "batch.failed"}).found() == ["each_end_is_one_event"]


# --- the end ---


def test_a_sum_that_is_left():
    story = settled(*ALL)
    story.end["sums"]["2"] = {"tranche_reservations": 0, "tranche_enqueued_tokens": 100}
    assert story.found() == ["in_the_end_nothing_is_counted"]


@pytest.mark.parametrize("table, row", [
    ("allowance", {"scope": "k:1", "used": 100, "held_nano": 0}), ("allowance", {"scope": "k:1", "used": 0, "held_nano": 5}),
    ("allowance", {"scope": "k:1", "used": -100, "held_nano": 0}), ("reservation", {"id": "r1", "state": 1}), ("reservation", {"id": "r1", "state": 3})])
def test_what_the_database_still_counts(table, row):
    assert settled(*ALL).rows(table, row).found() == ["in_the_end_nothing_is_counted"]


def test_rows_that_are_done_with_are_no_debt():
    story = settled(*ALL).rows("allowance", {"scope": "k:1", "used": 0, "held_nano": 0}).rows("reservation", {"id": "r1", "state": 2})
    assert story.found() == []


def test_a_run_whose_batches_still_run_is_not_judged_well():
    assert Story().create(state="in_progress", entered={"validating": 1}).found() == ["in_the_end_nothing_is_counted"]


def test_a_process_that_died_by_itself():
    story = settled()
    story.end["deaths"].append("node 1: worker 0 (pid 7) ended with signal 11")
    assert story.found() == ["nobody_died_by_itself"]


def test_an_answer_that_no_answer_may_be():
    assert settled().line("broken", text="a provider's key came back").found() == ["every_answer_is_one"]


def test_each_invariant_was_broken_here_once():
    """Whoever adds one adds a history that breaks it."""
    text = pathlib.Path(__file__).read_text(encoding="utf-8")
    assert [name for name in judge.INVARIANTS if f'"{name}"' not in text] == []


# --- what is kept ---


def test_a_history_that_was_kept_is_judged_again(tmp_path):
    for name, story in (("good", settled(*ALL)), ("bad", settled(*ALL).batch("team-a.1", "b2").rows("usage"))):
        out = Recorder(tmp_path / name)
        for line in story.lines:
            out.out.write(json.dumps(line) + "\n")
        for part in ("world", "ledger", "end"):
            out.keep(part, getattr(story, part))
        out.close()
    program = pathlib.Path(judge.__file__)
    done = subprocess.run([sys.executable, str(program), str(tmp_path / "good")], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "0 violations; seed 1" in done.stdout, done
    done = subprocess.run([sys.executable, str(program), str(tmp_path / "good"), str(tmp_path / "bad")], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no_batch_is_made_twice: team-a.1 was made 2 times" in done.stdout, done


def test_a_recorder_numbers_calls_and_keeps_their_order(tmp_path):
    out = Recorder(tmp_path)
    first, second = out.call(op="list", who="a1", node=0), out.call(op="list", who="a1", node=1)
    out.note("answer", call=second, status=200, objects=[])
    out.close()
    for part, value in (("world", {}), ("ledger", {"accounts": {}}), ("end", {})):
        out.keep(part, value)
    past = Past.read(tmp_path)
    assert [c.number for c in past.calls] == [first, second] == [1, 2]
    assert [c.status for c in past.calls] == [None, 200]


def test_names():
    assert native("batch_1" + TAG) == "batch_1" and native("batch_1-tx") == "batch_1-tx" and native(None) is None
    assert owner_of("team-a.17.jsonl") == owner_of("team-a.17") == "team-a" and owner_of(None) is None
    assert owner_of("x") is None and owner_of("retry.jsonl") is None
