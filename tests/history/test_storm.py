"""What a run asks for comes from its seed, and what it keeps of answers is what the judge needs."""

import json
import random
import types

from harness import Answer
from storm import Client, what_it_says

BATCH = {"id": "batch_1", "object": "batch", "status": "in_progress", "metadata": {"intent": "team-a.3"}}
FILE = {"id": "file-1", "object": "file", "filename": "lone.4.jsonl", "purpose": "batch"}


def answer(body, status=200, **headers):
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


def test_an_answers_objects_are_kept_with_whose_they_are():
    told = what_it_says(answer(BATCH, idempotent_replayed="true"))
    assert told["objects"] == [{"kind": "batch", "id": "batch_1", "status": "in_progress", "owner": "team-a"}] and told["replayed"]
    told = what_it_says(answer({"object": "list", "data": [BATCH, FILE, {**FILE, "purpose": "batch_output", "filename": "x.y.jsonl"}]}))
    assert [(o["kind"], o["owner"]) for o in told["objects"]] == [("batch", "team-a"), ("file", "lone"), ("file", None)] and not told["replayed"]
    assert what_it_says(answer({"id": "file-1", "object": "file", "deleted": True}))["objects"] == []


def test_an_errors_code_is_kept_and_whether_it_may_be_tried_again():
    told = what_it_says(answer({"error": {"code": "repeat_unknown"}}, 503))
    assert told == {"code": "repeat_unknown", "again": True, "replayed": False}
    assert not what_it_says(answer({"error": {"code": "x"}}, 500, x_should_retry="false"))["again"]


class FakeStorm:
    """Answers each call at once, and notes it."""

    def __init__(self, seed):
        self.seed, self.round, self.one_gateway, self.asked, self.things, self.count = seed, 1, True, [], {}, 0
        self.out = types.SimpleNamespace(call=self.call, note=lambda *a, **k: None)
        self.fleet = types.SimpleNamespace(nodes=[types.SimpleNamespace(gateway=self)] * 3)

    def call(self, **noted):
        self.asked.append(noted)
        return len(self.asked)

    def request(self, method, path, body, **more):
        named = body["metadata"]["intent"] if method == "POST" and path == "/v1/batches" else body or path
        return answer({**(BATCH if "batches" in path else FILE), "id": f"id-of-{named}"})

    def number(self, owner):
        self.count += 1
        return f"{owner}.{self.count}"

    def form(self, count, name):
        return name, "multipart/form-data"

    def have(self, kind, owner, thing):
        self.things.setdefault((kind, owner), []).append(thing)

    def pick(self, kind, owner, lot):
        pool = self.things.get((kind, owner))
        return lot.choice(pool) if pool else None

    take = pick

    def did_one(self):
        pass


def plan(seed):
    storm = FakeStorm(seed)
    client = Client(storm, 3, 80)
    client.run()
    assert client.problem is None, client.problem
    return storm.asked


def test_a_seed_is_a_plan():
    number = random.SystemRandom().randrange(1 << 32)
    calls, again, other = plan(number), plan(number), plan(number + 1)
    # Twins run at the same time as their originals: the order of the two is not the seed's.
    assert sorted(map(repr, again)) == sorted(map(repr, calls)) and sorted(map(repr, other)) != sorted(map(repr, calls))


def test_clients_want_everything_sooner_or_later():
    """Of one plan that is likely and no more: one in sixty has no list at all. These seeds are always the same."""
    assert {call["op"] for seed in range(20) for call in plan(seed)} == {"upload", "create", "get_batch", "list", "cancel", "delete", "pry"}
