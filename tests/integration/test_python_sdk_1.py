"""Version 1 of the official Python SDK. Its AzureOpenAI sends the key twice: as `api-key` and as a bearer."""

import json
import pathlib
import subprocess
import sys

import pytest
from harness import MASTER_KEY, PATIENCE, ROOT, lines, program_env

OLD = ROOT / ".venv" / "openai-1"


@pytest.mark.parametrize("kind", ["OpenAI", "AzureOpenAI"])
def test_the_whole_flow(gateway, sim, tmp_path, kind):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(lines())
    script = pathlib.Path(__file__).with_name("openai_1_flow.py")
    done = subprocess.run([sys.executable, str(script), kind, gateway.url, MASTER_KEY, f"http://127.0.0.1:{sim.control_port}",
                           str(path)], env=program_env({"PYTHONPATH": str(OLD)}), capture_output=True, text=True,
                          timeout=PATIENCE * 3, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["version"].startswith("1.")
    assert sorted(seen["listed"]) == sorted(seen["created"])
    assert (seen["cancelled"], seen["done"], seen["metadata"]) == ("cancelling", "completed", {"team": "search"})
    assert sorted(json.loads(line)["custom_id"] for line in seen["output"].splitlines()) == \
        ["request-1", "request-2", "request-3"]
    assert seen["errors"] == ["NotFoundError", "AuthenticationError"] and seen["deleted"] is True
