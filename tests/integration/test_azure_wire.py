"""What goes over the wire to Azure OpenAI, in both of its dialects and from every api_base that people paste."""

import json

import pytest
from harness import (DEPLOYMENTS, GROUP, MASTER_KEY, PROVIDER_KEYS, azure_account, azure_deployment, balanced_config, envelope,
                     http_request, lines, renamed, sim_config)


def by_target(sim, account, method, part):
    return [r for r in sim.requests(account) if r["method"] == method and part in r["target"]]


def test_an_upload_has_a_typed_file_part_and_an_exact_length(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    gateway.uploaded(content_type=None)  # the simulator refuses parts without type or with a length, as Azure does
    (upload,) = by_target(sim, "eu", "POST", "/openai/files")
    assert upload["status"] == 201
    assert "transfer-encoding" not in upload["headers"]
    assert int(upload["headers"]["content-length"]) == upload["body_bytes"]
    assert upload["headers"]["content-type"].startswith("multipart/form-data")
    assert upload["headers"]["api-key"] == PROVIDER_KEYS["eu"]
    assert "authorization" not in upload["headers"]


def test_expires_after_goes_out_in_brackets_and_comes_back(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    for seconds in ("1209600", "2592000"):
        file = gateway.uploaded(fields={"expires_after[anchor]": "created_at", "expires_after[seconds]": seconds})
        assert file["expires_at"] == file["created_at"] + int(seconds)


def test_the_dated_api_carries_its_version_and_v1_none(start, sim):
    for dialect, version in (("2024-10-21", "api-version=2024-10-21"), ("2025-04-01-preview", "api-version=2025-04-01-preview")):
        sim.reset()
        gateway = start({**balanced_config(sim), "model_list": [azure_deployment(sim, "eu", api_version=dialect)]}, sim=sim)
        flow(gateway, sim, "eu")
        assert all(version in r["target"] and r["target"].startswith("/openai/") for r in sim.requests("eu"))


V1_BASES = ["/openai/v1", "/openai/v1/", "/openai/v1/files", "/openai/v1?api-version=preview"]
DATED_BASES = ["", "/", "/openai", "/openai/", "/openai/deployments/gpt-4o-batch-eu",
               "/openai/deployments/gpt-4o-batch-eu/chat/completions?api-version=2024-10-21"]


@pytest.mark.parametrize("suffix", DATED_BASES)
def test_every_pasted_api_base_of_the_dated_api_works(start, sim, suffix):
    base = sim.base("eu") + suffix
    gateway = start({**balanced_config(sim), "model_list": [azure_deployment(sim, "eu", api_base=base)]}, sim=sim)
    flow(gateway, sim, "eu")
    assert {r["target"].split("?")[0].split("/")[2] for r in sim.requests("eu")} == {"files", "batches"}


@pytest.mark.parametrize("suffix", V1_BASES[:2])
def test_every_pasted_api_base_of_the_v1_api_works(start, sim, suffix):
    base = sim.base("eu") + suffix
    gateway = start({**balanced_config(sim), "model_list": [azure_deployment(sim, "eu", api_base=base, api_version=None)]},
                    sim=sim)
    flow(gateway, sim, "eu")
    assert all(r["target"].startswith("/openai/v1/") for r in sim.requests("eu"))


def flow(gateway, sim, account):
    """Upload, create, retrieve, list, content, cancel, delete, in OpenAI's shapes whatever the dialect."""
    answer = gateway.upload()
    assert answer.status == 200, answer
    file = answer.json()
    assert set(file) >= {"id", "object", "bytes", "created_at", "filename", "purpose", "status", "status_details"}
    assert (file["object"], file["bytes"], file["status"]) == ("file", len(renamed(lines(), DEPLOYMENTS[account])), "processed")
    created = gateway.create(file["id"])
    assert created.status == 200, created
    batch = created.json()
    keys = ["id", "object", "endpoint", "errors", "input_file_id", "completion_window", "status", "output_file_id",
            "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
            "expired_at", "cancelling_at", "cancelled_at", "request_counts", "metadata"]
    assert [k for k in batch if k in keys] == keys and set(keys) <= set(batch)
    assert batch["endpoint"] == "/v1/chat/completions"
    assert (batch["output_file_id"], batch["error_file_id"], batch["metadata"]) == (None, None, None)
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert gateway.get(f"/v1/batches/{batch['id']}").json()["input_file_id"] == file["id"]
    listed = gateway.get("/v1/batches").json()
    assert [b["id"] for b in listed["data"]] == [batch["id"]]
    assert set(listed) == {"object", "data", "first_id", "last_id", "has_more"}
    assert set(gateway.get("/v1/files").json()) == {"object", "data", "first_id", "last_id", "has_more"}
    done = gateway.wait_batch(sim, batch["id"])
    assert gateway.get(f"/v1/files/{done['error_file_id']}/content").body == b""
    assert gateway.get(f"/v1/files/{done['output_file_id']}").json()["purpose"] == "batch_output"
    assert gateway.delete(f"/v1/files/{file['id']}").json() == {"id": file["id"], "object": "file", "deleted": True}


@pytest.mark.parametrize("switches", [
    {"capital_status": True}, {"iso_times": True}, {"null_counts": True}, {"list_without_object": True},
    {"empty_ids": True}, {"echo_bare_endpoint": True}, {"pending_bytes": "absent"}, {"pending_bytes": "null"},
    {"gzip": True}], ids=lambda s: "-".join(f"{k}" for k in s))
def test_odd_shapes_of_azure_become_openais(make_sim, start, switches):
    own = make_sim(sim_config([azure_account("eu", switches=switches)]))
    gateway = start({**balanced_config(own, accounts=["eu"])}, sim=own)
    flow(gateway, own, "eu")


def test_a_delete_that_is_answered_204_becomes_openais_object(start, sim):
    gateway = start({**balanced_config(sim), "model_list": [azure_deployment(sim, "eu", api_version="2024-07-01-preview")]},
                    sim=sim)
    file = gateway.uploaded()
    assert gateway.delete(f"/v1/files/{file['id']}").json() == {"id": file["id"], "object": "file", "deleted": True}
    assert by_target(sim, "eu", "DELETE", "/openai/files")[0]["status"] == 204


def test_a_failed_batch_tells_its_errors_with_integer_lines(make_sim, start):
    own = make_sim(sim_config([azure_account("eu", switches={"line_as_string": True, "failed_at_null": True})]))
    gateway = start(balanced_config(own, accounts=["eu"]), sim=own)
    batch = gateway.created(gateway.uploaded()["id"], endpoint="/v1/embeddings")  # the lines say chat
    failed = gateway.wait_batch(own, batch["id"], "failed")
    error = failed["errors"]["data"][0]
    assert failed["errors"]["object"] == "list" and error["code"] and error["message"]
    assert error["line"] is None or isinstance(error["line"], int)


def test_a_pending_file_is_shown_so_that_wait_helpers_go_on(make_sim, start):
    own = make_sim(sim_config([azure_account("eu")], pending_ms=60_000))
    gateway = start(balanced_config(own, accounts=["eu"]), sim=own)
    file = gateway.uploaded()
    assert file["status"] in ("uploaded", "pending")
    own.advance(61_000)
    assert gateway.get(f"/v1/files/{file['id']}").json()["status"] == "processed"


def test_metadata_goes_to_azure_as_it_came_and_comes_back_alone(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    metadata = {f"key-{n}": "väl\"ue\n" + "x" * n for n in range(15)}
    batch = gateway.created(file["id"], metadata=metadata)
    assert batch["metadata"] == metadata
    assert gateway.get(f"/v1/batches/{batch['id']}").json()["metadata"] == metadata
    (kept,) = sim.ledger("eu")["batches"]
    assert {k: v for k, v in kept["metadata"].items() if k != "tranche"} == metadata
    full = {f"key-{n}": "v" for n in range(16)}
    assert gateway.created(file["id"], metadata=full)["metadata"] == full


def test_gateway_only_members_of_a_create_stay_here(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    batch = gateway.created(file["id"], model=GROUP, custom_llm_provider="azure", litellm_metadata={"a": "b"})
    assert batch["status"] == "validating"


def test_an_entra_token_goes_out_as_a_bearer(start, sim):
    deployment = azure_deployment(sim, "eu", api_key=None, azure_ad_token="token-not-known-to-the-simulator")
    gateway = start({**balanced_config(sim), "model_list": [deployment]}, sim=sim)
    gateway.secrets.append("token-not-known-to-the-simulator")
    envelope(gateway.upload(), 502, code="upstream_auth")
    (upload,) = by_target(sim, "eu", "POST", "/openai/files")
    assert upload["headers"]["authorization"] == "Bearer token-not-known-to-the-simulator"
    assert "api-key" not in upload["headers"]


def test_an_openai_deployment_of_the_model_list_is_reached_with_its_model_name(start, sim):
    row = {"model_name": GROUP, "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": sim.base("oai") + "/v1",
                                                   "api_key": PROVIDER_KEYS["oai"]}, "model_info": {"mode": "batch"}}
    gateway = start({**balanced_config(sim), "model_list": [row]}, sim=sim)
    file = gateway.uploaded()
    content = gateway.get(f"/v1/files/{file['id']}/content").body
    assert {json.loads(line)["body"]["model"] for line in content.splitlines()} == {"gpt-4o-mini"}
    batch = gateway.created(file["id"])
    done = gateway.wait_batch(sim, batch["id"])
    assert done["error_file_id"] is None
    (upload,) = by_target(sim, "oai", "POST", "/v1/files")
    assert upload["headers"]["authorization"] == f"Bearer {PROVIDER_KEYS['oai']}"


@pytest.mark.parametrize("path", ["/openai/batches", "/openai/deployments/gpt-4o-batch/batches"])
@pytest.mark.parametrize("version, status", [("2024-10-21", 200), ("2025-04-01-preview", 201)])
def test_a_create_in_azures_shape_answers_with_azures_own_status(start, sim, version, status, path):
    """An SDK that takes 201 alone would report an error for a batch that was made."""
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"][0]["litellm_params"]["api_version"] = version
    gateway = start(config, sim=sim)
    file, key = gateway.uploaded(), {"Idempotency-Key": "azure-shaped"}
    made = gateway.create(file["id"], target=f"{path}?api-version={version}", headers=key)
    assert made.status == sim.requests("eu")[-1]["status"] == status, made
    again = gateway.create(file["id"], target=f"{path}?api-version={version}", headers=key)
    assert again.status == status and again.json()["id"] == made.json()["id"], again
    assert gateway.create(file["id"]).status == 200  # OpenAI's shape, OpenAI's status


def test_a_create_in_azures_shape_that_is_found_again_has_its_status(start, sim):
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"][0]["litellm_params"]["api_version"] = "2025-04-01-preview"
    gateway = start(config, sim=sim)
    file = gateway.uploaded()
    sim.fault({"close": "answer"}, account="eu", method="POST", path="*/batches")
    made = gateway.create(file["id"], target="/openai/batches?api-version=2025-04-01-preview")
    assert made.status == 201 and sim.created("batches") == 1, made


@pytest.mark.parametrize("endpoint", ["/chat/completions", "/v1/chat/completions"])
def test_one_batch_shows_one_endpoint_wherever_it_is_shown(start, sim, endpoint):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded(lines(url="/chat/completions"))
    key = {"Idempotency-Key": "one-endpoint"}
    body = {"endpoint": endpoint}
    batch = gateway.created(file["id"], headers=key, **body)
    shown = [batch, gateway.get("/v1/batches/" + batch["id"]).json(), gateway.get("/v1/batches").json()["data"][0],
             gateway.create(file["id"], headers=key, **body).json(), gateway.post(f"/v1/batches/{batch['id']}/cancel").json()]
    assert [b["endpoint"] for b in shown] == [endpoint] * len(shown)
