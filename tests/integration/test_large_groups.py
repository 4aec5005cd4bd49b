"""A group of ten thousand rows over the real program: what a sample of them, and a look at all, decide."""

import json

import pytest
from harness import GROUP, PROVIDER_KEYS, azure_account, balanced_config, envelope, lines, sim_config

ACCOUNTS = ("eu", "us", "sw")
ROWS = 10_000


def row(sim, i, **info):
    account = ACCOUNTS[i % len(ACCOUNTS)]
    return {"model_name": GROUP,
            "litellm_params": {"model": f"azure/batch-{i}", "api_base": sim.base(account),
                               "api_key": PROVIDER_KEYS[account], "api_version": "2024-10-21"},
            "model_info": {"id": f"row-{i}", "mode": "batch", **info}}


@pytest.fixture
def wide_sim(make_sim):
    return make_sim(sim_config([azure_account(a, deployments=[]) for a in ACCOUNTS]))  # they know every model


def started(start, sim, info=lambda i: {}, **sections):
    rows = [row(sim, i, **info(i)) for i in range(ROWS)]
    return start(balanced_config(sim, accounts=(), model_list=rows, **sections), sim=sim)


def test_files_and_batches_are_spread_over_ten_thousand_rows(start, wide_sim):
    gateway = started(start, wide_sim)
    rows = set()
    for n in range(40):
        answer = gateway.upload(lines(count=n + 1))
        assert answer.status == 200, answer
        batch = gateway.create(answer.json()["id"])
        assert batch.status == 200, batch
        rows.add(answer.headers["x-litellm-model-id"])
        assert gateway.get(f"/v1/batches/{batch.json()['id']}").json()["input_file_id"] == answer.json()["id"]
    assert len(rows) > 30
    assert wide_sim.created("files") == wide_sim.created("batches") == 40
    for account in ACCOUNTS:  # each batch is where its file is: nothing was copied
        assert wide_sim.created("files", [account]) == wide_sim.created("batches", [account]) > 0


def test_the_one_row_with_room_is_found(start, wide_sim):
    gateway = started(start, wide_sim, lambda i: {"enqueued_token_limit": 100_000 if i == 7777 else 50})
    for n in range(5):
        answer = gateway.upload(lines(count=20 + n))
        assert answer.headers["x-litellm-model-id"] == "row-7777", answer
        gateway.created(answer.json()["id"])
    row = {"custom_id": "r", "method": "POST", "url": "/v1/embeddings", "body": {"model": GROUP, "input": [7] * 1000}}
    ids = "".join(json.dumps({**row, "custom_id": f"r-{n}"}) + "\n" for n in range(101)).encode()
    envelope(gateway.upload(ids), 400, code="token_limit_exceeded")
    plan = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 900}).json()
    assert plan["fits"] == "now" and plan["deployment"] == "row-7777"
    assert len(plan["candidates"]) == 257 and plan["candidates_left_out"] == ROWS - 257
    assert [c["deployment"] for c in plan["candidates"] if c["chosen"]] == ["row-7777"]
    plan = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 100_001}).json()
    assert plan["fits"] == "never" and plan["deployment"] is None and len(plan["candidates"]) == 256
    account = ACCOUNTS[7777 % len(ACCOUNTS)]
    assert wide_sim.created("batches", [account]) == 5 == wide_sim.created("files")


def test_refusals_go_on_to_others_of_ten_thousand_rows(start, wide_sim):
    gateway = started(start, wide_sim, router_settings={"num_retries": 4})
    file = gateway.uploaded()
    for n in range(10):
        wide_sim.fault({"status": 429}, method="POST", path="/openai/files*", times=2)
        gateway.uploaded(lines(count=n + 1))
    assert wide_sim.created("files") == 11
    wide_sim.fault({"status": 429}, method="POST", path="/openai/batches*", times=2)
    batch = gateway.created(file["id"])
    assert batch["input_file_id"] == file["id"] and wide_sim.created("batches") == 1
