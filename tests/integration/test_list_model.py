"""Random worlds and walks against a model of the merged list that fits on a screen: created_at, then account, then the account's order."""

import random

import pytest
from list_world import ACCOUNTS, Provider, mixed_config, mixed_sim_config, native, rank


class Model:
    """All that was ever made. The providers show what is newest first; of Azure's dated files we say how equals stand: by id."""

    def __init__(self, sim):
        self.sim = sim
        self.providers = {name: Provider(sim, name) for name in ACCOUNTS}
        self.ranks = {}
        self.objects = []

    def make(self, kind, account, purpose="batch"):
        provider = self.providers[account]
        if kind == "batches" and provider.input is None:
            provider.input = self.make("files", account)["id"]
        made = provider.new_file(purpose) if kind == "files" else provider.new_batch()
        self.objects.append({"kind": kind, "account": account, "id": made["id"], "created_at": made["created_at"],
                             "purpose": purpose, "number": len(self.objects), "gone": False})
        return self.objects[-1]

    def delete(self, entry):
        self.providers[entry["account"]].delete_file(entry["id"])
        entry["gone"] = True

    def key(self, entry, ascending):
        sign = 1 if ascending else -1
        whole = entry["kind"] == "files" and entry["account"] == "eu"
        place = tuple(sign * ord(c) for c in entry["id"]) if whole else (sign * entry["number"],)
        return (sign * entry["created_at"], self.ranks[entry["account"]], place)

    def behind(self, kind, purpose, ascending, cursor):
        """What is to come after the object with this native id (it may be gone)."""
        there = [o for o in self.objects if o["kind"] == kind and not o["gone"] and purpose in (None, o["purpose"])]
        there.sort(key=lambda o: self.key(o, ascending))
        if cursor is None:
            return there
        start = self.key(next(o for o in self.objects if o["kind"] == kind and o["id"] == cursor), ascending)
        return [o for o in there if self.key(o, ascending) > start]


def disturb(model, rng, kind, pages):
    for _ in range(rng.choice([0, 0, 1, 2]) if pages < 25 else 0):  # else the end runs away from who walks towards the newest
        model.make(kind, rng.choice(ACCOUNTS), rng.choice(["batch", "assistants"]) if kind == "files" else "batch")
    if rng.random() < 0.3:
        model.sim.advance(1000)
    files = [o for o in model.objects if o["kind"] == "files" and not o["gone"]
             and o["id"] not in [p.input for p in model.providers.values()]]
    if kind == "files" and files and rng.random() < 0.4:
        model.delete(rng.choice(files))


def question(rng, kind):
    if kind == "batches":
        return "/v1/batches", None, False
    purpose, ascending = rng.choice([None, None, "batch"]), rng.random() < 0.4
    return "/v1/files?" + "&".join((["purpose=" + purpose] if purpose else []) + (["order=asc"] if ascending else [])), purpose, ascending


def one_walk(model, rng, gateways):
    kind = rng.choice(["files", "batches"])
    target, purpose, ascending = question(rng, kind)
    limit, cursor, node, done = rng.choice([1, 2, 3, 5, 8, 30, 100]), None, rng.choice(gateways), []
    story = [f"{target} limit {limit}"]
    while True:
        disturb(model, rng, kind, len(story))
        gone = cursor is not None and next(o for o in model.objects if o["id"] == native(cursor))["gone"]
        if not gone:  # only the node that showed it knows when a deleted object was made
            node = rng.choice(gateways)
        wanted = model.behind(kind, purpose, ascending, cursor and native(cursor))
        answer = node.get(f"{target}{'&' if '?' in target else '?'}limit={limit}" + (f"&after={cursor}" if cursor else ""))
        assert answer.status == 200, (story, answer)
        page = answer.json()
        got = [native(o["id"]) for o in page["data"]]
        story.append(f"after {cursor}{' (gone)' if gone else ''} at node {gateways.index(node)}: {got}")
        assert got == [o["id"] for o in wanted[:limit]], "\n".join(story)
        assert page["has_more"] == (len(wanted) > limit and limit > 0), "\n".join(story)
        assert (page["first_id"], page["last_id"]) == ((page["data"][0]["id"], page["data"][-1]["id"]) if got else (None, None))
        assert "x-tranche-partial" not in answer.headers
        done += got
        if not page["has_more"]:
            break
        cursor = page["last_id"]
    assert len(set(done)) == len(done), "\n".join(story)


def run(make_sim, start, seed, walks):
    rng = random.Random(seed)
    sim = make_sim(mixed_sim_config())
    model = Model(sim)
    gateways = [start(mixed_config(sim), sim=sim) for _ in range(2)]
    for name in ACCOUNTS:
        model.make("batches", name)
    for batch in gateways[0].get("/v1/batches").json()["data"]:
        model.ranks[next(o["account"] for o in model.objects if o["id"] == native(batch["id"]))] = rank(batch["id"])
    assert len(model.ranks) == len(ACCOUNTS)
    for _ in range(walks):
        one_walk(model, rng, gateways)


@pytest.mark.parametrize("seed", [0, 1, 110, 116])  # the last two once found something
def test_walks_through_random_lists_show_what_the_model_shows(make_sim, start, seed):
    run(make_sim, start, seed, 40)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_walks_through_random_lists_show_what_the_model_shows(make_sim, start, seed):
    run(make_sim, start, seed, 60)
