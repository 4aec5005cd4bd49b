"""The official SDKs repeat by themselves what they got no answer to. Whatever they repeat, one batch comes of it."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from harness import (MASTER_KEY, PATIENCE, ROOT, azure_account, azure_deployment, balanced_config, lines, program_env,
                     sim_config, worker_pids)

HERE = pathlib.Path(__file__).parent
BATCHES = "/openai/batches*"
SDKS = {"python": ([sys.executable, str(HERE / "sdk_create.py")], HERE, {}),
        "python-1": ([sys.executable, str(HERE / "sdk_create.py")], HERE, {"PYTHONPATH": str(ROOT / ".venv" / "openai-1")}),
        "node": (["node", "create.mjs"], HERE / "node", {})}


class Create:
    """A create under way in an SDK."""

    def __init__(self, sdk, gateway, file_id, kind):
        argv, directory, env = SDKS[sdk]
        self.process = subprocess.Popen([*argv, kind, gateway.url, MASTER_KEY, file_id], cwd=directory, env=program_env(env),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self):
        out, err = self.process.communicate(timeout=PATIENCE * 5)
        assert self.process.returncode == 0, err
        return json.loads(out.splitlines()[-1])


@pytest.fixture(params=SDKS)
def sdk(request):
    return request.param


@pytest.fixture
def one(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    gateway.deaths_expected = True
    gateway.file = gateway.uploaded()["id"]
    return gateway


def check_one(gateway, sim, seen):
    assert sim.created("batches") == 1, seen
    (batch,) = gateway.get("/v1/batches").json()["data"]
    assert seen["id"] == batch["id"] and seen["input_file_id"] == gateway.file


def test_a_connection_that_the_provider_closes_before_it_answers(one, sim, sdk):
    sim.fault({"close": "answer"}, account="eu", method="POST", path=BATCHES, times=1)
    check_one(one, sim, Create(sdk, one, one.file, "AzureOpenAI").end())


def test_a_provider_that_is_throttled_twice(one, sim, sdk):
    headers = {"retry-after-ms": "50", "retry-after": "1"}
    sim.fault({"status": 429, "headers": headers}, account="eu", method="POST", path=BATCHES, times=2)
    check_one(one, sim, Create(sdk, one, one.file, "OpenAI").end())


def test_a_create_that_nobody_can_tell_of_is_not_repeated(one, sim, sdk):
    sim.fault({"status": 502}, account="eu", method="POST", path=BATCHES, times=1)
    seen = Create(sdk, one, one.file, "OpenAI").end()
    assert (seen["status"], seen["code"]) == (502, "create_outcome_unknown"), seen
    assert sim.created("batches") == 0
    assert len([r for r in sim.requests("eu") if r["method"] == "POST" and "/batches" in r["target"]]) == 1


@pytest.mark.parametrize("kind", ["OpenAI", "AzureOpenAI"])
def test_a_worker_that_is_killed_while_its_provider_creates(one, sim, sdk, kind):
    sim.fault({"hang": "answer", "ms": 300}, account="eu", method="POST", path=BATCHES, times=1)
    create = Create(sdk, one, one.file, kind)
    sim.wait("eu", "POST", BATCHES, phase="received", timeout=PATIENCE * 3)
    for pid in worker_pids(one):
        os.kill(pid, signal.SIGKILL)
    check_one(one, sim, create.end())
    assert len([r for r in sim.requests("eu") if r["method"] == "POST" and "/batches" in r["target"]]) == 1


def test_a_worker_that_is_killed_while_it_copies_the_file(start, make_sim, sdk):
    """Nothing was created yet, wherever it was: the SDK's repeat does it all."""
    limits = {"eu": 600, "us": 0}
    sim = make_sim(sim_config([azure_account(a, deployments=[{
        "name": f"gpt-4o-batch-{a}", "model": "gpt-4o", "sku": "GlobalBatch", "enqueued_token_limit": n, "refusal": "fast"}])
        for a, n in limits.items()]))
    rows = [azure_deployment(sim, a, order=n + 1) for n, a in enumerate(limits)]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    gateway.deaths_expected = True
    gateway.file = gateway.uploaded(lines(count=20))["id"]
    sim.fault({"hang": "answer", "ms": 300}, account="us", method="POST", path="/openai/files*", times=1)
    create = Create(sdk, gateway, gateway.file, "AzureOpenAI")
    sim.wait("us", "POST", "/openai/files*", phase="received", timeout=PATIENCE * 3)
    for pid in worker_pids(gateway):
        os.kill(pid, signal.SIGKILL)
    check_one(gateway, sim, create.end())
    assert sim.created("batches", ["us"]) == 1
