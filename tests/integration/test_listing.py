"""Lists over several accounts: one order, cursors that hold, and honesty about accounts that do not answer."""

import pytest
from harness import (DEPLOYMENTS, GROUP, MASTER_KEY, PROVIDER_KEYS, azure_deployment, balanced_config, envelope, lines, until)


@pytest.fixture
def nine(gateway, sim):
    """Ids of nine batches, three on each account in a mixed order, newest first; a second of the simulator's clock apart."""
    files = {}
    for _ in range(100):
        file = gateway.uploaded()["id"]
        files.setdefault(next(a for a in DEPLOYMENTS if file.split("-t")[0] in [f["id"] for f in sim.ledger(a)["files"]]), file)
        if len(files) == 3:
            break
    made = []
    for account in ("eu", "us", "us", "sw", "eu", "sw", "sw", "us", "eu"):
        made.insert(0, gateway.created(files[account])["id"])
        sim.advance(1000)
    return made


def pages(gateway, limit, target="/v1/batches"):
    seen, after = [], ""
    for _ in range(100):
        page = gateway.get(f"{target}?limit={limit}{after}").json()
        ids = [o["id"] for o in page["data"]]
        assert len(ids) <= limit
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        seen += ids
        if not page["has_more"]:
            return seen
        after = f"&after={ids[-1]}"
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9, 10, 100])
def test_pages_of_any_size_show_every_batch_once_newest_first(gateway, nine, limit):
    assert pages(gateway, limit) == nine


@pytest.mark.database
def test_a_new_batch_between_two_pages_shifts_nothing(gateway, sim, nine):
    first = gateway.get("/v1/batches?limit=4").json()["data"]
    gateway.created(gateway.uploaded()["id"])
    second = gateway.get(f"/v1/batches?limit=100&after={first[-1]['id']}").json()["data"]
    assert [b["id"] for b in first + second] == nine


@pytest.mark.database
def test_files_of_all_accounts_are_merged_and_filtered_by_purpose(gateway, sim, nine):
    gateway.wait_batch(sim, nine[0])
    made = sum(sim.ledger(a)["creates"]["files"] for a in DEPLOYMENTS)
    inputs = gateway.get("/v1/files?purpose=batch").json()["data"]
    outputs = gateway.get("/v1/files?purpose=batch_output").json()["data"]
    assert len(inputs) == made and {f["purpose"] for f in inputs} == {"batch"}
    assert outputs and {f["purpose"] for f in outputs} == {"batch_output"}
    assert sorted(pages(gateway, 4, "/v1/files")) == sorted(f["id"] for f in gateway.get("/v1/files").json()["data"])


@pytest.mark.parametrize("limit", ["10001", "-1", "x"])
def test_limits_of_a_file_list_are_openais(gateway, limit):
    envelope(gateway.get(f"/v1/files?limit={limit}"), 400, param="limit")
    assert gateway.get("/v1/files?limit=10000").status == 200


def test_an_unknown_cursor_is_an_error_and_no_endless_list(gateway, nine):
    answer = gateway.get("/v1/batches?after=batch_unknown")
    assert answer.status in (400, 404), answer


def test_a_forged_cursor_is_404(gateway, nine):
    forged = nine[3][:-1] + ("a" if nine[3][-1] != "a" else "b")
    envelope(gateway.get(f"/v1/batches?after={forged}"), 404)


def test_an_account_that_fails_makes_the_list_partial_and_says_so(gateway, sim, nine):
    sim.fault({"status": 500, "body": "broken"}, account="us", method="GET", path="/openai/batches", times=-1)
    answer = gateway.get("/v1/batches?limit=100")
    there = [b for b in nine if b.split("-t")[0] not in [x["id"] for x in sim.ledger("us")["batches"]]]
    assert answer.status == 200 and [b["id"] for b in answer.json()["data"]] == there
    assert answer.headers["x-tranche-partial"]
    envelope(gateway.get("/v1/batches?limit=100&strict=true"), 502, code="partial_list")
    gateway.wait_line("list is partial, without")


def test_an_account_that_hangs_does_not_hold_up_the_list(start, sim):
    gateway = start(balanced_config(sim, tranche_settings={"timeouts": {"list_ms": 300}}), sim=sim)
    made = gateway.created(gateway.uploaded()["id"])["id"]
    place = next(a for a in DEPLOYMENTS if sim.ledger(a)["batches"])
    other = next(a for a in DEPLOYMENTS if a != place)
    sim.fault({"hang": "answer"}, account=other, method="GET", path="/openai/batches", times=-1)

    def shown():
        """All that the account has which answers, unless it took as long as the one that hangs."""
        answer = gateway.get("/v1/batches?limit=50")
        assert answer.status != 200 or answer.headers["x-tranche-partial"], answer
        return answer.status == 200 and [b["id"] for b in answer.json()["data"]] == [made]

    until(shown, "the list without the account that hangs")


def test_when_no_account_answers_the_list_is_an_error(gateway, sim):
    sim.fault({"status": 503, "body": {"error": {"code": "serviceUnavailable", "message": "busy"}}}, method="GET",
              path="/openai/batches", times=-1)
    envelope(gateway.get("/v1/batches?limit=50"), 503)


def test_a_provider_that_ignores_after_does_not_loop_us(make_sim, start):
    from harness import azure_account, sim_config
    own = make_sim(sim_config([azure_account("eu", switches={"unknown_after": "ignore"}), azure_account("us")]))
    gateway = start(balanced_config(own, accounts=["eu", "us"]), sim=own)
    made = [gateway.created(gateway.uploaded()["id"])["id"] for _ in range(24)]
    assert sorted(pages(gateway, 2)) == sorted(made)


def test_a_list_over_thirty_accounts_asks_each_of_them_once(make_sim, start):
    from harness import azure_account, sim_config
    names = [f"a{n}" for n in range(30)]
    own = make_sim(sim_config([azure_account(n) for n in names]))
    gateway = start(balanced_config(own, accounts=names), sim=own)
    made = [gateway.created(gateway.uploaded()["id"])["id"] for _ in range(12)]
    answer = gateway.get("/v1/batches?limit=50")
    assert sorted(b["id"] for b in answer.json()["data"]) == sorted(made)
    assert "x-tranche-partial" not in answer.headers
    asked = [len([r for r in own.requests(n) if r["method"] == "GET" and r["target"].startswith("/openai/batches?")]) for n in names]
    assert asked == [1] * len(names)


def test_two_deployments_of_one_resource_are_listed_once(make_sim, start):
    from harness import sim_config
    account = {"name": "eu", "kind": "azure", "port": 0, "key": PROVIDER_KEYS["eu"], "deployments": [
        {"name": "one", "model": "gpt-4o", "sku": "GlobalBatch"}, {"name": "two", "model": "gpt-4o", "sku": "GlobalBatch"}]}
    own = make_sim(sim_config([account]))
    config = balanced_config(own, accounts=[])
    config["model_list"] = [azure_deployment(own, "eu", model="azure/one"), azure_deployment(own, "eu", model="azure/two"),
                            azure_deployment(own, "eu", model="azure/two", group="other")]
    gateway = start(config, sim=own)
    made = [gateway.created(gateway.uploaded()["id"])["id"] for _ in range(24)]
    assert {b["model"] for b in own.ledger("eu")["batches"]} == {"one", "two"}
    names = f"{GROUP},other"
    for asked, query in enumerate(["", f"&model={GROUP}", f"&target_model_names={names}", f"&model=other&target_model_names={names}"], 1):
        listed = gateway.get(f"/v1/batches?limit=50{query}").json()["data"]
        assert sorted(b["id"] for b in listed) == sorted(made), query
        lists = [r for r in own.requests("eu") if r["method"] == "GET" and r["target"].startswith("/openai/batches?")]
        assert len(lists) == asked, query
