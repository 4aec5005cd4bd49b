"""Whose an object is: every operation with every form of id, as its owner, a team mate, another tenant, the master and an
admin. What is not the caller's is the answer to an unknown id, to the byte, and no provider hears of it."""

import re
import signal

import openai
import pytest
from harness import DEPLOYMENTS, direct_config, envelope, lines, sim_config, until
from sealed_ids import BATCH, FILE, litellm_batch, litellm_encoded, litellm_file, mint, native_of, owner_of, tag_bytes
from tenants import CHEAP, KEYS, entry, tenant_config, tenant_settings, tenants  # noqa: F401
from test_moving import eu_first, limited
from test_upgrade_money import replaced  # noqa: F401

SEAL = "seal-one-of-sixteen-bytes"
OTHERS = ("b1", "lone")  # another team, and a key without one


@pytest.fixture
def gateway(tenants):  # noqa: F811
    return tenants({"seal_keys": [SEAL]})


class World:
    """A file, a running batch, and a batch with results, of key a1 of team A; one file and batch of team B and of the master."""

    def __init__(self, gateway, sim):
        self.gateway, self.sim = gateway, sim
        a1 = gateway.as_("a1")
        done_file, done = a1.made()
        self.done = a1.wait_batch(sim, done["id"])
        self.file, self.batch = a1.made()
        self.results = self.done["output_file_id"]
        self.of_b = gateway.as_("b1").made()
        self.of_master = gateway.as_("master").made()
        self.before = self.counts()

    def counts(self):
        return len(self.sim.requests()), self.sim.created("files"), self.sim.created("batches")


@pytest.fixture
def world(gateway, sim):
    return World(gateway, sim)


def file_calls(id_):
    return [("GET", f"/v1/files/{id_}", None), ("GET", f"/v1/files/{id_}/content", None), ("HEAD", f"/v1/files/{id_}/content", None),
            ("DELETE", f"/v1/files/{id_}", None), ("GET", f"/azure/v1/files/{id_}", None), ("GET", f"/v1/files/{id_}?provider=azure", None),
            ("GET", f"/openai/files/{id_}/content?api-version=2024-10-21", None), ("GET", f"/v1/files?after={id_}", None),
            ("GET", f"/v1/files?limit=1&order=asc&after={id_}", None), ("POST", "/v1/batches/placement", {"input_file_id": id_}),
            ("POST", "/v1/batches", {"input_file_id": id_, "endpoint": "/v1/chat/completions", "completion_window": "24h"})]


def batch_calls(id_):
    return [("GET", f"/v1/batches/{id_}", None), ("POST", f"/v1/batches/{id_}/cancel", None), ("GET", f"/azure/v1/batches/{id_}", None),
            ("GET", f"/v1/batches/{id_}?provider=azure", None), ("GET", f"/openai/batches/{id_}?api-version=2024-10-21", None),
            ("GET", f"/v1/batches?after={id_}", None), ("GET", f"/v1/batches/{id_}/results?partial=true", None)]


CALLS = {FILE: file_calls, BATCH: batch_calls}


def shape(answer):
    """All of the answer that may tell ids apart, but for the body, which echoes the id."""
    changing = {"date", "x-request-id", "x-litellm-call-id", "content-length"}
    return answer.status, [(k, v) for k, v in answer.headers.items() if k not in changing], sorted(answer.headers)


def forms(kind, tagged):
    """What somebody may send who knows an object of another one."""
    native, place = native_of(tagged), tag_bytes(tagged)[:4]
    wrap = litellm_file if kind == FILE else litellm_batch
    yield "tagged", tagged
    yield "native", native
    yield "LiteLLM's, managed", wrap(native, "x")
    yield "LiteLLM's, encoded", litellm_encoded(native, CHEAP)
    yield "LiteLLM's, of a tagged one", wrap(tagged, "x")
    yield "sealed for the master", mint(SEAL, kind, native, place)
    yield "sealed for a third", mint(SEAL, kind, native, place, owner_of("team:nobody"))
    yield "the other kind", mint(SEAL, BATCH if kind == FILE else FILE, native, place, owner_of("team:team-b"))
    yield "the owner changed", mint("another-key-of-sixteen-bytes", kind, native, place, owner_of("team:team-b"))


def check_same_as_unknown(world, caller, kind, ids):
    as_ = world.gateway.as_(caller)
    unknown = "file-unknown" if kind == FILE else "batch_unknown"
    wanted = [as_.request(method, target, body) for method, target, body in CALLS[kind](unknown)]
    assert {answer.status for answer in wanted} == {404}
    for what, id_ in ids:
        for (method, target, body), known in zip(CALLS[kind](id_), wanted):
            answer = as_.request(method, target, body)
            assert shape(answer) == shape(known), (caller, what, method, target)
            assert answer.body == known.body.replace(unknown.encode(), id_.encode()), (caller, what, method, target)


@pytest.mark.parametrize("caller", OTHERS)
def test_what_is_another_ones_is_the_404_of_an_unknown_id_in_every_operation(world, caller):
    for kind, id_ in ((FILE, world.file["id"]), (FILE, world.results), (BATCH, world.batch["id"]), (FILE, world.of_master[0]["id"]),
                      (BATCH, world.of_master[1]["id"])):
        ids = [(what, form) for what, form in forms(kind, id_) if caller != "b1" or tag_bytes_owner(form) != owner_of("team:team-b")]
        check_same_as_unknown(world, caller, kind, ids)
    assert world.counts() == world.before


def tag_bytes_owner(id_):
    try:
        return tag_bytes(id_)[4:12]
    except (AttributeError, ValueError):
        return None


def test_its_own_object_in_any_form_but_its_sealed_one_is_a_404_too(world):
    for kind, id_ in ((FILE, world.file["id"]), (BATCH, world.batch["id"])):
        check_same_as_unknown(world, "a1", kind, [(what, form) for what, form in forms(kind, id_) if what != "tagged"])
    assert world.counts() == world.before


@pytest.mark.parametrize("caller", ["a1", "a2", "master", "admin"])
def test_the_owner_its_team_the_master_and_admins_may_do_everything(world, sim, caller):
    as_ = world.gateway.as_(caller)
    for method, target, body in file_calls(world.file["id"]):
        if method != "DELETE":
            assert as_.request(method, target, body).status == 200, (caller, method, target)
    for method, target, body in batch_calls(world.batch["id"]):
        assert as_.request(method, target, body).status in (200, 201), (caller, method, target)
    done = as_.get(f"/v1/batches/{world.done['id']}").json()
    assert (done["id"], done["input_file_id"], done["output_file_id"]) == \
        (world.done["id"], world.done["input_file_id"], world.results)
    assert as_.get(f"/v1/files/{world.results}/content").body.count(b"\n") == 3
    answer = as_.delete(f"/v1/files/{world.results}")
    assert answer.status == 200 and answer.json()["id"] == world.results
    assert world.gateway.as_("a1").get(f"/v1/files/{world.results}").status == 404


@pytest.mark.parametrize("caller", ["master", "admin"])
def test_the_master_and_admins_see_all_in_lists_under_ids_that_open(world, caller):
    as_ = world.gateway.as_(caller)
    files = {f["id"] for f in as_.get("/v1/files").json()["data"]}
    batches = {b["id"]: b for b in as_.get("/v1/batches").json()["data"]}
    assert {world.file["id"], world.of_b[0]["id"], world.of_master[0]["id"], world.results} <= files
    assert set(batches) == {world.done["id"], world.batch["id"], world.of_b[1]["id"], world.of_master[1]["id"]}
    assert batches[world.done["id"]]["output_file_id"] == world.results
    assert batches[world.batch["id"]]["input_file_id"] == world.file["id"]
    for id_ in files:
        assert as_.get(f"/v1/files/{id_}").json()["id"] == id_
    assert {b["id"] for page in pages(as_, "/v1/batches", 1) for b in page["data"]} == set(batches)
    assert {f["id"] for page in pages(as_, "/v1/files", 2) for f in page["data"]} == files


# --- lists ---


def pages(as_, target, limit):
    after, more = "", True
    while more:
        answer = as_.get(f"{target}?limit={limit}{after}")
        assert answer.status == 200, answer
        page = answer.json()
        yield page
        more = page["has_more"]
        after = f"&after={page['last_id']}"


def ids_of(as_, target, limit=None):
    got = [item["id"] for page in (pages(as_, target, limit) if limit else [as_.get(target).json()]) for item in page["data"]]
    assert len(got) == len(set(got)), got
    return got


def test_each_tenant_lists_its_own_of_memory_alone_and_page_by_page(gateway, sim):
    made = {name: [gateway.as_(name).uploaded(lines(CHEAP))["id"] for _ in range(n)] for name, n in
            (("a1", 3), ("b1", 2), ("lone", 4), ("master", 2))}
    mate = gateway.as_("a2").uploaded(lines(CHEAP))["id"]
    made["a1"].append(mate)
    before = len(sim.requests())
    for name in ("a1", "b1", "lone"):
        assert sorted(ids_of(gateway.as_(name), "/v1/files")) == sorted(made[name])
        for limit in (1, 2, 3, 10):
            assert ids_of(gateway.as_(name), "/v1/files", limit) == ids_of(gateway.as_(name), "/v1/files")
    assert ids_of(gateway.as_("a2"), "/v1/files") == ids_of(gateway.as_("a1"), "/v1/files")
    assert ids_of(gateway.as_("narrow"), "/v1/files") == []
    assert ids_of(gateway.as_("a1"), "/v1/files?purpose=fine-tune") == []
    assert len(sim.requests()) == before
    one = gateway.as_("a1").get("/v1/files?limit=1").json()["data"][0]
    shown = gateway.as_("a1").get(f"/v1/files/{one['id']}").json()
    assert {k: one[k] for k in ("id", "object", "bytes", "created_at", "filename", "purpose")} == \
        {k: shown[k] for k in ("id", "object", "bytes", "created_at", "filename", "purpose")}


def test_each_tenant_lists_its_own_batches_in_honest_pages(gateway, sim):
    made = {}
    for _ in range(3):
        for name in ("a1", "b1", "master", "lone"):
            made.setdefault(name, []).append(gateway.as_(name).made()[1]["id"])
    for name in ("a1", "b1", "lone"):
        as_ = gateway.as_(name)
        assert sorted(ids_of(as_, "/v1/batches")) == sorted(made[name])
        for limit in (1, 2, 3, 4):
            assert sorted(ids_of(as_, "/v1/batches", limit)) == sorted(made[name])
            counts = [len(page["data"]) for page in pages(as_, "/v1/batches", limit)]
            assert counts == [limit] * (3 // limit) + ([3 % limit] if 3 % limit else []), "a page is filled, and the last one says so"
    assert ids_of(gateway.as_("narrow"), "/v1/batches") == []


def test_a_batch_without_a_marker_is_in_its_owners_list_alone(gateway, sim):
    a1 = gateway.as_("a1")
    full = {f"k{i}": "v" for i in range(16)}
    file = a1.uploaded(lines(CHEAP))
    answer = a1.create(file["id"], metadata=full)
    assert answer.status == 200 and answer.headers["x-tranche-unmarked"] == "metadata-full"
    batch = answer.json()
    marked = a1.made()[1]
    assert sorted(ids_of(a1, "/v1/batches", 1)) == sorted([batch["id"], marked["id"]])
    assert sorted(ids_of(gateway.as_("a2"), "/v1/batches")) == sorted([batch["id"], marked["id"]])
    for name in OTHERS:
        assert ids_of(gateway.as_(name), "/v1/batches") == []
        assert gateway.as_(name).get(f"/v1/batches/{batch['id']}").status == 404
    shown = {b["id"]: b for b in gateway.as_("master").get("/v1/batches").json()["data"]}[batch["id"]]
    assert shown["input_file_id"] == file["id"] and shown["metadata"] == full
    assert a1.get(f"/v1/batches?after={batch['id']}").status == 200


def test_results_are_listed_once_their_batch_was_seen(gateway, sim):
    a1 = gateway.as_("a1")
    file, batch = a1.made()
    done = a1.wait_batch(sim, batch["id"])
    wanted = sorted([file["id"], *(id_ for id_ in (done["output_file_id"], done["error_file_id"]) if id_)])
    until(lambda: sorted(ids_of(a1, "/v1/files")) == wanted, "the results are listed")
    results = next(f for f in a1.get("/v1/files").json()["data"] if f["id"] == done["output_file_id"])
    shown = a1.get(f"/v1/files/{done['output_file_id']}").json()
    assert {k: results[k] for k in ("bytes", "filename", "purpose", "created_at")} == \
        {k: shown[k] for k in ("bytes", "filename", "purpose", "created_at")}
    assert ids_of(gateway.as_("b1"), "/v1/files") == []


def test_results_are_listed_although_nobody_polls_their_batch(tenants, sim):  # noqa: F811
    gateway = tenants({"seal_keys": [SEAL], "timeouts": {"watch_ms": "100ms"}})
    a1 = gateway.as_("a1")
    file, batch = a1.made()

    def results():
        sim.advance(60_000)
        return [f for f in a1.get("/v1/files").json()["data"] if f["purpose"] == "batch_output" and f["bytes"] > 0]

    (output,) = until(results, "the results are listed")
    assert a1.get(f"/v1/batches/{batch['id']}").json()["output_file_id"] == output["id"]
    assert ids_of(gateway.as_("b1"), "/v1/files") == []


def test_a_list_says_what_it_may_lack_and_strict_refuses_it(gateway, sim):
    a1 = gateway.as_("a1")
    a1.uploaded(lines(CHEAP))
    answer = a1.get("/v1/files")
    assert re.fullmatch(r"files made before \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer.headers["x-tranche-partial"])
    error = envelope(a1.get("/v1/files?strict=true"), 502, code="partial_list")
    assert "files made before" in error["message"]


def test_a_deleted_file_is_gone_from_the_list_and_pages_go_on_behind_it(gateway, sim):
    a1 = gateway.as_("a1")
    made = [a1.uploaded(lines(CHEAP))["id"] for _ in range(5)]
    order = ids_of(a1, "/v1/files")
    assert sorted(order) == sorted(made)
    first = a1.get("/v1/files?limit=2").json()
    assert a1.delete(f"/v1/files/{first['last_id']}").status == 200
    assert [f["id"] for f in a1.get(f"/v1/files?after={first['last_id']}").json()["data"]] == order[2:]
    gone = gateway.as_("master").delete(f"/v1/files/{order[4]}")
    assert gone.status == 200 and gone.json()["id"] == order[4]
    assert ids_of(a1, "/v1/files") == [order[0], *order[2:4]]


def reloaded(gateway):
    seen = len(gateway.lines)
    gateway.send(signal.SIGHUP)
    gateway.wait_line(r"generation 2 serves", start=seen)


@pytest.mark.parametrize("how", ["reload", "upgrade"])
def test_lists_outlive_a_reload_and_an_upgrade(gateway, sim, replaced, how):  # noqa: F811
    a1 = gateway.as_("a1")
    made = sorted(a1.uploaded(lines(CHEAP))["id"] for _ in range(3))
    (reloaded if how == "reload" else replaced)(gateway)
    assert sorted(ids_of(a1, "/v1/files")) == made
    assert sorted(ids_of(a1, "/v1/files", 1)) == made
    assert ids_of(gateway.as_("b1"), "/v1/files") == []


def test_a_gateway_that_was_started_anew_finds_what_it_is_shown(tenants, sim):  # noqa: F811
    config = tenant_config(sim, {"seal_keys": [SEAL]})
    first = tenants(config=config)
    made = [first.as_("a1").uploaded(lines(CHEAP))["id"] for _ in range(3)]
    batch = first.as_("a1").created(made[0])
    first.stop()
    gateway = tenants(config=config)
    a1 = gateway.as_("a1")
    assert ids_of(a1, "/v1/files") == []
    assert a1.get(f"/v1/files?after={made[1]}").status == 200  # its tag says whose it is
    assert a1.get(f"/v1/files/{made[2]}").status == 200
    assert gateway.as_("b1").get(f"/v1/files?after={made[0]}").status == 404
    assert ids_of(a1, "/v1/batches") == [batch["id"]]  # its marker says whose it is
    until(lambda: sorted(ids_of(a1, "/v1/files")) == sorted(made), "its input file is listed, too")


def test_the_copy_of_a_batch_that_was_moved_is_nobodys(tenants, make_sim):  # noqa: F811
    two = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000)]))
    gateway = tenants(config=eu_first(two, tranche_settings=tenant_settings(seal_keys=[SEAL])))
    a1, master = gateway.as_("a1"), gateway.as_("master")
    file = a1.uploaded(lines(count=20))["id"]
    batch = a1.created(file)
    (copy,) = [f["id"] for f in two.ledger("us")["files"]]
    assert batch["input_file_id"] == file and two.created("batches", ["us"]) == 1
    assert ids_of(a1, "/v1/files") == [file] and ids_of(a1, "/v1/batches") == [batch["id"]]
    assert a1.get(f"/v1/batches/{batch['id']}").json()["input_file_id"] == file
    assert {native_of(id_) for id_ in ids_of(master, "/v1/files")} == {native_of(file), copy}
    assert master.get("/v1/batches").json()["data"][0]["input_file_id"] == file
    for name in ("a1", "b1"):
        assert gateway.as_(name).get(f"/v1/files/{copy}").status == 404
    done = a1.wait_batch(two, batch["id"])
    assert a1.get(f"/v1/files/{done['output_file_id']}/content").status == 200
    until(lambda: done["output_file_id"] in ids_of(a1, "/v1/files"), "its results are listed")
    assert copy not in [native_of(id_) for id_ in ids_of(a1, "/v1/files")]


# --- without balancing ---


@pytest.mark.parametrize("provider", ["azure", "openai"])
def test_a_tenant_sees_sealed_ids_also_where_nothing_is_balanced(tenants, sim, provider):  # noqa: F811
    config = direct_config(sim, tranche_settings=tenant_settings(seal_keys=[SEAL]))
    gateway = tenants(config=config)
    a1, master = gateway.as_("a1"), gateway.as_("master")
    where = {"headers": {"custom-llm-provider": provider}}
    model = DEPLOYMENTS["eu"] if provider == "azure" else "gpt-4o-mini"
    file = a1.uploaded(lines(model), **where)
    batch = a1.created(file["id"])
    done = a1.wait_batch(sim, batch["id"])
    seen = [file["id"], batch["id"], batch["input_file_id"], done["output_file_id"],
            *ids_of(a1, f"/v1/files?provider={provider}"), *ids_of(a1, f"/v1/batches?provider={provider}")]
    for id_ in seen:
        assert tag_bytes(id_)[4:12] == owner_of("team:team-a"), id_
    assert len(seen) >= 6
    natives = {native_of(id_) for id_ in seen}
    for as_ in (a1, gateway.as_("b1")):
        for native in natives:
            for path in ("files", "batches"):
                assert as_.get(f"/v1/{path}/{native}").status == 404
    own = master.uploaded(lines(model), **where)["id"]  # the master's are as they were
    assert "-t" not in own[-34:]
    listed = ids_of(master, f"/v1/files?provider={provider}")
    assert own in listed and file["id"] in listed
    assert master.get(f"/v1/batches/{native_of(batch['id'])}").json()["id"] == native_of(batch["id"])
    assert master.get(f"/v1/batches/{batch['id']}").json()["output_file_id"] == done["output_file_id"]
    assert a1.get(f"/v1/files/{own}").status == 404


# --- what is remembered between requests ---


def test_the_same_idempotency_key_of_two_tenants_names_two_requests(gateway, sim):
    body = lines(CHEAP)
    files = {name: gateway.as_(name).upload(body, headers={"Idempotency-Key": "one"}) for name in ("a1", "b1", "lone", "master")}
    assert all(answer.status == 200 and "idempotent-replayed" not in answer.headers for answer in files.values())
    assert len({native_of(answer.json()["id"]) for answer in files.values()}) == 4
    again = gateway.as_("a2").upload(body, headers={"Idempotency-Key": "one"})
    assert again.headers["idempotent-replayed"] and again.body == files["a1"].body
    batches = {name: gateway.as_(name).create(files[name].json()["id"], headers={"Idempotency-Key": "two"}) for name in files}
    assert all(answer.status == 200 and "idempotent-replayed" not in answer.headers for answer in batches.values())
    for name, answer in batches.items():
        again = gateway.as_(name).create(files[name].json()["id"], headers={"Idempotency-Key": "two"})
        assert again.headers["idempotent-replayed"] and again.body == answer.body
    assert sim.created("batches") == 4


def test_an_answer_that_was_too_long_to_keep_is_asked_for_again_as_its_owner(gateway, sim):
    file = gateway.as_("a1").uploaded(lines(CHEAP))["id"]
    metadata = {f"k{i}": "v" * 512 for i in range(15)}
    first = gateway.as_("a1").create(file, metadata=metadata, headers={"Idempotency-Key": "long"})
    again = gateway.as_("a2").create(file, metadata=metadata, headers={"Idempotency-Key": "long"})
    assert (first.status, again.status) == (200, 200) and again.headers["idempotent-replayed"], again
    assert (again.json()["id"], again.json()["input_file_id"]) == (first.json()["id"], file)
    assert sim.created("batches") == 1


def test_what_an_sdk_repeats_is_looked_for_among_its_own(gateway, sim):
    """The master makes a batch of a tenant's file; the tenant's repeat of the same words is not that one."""
    file = gateway.as_("a1").uploaded(lines(CHEAP))["id"]
    by_master = gateway.as_("master").created(file)
    answer = gateway.as_("a1").create(file, headers={"x-stainless-retry-count": "1"})
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers
    assert native_of(answer.json()["id"]) != native_of(by_master["id"])
    again = gateway.as_("a2").create(file, headers={"x-stainless-retry-count": "1"})
    assert again.headers["idempotent-replayed"] and again.json()["id"] == answer.json()["id"]
    assert ids_of(gateway.as_("a1"), "/v1/batches") == [answer.json()["id"]]


def test_a_poll_that_is_answered_from_memory_asks_whose_it_is_too(tenants, sim):  # noqa: F811
    gateway = tenants({"seal_keys": [SEAL], "poll_cache_ms": 600000})
    batch = gateway.as_("a1").made()[1]["id"]
    assert gateway.as_("a1").get(f"/v1/batches/{batch}").status == 200
    before = len(sim.requests())
    assert gateway.as_("a2").get(f"/v1/batches/{batch}").json()["id"] == batch
    assert gateway.as_("master").get(f"/v1/batches/{batch}").json()["id"] == batch
    for name in OTHERS:
        assert gateway.as_(name).get(f"/v1/batches/{batch}").status == 404
    assert len(sim.requests()) == before


def test_a_key_that_was_made_anew_has_what_the_one_before_made(tenants, sim):  # noqa: F811
    """The owner of what a key without a team makes is its id, not its hash (tenants statement A47)."""
    keys = {"seal_keys": [SEAL], "keys": [entry("lone", id="key-7"), entry("b1", team_id="team-b")]}
    first = tenants(config=tenant_config(sim, dict(keys)))
    file, batch = first.as_("lone").made()
    first.stop()
    keys["keys"] = [{**entry("a1", id="key-7")}, entry("b1", team_id="team-b")]
    gateway = tenants(config=tenant_config(sim, dict(keys)))
    assert gateway.as_("a1").get(f"/v1/batches/{batch['id']}").json()["id"] == batch["id"]
    assert ids_of(gateway.as_("a1"), "/v1/batches") == [batch["id"]]
    assert gateway.as_("b1").get(f"/v1/batches/{batch['id']}").status == 404


def test_a_key_that_moves_to_another_team_leaves_its_objects_to_the_one_before(tenants, sim):  # noqa: F811
    """(tenants statement A48)"""
    first = tenants({"seal_keys": [SEAL]})
    file, batch = first.as_("a1").made()
    first.stop()
    gateway = tenants({"seal_keys": [SEAL], "a1": {"team_id": "team-b"}})
    for name, status in (("a1", 404), ("b1", 404), ("a2", 200), ("master", 200), ("admin", 200)):
        assert gateway.as_(name).get(f"/v1/batches/{batch['id']}").status == status, name
        assert gateway.as_(name).get(f"/v1/files/{file['id']}").status == status, name
    assert ids_of(gateway.as_("a1"), "/v1/batches") == [] and ids_of(gateway.as_("a2"), "/v1/batches") == [batch["id"]]


# --- official SDKs ---


def test_the_official_sdk_walks_through_a_tenants_lists(gateway, sim):
    def client(name):
        return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEYS[name], max_retries=0)

    made = [gateway.as_("a1").made() for _ in range(3)]
    gateway.as_("b1").made()
    a1 = client("a1")
    assert sorted(f.id for f in a1.files.list(limit=1)) == sorted(file["id"] for file, _ in made)
    assert sorted(f.id for f in a1.files.list(limit=2, order="asc", purpose="batch")) == sorted(file["id"] for file, _ in made)
    assert sorted(b.id for b in a1.batches.list(limit=1)) == sorted(batch["id"] for _, batch in made)
    assert all(f.bytes > 0 and f.filename == "requests.jsonl" and f.object == "file" for f in a1.files.list())
    with pytest.raises(openai.NotFoundError):
        client("b1").batches.retrieve(made[0][1]["id"])
    with pytest.raises(openai.NotFoundError):
        client("b1").files.content(made[0][0]["id"])


def test_a_key_that_may_not_read_files_does_not_read_its_batchs_input_beside_the_results(tenants, sim):  # noqa: F811
    gateway = tenants({"llm": {"team_id": "team-a", "allowed_routes": ["/v1/batches"]}, "a_narrow": {"allowed_routes": ["/v1/batches", "/v1/files"]}})
    _, batch = gateway.as_("a1").made()
    gateway.as_("a1").wait_batch(sim, batch["id"])
    batches_alone, both, master = (gateway.as_(name) for name in ("llm", "a_narrow", "master"))
    content = batches_alone.get(f"/v1/files/{batch['input_file_id']}/content")
    calls = len(sim.requests())
    for query in ("?input=true", "?input=true&limit=1", "?status=ok&input=true"):
        told = batches_alone.get(f"/v1/batches/{batch['id']}/results{query}")
        assert envelope(told, 403)["type"] == envelope(content, 403)["type"] == "auth_error"
        assert "['/batches', '/batches/placement']" in told.json()["error"]["message"], told
        assert "call route: /v1/files/{file_id}/content" in told.json()["error"]["message"], told
    assert len(sim.requests()) == calls  # no provider hears of it
    for query in ("", "?input=false"):
        answer = batches_alone.get(f"/v1/batches/{batch['id']}/results{query}")
        assert answer.status == 200 and b'"request"' not in answer.body, answer
    for caller in (both, gateway.as_("a1"), gateway.as_("admin"), master):
        answer = caller.get(f"/v1/batches/{batch['id']}/results?input=true")
        assert answer.status == 200 and b'"request"' in answer.body, answer
