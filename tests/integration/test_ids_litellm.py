"""Live batches survive the change from LiteLLM: its ids are understood from the master key, and answers show ours."""

import pytest
from harness import GROUP, balanced_config, direct_config, envelope, lines
from sealed_ids import b64, litellm_batch, litellm_encoded, litellm_file, native_of

ACCOUNTS = ("eu", "us", "sw")


def named_config(sim, **sections):
    """The three deployments with ids of their own."""
    config = balanced_config(sim, **sections)
    for row, account in zip(config["model_list"], ACCOUNTS):
        row["model_info"]["id"] = f"id-of-{account}"
    return config


@pytest.fixture
def migrated(start, sim):
    """A finished batch that lives at a provider, as if LiteLLM had made it."""
    gateway = start(named_config(sim), sim=sim)
    batch = gateway.created(gateway.uploaded(lines(count=2))["id"])
    return gateway, gateway.wait_batch(sim, batch["id"])


def account_of(sim, batch):
    return next(a for a in ACCOUNTS if native_of(batch["id"]) in [b["id"] for b in sim.ledger(a)["batches"]])


def asked_since(sim, before):
    """Which accounts were asked what since then."""
    return [(a, r["method"], r["target"].partition("?")[0].rpartition("/openai")[2])
            for a in ACCOUNTS for r in sim.requests(a)[before[a]:]]


def marks(sim):
    return {a: len(sim.requests(a)) for a in ACCOUNTS}


def forms_of_batch(native, account):
    return [litellm_batch(native, f"id-of-{account}"), litellm_batch(native, f"id-of-{account}", ";llm_output_file_id:file-1"),
            litellm_batch(native, f"id-of-{account}", ",llm_output_file_id:file-1"),
            litellm_encoded(native, f"id-of-{account}"), litellm_encoded(native, f"id-of-{account}").removeprefix("batch_")]


def test_a_batch_is_polled_by_every_form_of_litellms_id_at_the_account_that_it_names(migrated, sim):
    gateway, batch = migrated
    account, native = account_of(sim, batch), native_of(batch["id"])
    for form in forms_of_batch(native, account):
        before = marks(sim)
        answer = gateway.get(f"/v1/batches/{form}")
        assert answer.status == 200, (form, answer)
        assert answer.json() == batch  # the ids are ours, the same as everywhere else
        assert asked_since(sim, before) == [(account, "GET", f"/batches/{native}")]


def test_files_are_read_and_deleted_by_every_form_of_litellms_id(migrated, sim):
    gateway, batch = migrated
    account = account_of(sim, batch)
    content = gateway.get(f"/v1/files/{batch['output_file_id']}/content").body
    native = native_of(batch["output_file_id"])
    forms = [litellm_file(native, f"id-of-{account}"), litellm_file(native, f"id-of-{account}", "", "text/plain; charset=utf-8"),
             litellm_encoded(native, f"id-of-{account}")]
    for form in forms:
        before = marks(sim)
        assert gateway.get(f"/v1/files/{form}").json()["id"] == batch["output_file_id"]
        assert gateway.get(f"/v1/files/{form}/content").body == content
        assert asked_since(sim, before) == [(account, "GET", f"/files/{native}"), (account, "GET", f"/files/{native}/content")]
    deleted = gateway.delete(f"/v1/files/{forms[0]}").json()
    assert (deleted["id"], deleted["deleted"]) == (batch["output_file_id"], True)
    envelope(gateway.get(f"/v1/files/{forms[1]}"), 404)


def test_a_model_name_or_a_target_names_a_group_and_an_unknown_one_all_accounts(migrated, sim):
    gateway, batch = migrated
    native = native_of(batch["id"])
    digest = "e26453f9e76e7993680d0068d98c1f4cc205bbad0967a33c664893568ca743c2"  # LiteLLM's own of a row without model_info.id
    for form in (litellm_encoded(native, GROUP), litellm_batch(native, digest)):
        assert gateway.get(f"/v1/batches/{form}").json() == batch, form
    file = native_of(batch["input_file_id"])
    for form in (litellm_file(file, digest, "nothing-here, " + GROUP), litellm_file(file, "None", ""),
                 b64(f"litellm_proxy:passthrough;provider:azure;unified_id,1;raw_id,{file}")):
        assert gateway.get(f"/v1/files/{form}").json()["id"] == batch["input_file_id"], form


def test_only_the_accounts_of_the_named_group_are_asked(start, sim):
    config = named_config(sim)
    config["model_list"][2]["model_name"] = "another-group"
    gateway = start(config, sim=sim)
    before = marks(sim)
    envelope(gateway.get(f"/v1/batches/{litellm_encoded('batch_nobody', GROUP)}"), 404)
    assert sorted({a for a, _, _ in asked_since(sim, before)}) == ["eu", "us"]
    before = marks(sim)
    envelope(gateway.get(f"/v1/files/{litellm_file('file-nobody', 'x', 'another-group')}"), 404)
    assert [a for a, _, _ in asked_since(sim, before)] == ["sw"]


def test_a_batch_is_created_from_and_cancelled_by_litellms_ids(start, sim):
    gateway = start(named_config(sim), sim=sim)
    file = gateway.uploaded()
    account = next(a for a in ACCOUNTS if native_of(file["id"]) in [f["id"] for f in sim.ledger(a)["files"]])
    for form in (litellm_file(native_of(file["id"]), f"id-of-{account}"), litellm_encoded(native_of(file["id"]), GROUP)):
        batch = gateway.created(form)
        assert batch["input_file_id"] == file["id"]
        assert native_of(batch["id"]) in [b["id"] for b in sim.ledger(account)["batches"]]
        before = marks(sim)
        cancelled = gateway.post(f"/v1/batches/{litellm_encoded(native_of(batch['id']), GROUP)}/cancel")
        assert cancelled.status == 200 and cancelled.json()["id"] == batch["id"], cancelled
        assert [a for a, method, _ in asked_since(sim, before) if method == "POST"] == [account]
    assert sim.created("batches") == 2


def test_without_balancing_answers_show_the_providers_own_ids(start, sim):
    gateway = start(direct_config(sim), sim=sim)
    file = gateway.uploaded(lines("gpt-4o-mini"))
    batch = gateway.created(file["id"])
    assert gateway.get(f"/v1/files/{litellm_encoded(file['id'], 'gpt-4o')}").json()["id"] == file["id"]
    assert gateway.get(f"/v1/batches/{litellm_batch(batch['id'], 'x')}").json() == gateway.get(f"/v1/batches/{batch['id']}").json()


def test_an_id_of_ours_inside_litellms_is_ours(migrated, sim):
    """LiteLLM stood in front of this gateway, and is now left out."""
    gateway, batch = migrated
    before = marks(sim)
    assert gateway.get(f"/v1/batches/{litellm_encoded(batch['id'], 'some-model')}").json() == batch
    assert len(asked_since(sim, before)) == 1


def test_ids_that_name_nothing_at_a_provider_are_404_without_a_call(migrated, sim):
    gateway, batch = migrated
    native, file = native_of(batch["id"]), native_of(batch["input_file_id"])
    before = marks(sim)
    for form in (litellm_file(file, "x"), litellm_encoded(file, GROUP), b64("litellm_proxy;model_id:x;generic_response_id:ftjob-1")):
        assert envelope(gateway.get(f"/v1/batches/{form}"), 404)["code"] == "batch_not_found"
    for form in (litellm_batch(native, "x"), litellm_encoded(native, GROUP), litellm_encoded("s3://bucket/key", GROUP),
                 b64("litellm_proxy:application/json;unified_id,c4843482-b176-4901-8292-7523fd0f2c6e")):
        envelope(gateway.get(f"/v1/files/{form}"), 404)
        envelope(gateway.create(form), 404)
    assert asked_since(sim, before) == []
