"""Tagged ids: stable, sealed, and worth nothing to somebody who made them up."""

import re

import pytest
from harness import MASTER_KEY, PROVIDER_KEYS, balanced_config, envelope, lines

TAG = re.compile(r"^(.+)-t([a-z2-7]{32})$")


def flipped(text, at):
    return text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1:]


def test_the_same_object_has_the_same_id_everywhere_and_always(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    file = gateway.uploaded()
    batch = gateway.created(file["id"])
    native, _ = TAG.match(batch["id"]).groups()
    assert native in [b["id"] for a in ("eu", "us", "sw") for b in sim.ledger(a)["batches"]]
    done = gateway.wait_batch(sim, batch["id"])
    for seen in (done, gateway.get("/v1/batches").json()["data"][0], gateway.get(f"/v1/batches/{batch['id']}").json()):
        assert (seen["id"], seen["input_file_id"]) == (batch["id"], file["id"])
        assert (seen["output_file_id"], seen["error_file_id"]) == (done["output_file_id"], done["error_file_id"])
    other = start(balanced_config(sim), sim=sim)  # another process with the same configuration
    assert other.get(f"/v1/batches/{batch['id']}").json() == gateway.get(f"/v1/batches/{batch['id']}").json()
    listed = {f["id"] for f in gateway.get("/v1/files").json()["data"]}
    assert {file["id"], done["output_file_id"], done["error_file_id"]} <= listed


def test_rotating_a_providers_key_keeps_ids_valid(start, sim):
    file = start(balanced_config(sim), sim=sim).uploaded()
    config = balanced_config(sim)
    for row in config["model_list"]:
        row["litellm_params"]["api_key"] = "rotated-" + row["litellm_params"]["api_key"]
    gateway = start(config, sim=sim)
    envelope(gateway.get(f"/v1/files/{file['id']}"), 502, code="upstream_auth")  # found its way, with the new key


def test_a_forged_id_is_404_without_a_call_and_looks_like_any_unknown_one(gateway, sim):
    file = gateway.uploaded()
    batch = gateway.created(file["id"])
    file_native, file_tag = TAG.match(file["id"]).groups()
    batch_native, batch_tag = TAG.match(batch["id"]).groups()
    forged = [flipped(file["id"], len(file["id"]) - n) for n in range(1, 33)] + [
        flipped(file["id"], 6), f"{file_native}-t{batch_tag}", f"{file_native}x-t{file_tag}", f"{file['id']}-t{file_tag}"]
    before = len(sim.requests())
    for bad in forged:
        answer = gateway.get(f"/v1/files/{bad}")
        error = envelope(answer, 404)
        for target in (f"/v1/files/{bad}/content",):
            envelope(gateway.get(target), 404)
        envelope(gateway.delete(f"/v1/files/{bad}"), 404)
        envelope(gateway.create(bad), 404)
    for bad in (flipped(batch["id"], len(batch["id"]) - 1), f"{batch_native}-t{file_tag}"):
        envelope(gateway.get(f"/v1/batches/{bad}"), 404)
        envelope(gateway.post(f"/v1/batches/{bad}/cancel"), 404)
    # a file's tag on the batch route and the other way round
    envelope(gateway.get(f"/v1/batches/{file['id']}"), 404)
    envelope(gateway.get(f"/v1/files/{batch['id']}"), 404)
    assert len(sim.requests()) == before
    assert sim.created("batches") == 1
    unknown = gateway.get("/v1/files/file-unknown").json()["error"]
    assert (error["type"], error["code"], error["param"]) == (unknown["type"], unknown["code"], unknown["param"])
    assert error["message"].replace(forged[-1], "ID") == unknown["message"].replace("file-unknown", "ID")


def test_an_id_sealed_by_another_gateway_is_404(start, sim):
    file = start(balanced_config(sim), sim=sim).uploaded()
    other = balanced_config(sim, general_settings={"master_key": "sk-another-master-key"})
    gateway = start(other, sim=sim)
    before = len(sim.requests())
    envelope(gateway.get(f"/v1/files/{file['id']}", key="sk-another-master-key"), 404)
    assert len(sim.requests()) == before


def test_several_seal_keys_open_and_the_first_one_mints(start, sim):
    old = balanced_config(sim, tranche_settings={"seal_keys": ["seal-one-of-sixteen-bytes"]})
    file = start(old, sim=sim).uploaded()
    gateway = start(balanced_config(sim, tranche_settings={"seal_keys": ["seal-two-of-sixteen-bytes", "seal-one-of-sixteen-bytes"]}), sim=sim)
    assert gateway.get(f"/v1/files/{file['id']}").status == 200
    fresh = gateway.uploaded()
    assert start(old, sim=sim).get(f"/v1/files/{fresh['id']}").status == 404


def test_a_native_id_of_the_master_key_is_found(gateway, sim):
    file = gateway.uploaded()
    batch = gateway.created(file["id"])
    native_file, _ = TAG.match(file["id"]).groups()
    native_batch, _ = TAG.match(batch["id"]).groups()
    assert gateway.get(f"/v1/files/{native_file}").status == 200
    assert gateway.get(f"/v1/batches/{native_batch}").status == 200
    assert gateway.get("/v1/batches/batch_nobody_knows").status == 404


def test_a_create_goes_where_its_file_is(gateway, sim):
    for _ in range(6):
        file = gateway.uploaded()
        gateway.created(file["id"])
    for account in ("eu", "us", "sw"):
        ledger = sim.ledger(account)
        assert {b["input_file_id"] for b in ledger["batches"]} <= {f["id"] for f in ledger["files"]}
