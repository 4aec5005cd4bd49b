"""The official Node SDK, unchanged, against the gateway: OpenAI and AzureOpenAI, buffered and streamed uploads."""

import json
import pathlib
import subprocess

import pytest
from harness import DEPLOYMENTS, MASTER_KEY, PATIENCE, lines, program_env

NODE = pathlib.Path(__file__).parent / "node"


def run(script, *args):
    done = subprocess.run(["node", script, *args], cwd=NODE, env=program_env(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE * 5)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("how", ["buffer", "stream-file-first", "stream-purpose-first"])
@pytest.mark.parametrize("kind", ["OpenAI", "AzureOpenAI"])
def test_the_whole_flow(gateway, sim, tmp_path, kind, how):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(lines())
    check_flow(run("flow.mjs", kind, gateway.url, MASTER_KEY, f"http://127.0.0.1:{sim.control_port}", how, str(path)))


def test_a_client_with_a_deployment_creates_batches_under_its_path(gateway, sim, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(lines())
    check_flow(run("flow.mjs", "AzureOpenAI", gateway.url, MASTER_KEY, f"http://127.0.0.1:{sim.control_port}", "buffer",
                   str(path), "gpt-4o-batch"))


def check_flow(seen):
    file, batch = seen["file"], seen["batch"]
    assert file["object"] == "file" and file["filename"] == "requests.jsonl" and file["bytes"] == len(seen["content"])
    assert seen["retrieved"]["id"] == file["id"] and seen["processed"]["status"] == "processed"
    assert file["id"] in seen["files"]
    models = {json.loads(line)["body"]["model"] for line in seen["content"].splitlines()}
    assert len(models) == 1 and models <= set(DEPLOYMENTS.values())
    assert batch["status"] == "validating" and batch["input_file_id"] == file["id"]
    assert batch["metadata"] == {"team": "search"}
    assert sorted(seen["listed"]) == sorted(seen["created"])
    assert seen["cancelled"]["status"] == "cancelling"
    assert seen["done"]["status"] == "completed", seen["done"]
    assert sorted(json.loads(line)["custom_id"] for line in seen["output"].splitlines()) == \
        ["request-1", "request-2", "request-3"]
    assert seen["notFound"] == {"kind": "NotFoundError", "status": 404, "param": seen["notFound"]["param"], "requestID": True}
    assert seen["unauthorized"]["kind"] == "AuthenticationError"
    assert (seen["broken"]["kind"], seen["broken"]["param"]) == ("BadRequestError", "file")
    assert seen["deleted"] == {"id": file["id"], "object": "file", "deleted": True}
