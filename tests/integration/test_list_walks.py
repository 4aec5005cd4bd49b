"""Walks through long merged lists: what a page costs, what happens to the list meanwhile, and accounts that fail under way."""

import json
import signal
import socket

import pytest
from harness import GROUP, MASTER_KEY, azure_deployment, balanced_config, envelope
from list_world import ACCOUNTS, Provider, lists_asked, mixed_config, mixed_sim_config, native, objects_asked, probed, walk


@pytest.fixture
def world(make_sim):
    return make_sim(mixed_sim_config())


def fill(sim, what, rounds=20):
    """In each round one object on each account, and a second later another one: equal times, and times of their own."""
    made = []
    for n in range(rounds):
        for name in ACCOUNTS[n % 3:] + ACCOUNTS[:n % 3]:
            provider = Provider(sim, name)
            made.append((provider.new_file() if what == "files" else provider.new_batch())["id"])
        if n % 2:
            sim.advance(1000)
    return made


def backwards(gateway, target, ids, limit):
    """The same pages, asked for from the last one to the first: none of them was prepared by the one before."""
    pages = []
    for at in reversed(range(0, len(ids), limit)):
        after = f"&after={ids[at - 1]}" if at else ""
        page = gateway.get(f"{target}{'&' if '?' in target else '?'}limit={limit}{after}").json()
        assert page["has_more"] == (at + limit < len(ids)), (at, len(ids))
        pages.insert(0, [o["id"] for o in page["data"]])
    return [i for p in pages for i in p]


@pytest.mark.parametrize("target", ["/v1/batches", "/v1/files", "/v1/files?order=asc", "/v1/files?purpose=batch"])
def test_a_page_deep_down_asks_each_account_once_and_no_object(world, start, target):
    what = "files" if "files" in target else "batches"
    made = fill(world, what)
    gateway = start(mixed_config(world), sim=world)
    asked = {name: 0 for name in ACCOUNTS}

    def count(number, page):
        for name in ACCOUNTS:
            now = len(lists_asked(world, name))
            assert now - asked[name] <= 1, f"page {number} asked {name} {now - asked[name]} times"
            asked[name] = now

    seen = walk(gateway, target, 4, count)
    if what == "batches":
        assert sorted(native(i) for i in seen) == sorted(made)
    assert len(set(seen)) == len(seen) >= len(made)
    assert not [o for name in ACCOUNTS for o in objects_asked(world, name)]


@pytest.mark.parametrize("target", ["/v1/batches", "/v1/files", "/v1/files?order=asc"])
def test_pages_are_the_same_without_memory_of_the_ones_before(world, start, target):
    fill(world, "files" if "files" in target else "batches")
    seen = walk(start(mixed_config(world), sim=world), target, 7)
    assert backwards(start(mixed_config(world), sim=world), target, seen, 7) == seen
    assert [o for name in ACCOUNTS for o in objects_asked(world, name)], "the second gateway had no need to look for a cursor"


def test_all_workers_share_the_memory(world, start):
    made = fill(world, "batches", rounds=10)
    gateway = start(mixed_config(world), sim=world, workers=4)
    assert len(walk(gateway, "/v1/batches", 1)) == len(made)
    assert not [o for name in ACCOUNTS for o in objects_asked(world, name)]


def test_a_reload_between_two_pages_forgets_nothing(world, start):
    fill(world, "batches", rounds=4)
    gateway = start(mixed_config(world), sim=world)
    first = gateway.get("/v1/batches?limit=5").json()
    gateway.send(signal.SIGHUP)
    gateway.wait_line("drained")
    second = gateway.get(f"/v1/batches?limit=100&after={first['last_id']}").json()
    assert len(second["data"]) == 7 and not [o for name in ACCOUNTS for o in objects_asked(world, name)]


def test_somebody_who_deletes_each_page_before_asking_for_the_next_one_deletes_everything(world, start):
    made = fill(world, "files", rounds=8)
    gateway = start(mixed_config(world), sim=world)

    def delete(number, page):
        for file in page["data"]:
            assert gateway.delete("/v1/files/" + file["id"]).status == 200

    assert sorted(native(i) for i in walk(gateway, "/v1/files", 5, delete)) == sorted(made)
    assert gateway.get("/v1/files").json()["data"] == []


@pytest.mark.parametrize("answer", [404, 400, "empty"])
def test_an_account_that_does_not_know_its_place_any_more_is_read_from_the_top(world, start, answer):
    fill(world, "batches", rounds=6)
    gateway = probed(world, start(mixed_config(world), sim=world))
    whole = [b["id"] for b in gateway.get("/v1/batches?limit=100").json()["data"]]
    first = gateway.get("/v1/batches?limit=8").json()
    assert [b["id"] for b in first["data"]] == whole[:8]
    action = {"status": answer} if answer != "empty" else {
        "status": 200, "body": json.dumps({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})}
    for account, path in (("us", "/openai/v1/batches"), ("oai", "/v1/batches"), ("eu", "/openai/batches")):
        world.fault(action, account=account, method="GET", path=path)
    second = gateway.get(f"/v1/batches?limit=100&after={first['last_id']}")
    got = [b["id"] for b in second.json()["data"]]
    assert "x-tranche-partial" not in second.headers
    assert got == whole[8:]


def test_a_single_account_goes_on_behind_a_deleted_file(direct, sim):
    provider = Provider(sim, "oai")
    for _ in range(6):
        provider.new_file()
        sim.advance(1000)
    whole = [f["id"] for f in direct.get("/v1/files?provider=openai").json()["data"]]
    first = direct.get("/v1/files?provider=openai&limit=2").json()
    sim.fault({"status": 404}, account="oai", method="GET", path="/v1/files")
    second = direct.get(f"/v1/files?provider=openai&limit=100&after={first['last_id']}").json()
    assert [f["id"] for f in second["data"]] == whole[2:]


def test_an_account_that_is_down_in_the_middle_of_a_walk_makes_the_page_partial_also_when_it_holds_the_cursor(world, start):
    fill(world, "batches", rounds=4)
    gateway = start(mixed_config(world), sim=world)
    for limit in (1, 2, 3):  # the cursors of these are on three accounts
        cursor = gateway.get(f"/v1/batches?limit={limit}").json()["last_id"]
        place = next(a for a in ACCOUNTS if native(cursor) in [b["id"] for b in world.ledger(a)["batches"]])
        world.fault({"status": 500}, account=place, method="GET", path="*/batches", times=-1)
        answer = gateway.get(f"/v1/batches?limit=100&after={cursor}")
        gone = {b["id"] for b in world.ledger(place)["batches"]}
        assert answer.status == 200 and answer.headers["x-tranche-partial"]
        assert answer.json()["data"] and not gone & {native(b["id"]) for b in answer.json()["data"]}
        world.clear_faults()


@pytest.mark.parametrize("action", [{"status": 500}, {"status": 503}, {"reset": "answer"}, {"truncate": 60}], ids=str)
def test_a_hiccup_of_one_account_does_not_make_the_list_partial(world, start, action):
    made = fill(world, "batches", rounds=2)
    gateway = probed(world, start(mixed_config(world), sim=world))
    world.fault(action, account="oai", method="GET", path="/v1/batches")
    answer = gateway.get("/v1/batches")
    assert "x-tranche-partial" not in answer.headers
    assert sorted(native(b["id"]) for b in answer.json()["data"]) == sorted(made)


def batch(n, created_at):
    return {"id": f"batch_{n:04}", "object": "batch", "status": "completed", "created_at": created_at}


def page_of(batches, more):
    return {"status": 200, "body": json.dumps({"object": "list", "data": batches, "has_more": more})}


def test_a_list_ends_where_an_account_broke_off_and_goes_on_from_there(world, start):
    """`oai` gives two batches and fails at its second page; the others have older ones, which must wait for its next."""
    for name in ("eu", "us"):
        Provider(world, name).new_batch()
    gateway = probed(world, start(mixed_config(world), sim=world))
    now = gateway.get("/v1/batches").json()["data"][0]["created_at"]
    world.fault(page_of([batch(9, now + 9), batch(8, now + 8)], True), account="oai", method="GET", path="/v1/batches")
    world.fault({"status": 500}, account="oai", method="GET", path="/v1/batches", times=2)
    first = gateway.get("/v1/batches?limit=50")
    assert first.headers["x-tranche-partial"]
    assert [native(b["id"]) for b in first.json()["data"]] == ["batch_0009", "batch_0008"] and first.json()["has_more"] is True
    world.fault(page_of([batch(7, now + 7)], False), account="oai", method="GET", path="/v1/batches")
    second = gateway.get(f"/v1/batches?limit=50&after={first.json()['last_id']}")
    assert "x-tranche-partial" not in second.headers
    assert len(second.json()["data"]) == 3 and native(second.json()["first_id"]) == "batch_0007" and not second.json()["has_more"]
    assert "after=batch_0008" in lists_asked(world, "oai")[-1]


def test_a_page_that_comes_broken_in_the_middle_of_a_walk_is_an_error_of_its_account(world, start):
    Provider(world, "eu").new_batch()
    gateway = probed(world, start(mixed_config(world), sim=world))
    world.fault(page_of([batch(9, 9)], True), account="oai", method="GET", path="/v1/batches")
    world.fault({"status": 200, "body": '{"object":"list","data":[{"id":"batch_1","created_at":1},'}, account="oai", method="GET", path="/v1/batches")
    answer = gateway.get("/v1/batches?limit=50")
    assert answer.headers["x-tranche-partial"] and "batch_1" not in [native(b["id"]) for b in answer.json()["data"]]
    world.clear_faults()
    envelope(gateway.get("/v1/batches?limit=-1"), 400, param="limit")


def test_behind_a_deleted_object_those_of_its_second_come_twice_rather_than_never(direct, sim):
    """Its account does not say any more where it stood among them."""
    probed(sim, direct, ["oai"])
    sim.fault(page_of([batch(9, 5), batch(8, 5), batch(7, 5)], True), account="oai", method="GET", path="/v1/batches")
    first = direct.get("/v1/batches?provider=openai&limit=2").json()
    assert first["last_id"] == "batch_0008"
    sim.fault({"status": 404}, account="oai", method="GET", path="/v1/batches")
    sim.fault(page_of([batch(10, 6), batch(9, 5), batch(7, 5), batch(6, 4)], False), account="oai", method="GET", path="/v1/batches")
    second = direct.get("/v1/batches?provider=openai&limit=50&after=batch_0008").json()
    assert [b["id"] for b in second["data"]] == ["batch_0009", "batch_0007", "batch_0006"]


def test_a_cursor_behind_which_everything_was_deleted_is_not_shown_again(world, start):
    """The gateway remembers that something was behind it; the account says that there is nothing."""
    provider = Provider(world, "oai")
    files = [provider.new_file()["id"] for _ in range(4)]
    gateway = start(mixed_config(world), sim=world)
    first = gateway.get("/v1/files?limit=2").json()
    for file in files[:2]:
        provider.delete_file(file)
    assert gateway.get(f"/v1/files?limit=2&after={first['last_id']}").json()["data"] == []


def test_a_provider_that_ignores_after_still_gives_a_second_page(direct, sim):
    """It gives its first page again and again; what of that is behind the cursor is shown, and then the list is known to be cut."""
    sim.fault(page_of([batch(n, n) for n in range(9, 0, -1)], True), account="oai", method="GET", path="/v1/batches", times=-1)
    first = direct.get("/v1/batches?provider=openai&limit=4").json()
    assert [b["id"] for b in first["data"]] == ["batch_0009", "batch_0008", "batch_0007", "batch_0006"] and first["has_more"]
    second = direct.get(f"/v1/batches?provider=openai&limit=4&after={first['last_id']}").json()
    assert [b["id"] for b in second["data"]] == ["batch_0005", "batch_0004", "batch_0003", "batch_0002"] and second["has_more"]
    third = direct.get(f"/v1/batches?provider=openai&limit=4&after={second['last_id']}")
    assert [b["id"] for b in third.json()["data"]] == ["batch_0001"] and third.headers["x-tranche-partial"]
    envelope(direct.get("/v1/batches?provider=openai&limit=4&after=batch_0001"), 502)


def test_a_provider_without_has_more_and_without_paging_has_a_whole_list(direct, sim):
    body = json.dumps({"value": [batch(n, n) for n in range(9, 0, -1)]})
    sim.fault({"status": 200, "body": body}, account="oai", method="GET", path="/v1/batches", times=-1)
    answer = direct.get("/v1/batches?provider=openai&limit=100")
    assert len(answer.json()["data"]) == 9 and not answer.json()["has_more"] and "x-tranche-partial" not in answer.headers


def test_a_dated_list_that_has_more_is_partial_and_not_taken_for_whole(direct, sim):
    file = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 5, "filename": "a", "purpose": "batch", "status": "processed"}
    sim.fault(page_of([file], True), account="eu", method="GET", path="/openai/files")
    answer = direct.get("/v1/files?provider=azure")
    assert [f["id"] for f in answer.json()["data"]] == ["file-1"]
    assert answer.headers["x-tranche-partial"] and answer.json()["has_more"] is True


def test_ten_thousand_files_of_each_account_come_merged(world, start):
    """Far more than fits into one turn of the loop: texts arrive, are read and printed in parts."""
    when = 1_790_000_000
    for at, (account, path) in enumerate((("eu", "/openai/files"), ("us", "/openai/v1/files"), ("oai", "/v1/files"))):
        files = [{"id": f"file-{account}{n:05}", "object": "file", "bytes": 1, "created_at": when + 3 * n + at, "filename": f"{n}.jsonl",
                  "purpose": "batch", "status": "processed"} for n in reversed(range(10000))]
        world.fault(page_of(files, False), account=account, method="GET", path=path, times=-1)
    gateway = start(mixed_config(world, tranche_settings={"timeouts": {"list_ms": 60000}}), sim=world)
    page = gateway.get("/v1/files").json()
    assert len(page["data"]) == 10000 and page["has_more"] is True
    assert [f["created_at"] for f in page["data"]] == list(range(when + 29999, when + 19999, -1))
    rest = gateway.get("/v1/files?limit=7&after=" + page["last_id"]).json()
    assert [f["created_at"] for f in rest["data"]] == list(range(when + 19999, when + 19992, -1))


def test_a_client_that_leaves_while_a_long_list_arrives_is_forgotten(world, start):
    gateway = start(mixed_config(world), sim=world)
    files = [{"id": f"file-{n:05}", "object": "file", "bytes": 1, "created_at": n, "filename": "a", "purpose": "batch"} for n in range(5000)]
    world.fault({**page_of(files, False), "trickle": {"bytes": 200000, "interval_ms": 1}}, account="oai", method="GET", path="/v1/files", times=-1)
    for wanted in range(1, 6):
        with socket.create_connection(("127.0.0.1", gateway.port)) as s:
            s.sendall(f"GET /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n".encode())
            world.wait("oai", "GET", "/v1/files", count=wanted, phase="received")
    assert gateway.stop() == 0 and "grace period is over" not in gateway.log


def test_the_deadline_covers_all_pages_of_an_account_and_asking_again_goes_on_from_there(make_sim, start):
    """A gateway without memory has to pass over several pages of an account that takes six seconds for each. It has nine."""
    own = make_sim(mixed_sim_config())
    slow, quick = Provider(own, "oai"), Provider(own, "us")
    quick.new_batch()
    own.advance(1000)
    for _ in range(120):
        slow.new_batch()
    own.advance(1000)
    cursor = quick.new_batch()["id"]
    own.advance(1000)
    for _ in range(120):
        slow.new_batch()  # newer than the cursor: to be passed over
    config = mixed_config(own, tranche_settings={"timeouts": {"list_ms": 9000}})
    del config["model_list"][0]
    first = start(config, sim=own)
    whole = walk(first, "/v1/batches", 100)
    assert len(whole) == 242
    cursor = next(i for i in whole if native(i) == cursor)
    second = start(config, sim=own)  # another node
    before = len(lists_asked(own, "oai"))
    own.fault({"delay_ms": 6000}, account="oai", method="GET", path="/v1/batches", times=-1)
    answer = second.get(f"/v1/batches?limit=1&after={cursor}")
    assert answer.headers["x-tranche-partial"] and [native(b["id"]) for b in answer.json()["data"]] == [native(whole[-1])]
    assert len(lists_asked(own, "oai")) - before == 2
    own.clear_faults()
    before = len(lists_asked(own, "oai"))
    answer = second.get(f"/v1/batches?limit=1&after={cursor}")
    assert "x-tranche-partial" not in answer.headers
    assert [b["id"] for b in answer.json()["data"]] == [whole[whole.index(cursor) + 1]]
    assert all("after=" in q for q in lists_asked(own, "oai")[before:])


def test_a_cursor_of_an_account_that_hangs_is_waited_for_no_longer_than_a_list(start, sim):
    gateway = start(balanced_config(sim, tranche_settings={"timeouts": {"list_ms": 300}}), sim=sim)
    made = gateway.created(gateway.uploaded()["id"])["id"]
    sim.fault({"hang": "answer"}, method="GET", path=f"/openai/batches/{native(made)}", times=-1)
    envelope(gateway.get(f"/v1/batches?after={made}", timeout=10), 504)


def test_what_a_list_sees_frees_quota_also_what_it_does_not_show(start, sim):
    rows = [azure_deployment(sim, "eu")]
    rows[0]["model_info"].update(enqueued_token_limit=100_000)
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)

    def enqueued():
        (candidate,) = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 1}).json()["candidates"]
        return candidate["enqueued_tokens"]

    file = gateway.uploaded()["id"]
    for _ in range(3):
        gateway.created(file)
    assert enqueued() > 0
    for _ in range(8):
        sim.advance(600_000)
        sim.ledger("eu")
    assert {b["status"] for b in Provider(sim, "eu").call("GET", "batches")["data"]} == {"completed"}
    assert len(gateway.get("/v1/batches?limit=2").json()["data"]) == 2  # three were looked at: has_more is exact
    assert enqueued() == 0


@pytest.mark.parametrize("strict", ["yes", "1", "%zz", "x" * 40])
def test_a_strict_that_cannot_be_read_is_not_taken_for_false(gateway, strict):
    envelope(gateway.get(f"/v1/batches?strict={strict}"), 400, param="strict")
