"""Ids without a tag, from the master key: the account is looked for, and nothing is changed on the way."""

import pytest
from harness import PROVIDER_KEYS, azure_account, azure_deployment, balanced_config, direct_config, envelope, lines, sim_config
from sealed_ids import native_of

ACCOUNTS = ("eu", "us", "sw")


def holder(sim, kind, native):
    return next(a for a in ACCOUNTS if native in [o["id"] for o in sim.ledger(a)[kind]])


def marks(sim):
    return {a: len(sim.requests(a)) for a in ACCOUNTS}


def asked_since(sim, before):
    return [(a, r["method"]) for a in ACCOUNTS for r in sim.requests(a)[before[a]:]]


@pytest.fixture
def placed(gateway, sim):
    """A native file id and where it is."""
    native = native_of(gateway.uploaded()["id"])
    return gateway, native, holder(sim, "files", native)


def test_what_was_found_once_is_asked_for_at_one_place_by_all_workers(placed, sim):
    gateway, native, account = placed
    assert gateway.get(f"/v1/files/{native}").json()["id"] == native
    for _ in range(8):  # two workers share the connections
        before = marks(sim)
        assert gateway.get(f"/v1/files/{native}").status == 200
        assert asked_since(sim, before) == [(account, "GET")]
    before = marks(sim)
    assert gateway.get(f"/v1/files/{native}/content").status == 200
    assert {a for a, _ in asked_since(sim, before)} == {account}


def test_the_files_of_a_batch_that_was_found_need_no_search(gateway, sim):
    tagged = gateway.created(gateway.uploaded()["id"])["id"]
    gateway.wait_batch(sim, tagged)
    native = native_of(tagged)
    batch = gateway.get(f"/v1/batches/{native}").json()
    assert batch["id"] == native and batch["output_file_id"].startswith("file-")
    before = marks(sim)
    assert gateway.get(f"/v1/files/{batch['output_file_id']}/content").status == 200
    assert {a for a, _ in asked_since(sim, before)} == {holder(sim, "batches", native)}


@pytest.mark.parametrize("known", [False, True])
def test_a_delete_goes_to_the_one_account_that_has_the_file(placed, sim, known):
    gateway, native, account = placed
    if known:
        assert gateway.get(f"/v1/files/{native}").status == 200
    before = marks(sim)
    deleted = gateway.delete(f"/v1/files/{native}").json()
    assert (deleted["id"], deleted["deleted"]) == (native, True)
    asked = asked_since(sim, before)
    assert [a for a in asked if a[1] != "GET"] == [(account, "DELETE")]
    if known:
        assert asked == [(account, "GET"), (account, "DELETE")]
    before = marks(sim)
    envelope(gateway.delete(f"/v1/files/{native}"), 404)
    assert sorted(asked_since(sim, before)) == [(a, "GET") for a in sorted(ACCOUNTS)]


def test_a_cancel_goes_to_the_one_account_that_has_the_batch(gateway, sim):
    native = native_of(gateway.created(gateway.uploaded()["id"])["id"])
    before = marks(sim)
    answer = gateway.post(f"/v1/batches/{native}/cancel")
    assert answer.status == 200 and answer.json()["status"] in ("cancelling", "cancelled"), answer
    assert [a for a in asked_since(sim, before) if a[1] == "POST"] == [(holder(sim, "batches", native), "POST")]


def test_an_account_that_hangs_delays_nobody_who_looks_for_what_another_has(placed, sim):
    gateway, native, account = placed
    for other in ACCOUNTS:
        if other != account:
            sim.fault({"hang": "answer", "ms": 600_000}, account=other, method="GET", path=f"*/files/{native}")
    assert gateway.get(f"/v1/files/{native}").json()["id"] == native


@pytest.mark.parametrize("target", ["/v1/files/{}", "/v1/files/{}/content"])
def test_it_is_404_only_when_all_say_so(gateway, sim, target):
    before = marks(sim)
    envelope(gateway.get(target.format("file-nobody")), 404)
    assert sorted({a for a, _ in asked_since(sim, before)}) == sorted(ACCOUNTS)
    sim.fault({"status": 401}, account="us", path="*/files/file-nobody", times=100)
    envelope(gateway.get(target.format("file-nobody")), 502, code="upstream_auth")
    sim.fault({"status": 500}, account="sw", path="*/files/file-nobody", times=100)
    answer = gateway.get(target.format("file-nobody"))
    envelope(answer, 500)
    assert answer.headers["x-litellm-model-api-base"] == sim.base("sw")


def test_a_search_that_cannot_be_finished_changes_nothing(placed, sim):
    gateway, native, account = placed
    sim.fault({"status": 500}, account=account, method="GET", path=f"*/files/{native}", times=100)
    envelope(gateway.delete(f"/v1/files/{native}"), 500)
    assert not [r for a in ACCOUNTS for r in sim.requests(a) if r["method"] == "DELETE"]


def test_more_accounts_than_are_asked_at_one_time_are_all_asked(make_sim, start):
    names = [f"r{n}" for n in range(9)]
    own = make_sim(sim_config([azure_account(n) for n in names]))
    gateway = start(balanced_config(own, accounts=names), sim=own)
    envelope(gateway.get("/v1/files/file-nobody"), 404)
    assert [n for n in names for r in own.requests(n) if "file-nobody" in r["target"]] == names


@pytest.fixture
def unbalanced(start, sim):
    """LiteLLM's default: rows are reached by their names, and ids are the providers' own."""
    config = balanced_config(sim, accounts=())
    config["model_list"] = [azure_deployment(sim, a, group=f"batch-{a}") for a in ACCOUNTS]
    del config["litellm_settings"]
    return start(config, sim=sim)


def test_without_balancing_what_a_named_model_got_is_found_by_its_own_id(unbalanced, sim):
    """A client names the model once, at the upload, and has ids from then on."""
    file = unbalanced.uploaded(fields={"model": "batch-sw"})
    assert holder(sim, "files", file["id"]) == "sw"
    assert unbalanced.get(f"/v1/files/{file['id']}").json() == file
    batch = unbalanced.created(file["id"])
    assert holder(sim, "batches", batch["id"]) == "sw"
    output = unbalanced.wait_batch(sim, batch["id"])["output_file_id"]
    assert len(unbalanced.get(f"/v1/files/{output}/content").body.splitlines()) == 3
    other = unbalanced.created(file["id"])["id"]
    assert unbalanced.post(f"/v1/batches/{other}/cancel").json()["status"] == "cancelling"
    assert unbalanced.delete(f"/v1/files/{file['id']}").json()["deleted"]
    envelope(unbalanced.get(f"/v1/files/{file['id']}"), 404)


def test_without_balancing_the_default_account_is_asked_first_and_alone(unbalanced, sim):
    file = unbalanced.uploaded()["id"]  # names no group's model: the provider's first account
    home = holder(sim, "files", file)
    before = marks(sim)
    assert unbalanced.get(f"/v1/files/{file}").status == 200
    assert asked_since(sim, before) == [(home, "GET")]
    before = marks(sim)
    envelope(unbalanced.get("/v1/files/file-nowhere"), 404)
    assert sorted(asked_since(sim, before)) == [(a, "GET") for a in sorted(ACCOUNTS)]


def test_without_balancing_a_named_provider_is_the_only_one_asked(start, sim):
    config = balanced_config(sim, accounts=())
    config["model_list"] = [azure_deployment(sim, "eu", group="batch-eu"),
                            {"model_name": "mini", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": sim.base("oai") + "/v1",
                                                                      "api_key": PROVIDER_KEYS["oai"]}}]
    del config["litellm_settings"]
    gateway = start(config, sim=sim)
    file = gateway.uploaded(fields={"model": "batch-eu"})["id"]
    assert gateway.get(f"/v1/files/{file}").json()["id"] == file
    envelope(gateway.get(f"/v1/files/{file}?provider=openai"), 404)


def test_without_balancing_a_raw_id_is_found_at_every_configured_account(start, sim):
    config = direct_config(sim, model_list=[azure_deployment(sim, "us", group="g")])
    gateway = start(config, sim=sim)
    at_azure = gateway.uploaded(target="/azure/v1/files", data=lines("gpt-4o-batch-eu"))["id"]
    at_openai = gateway.uploaded(target="/openai/v1/files", data=lines("gpt-4o-mini"))["id"]
    for native in (at_azure, at_openai):
        assert gateway.get("/v1/files/" + native).json()["id"] == native
    batch = gateway.created(at_azure)
    assert sim.created("batches", ["eu"]) == 1
    assert gateway.get("/v1/batches/" + batch["id"]).json()["id"] == batch["id"]
    assert gateway.delete("/v1/files/" + at_azure).status == 200
