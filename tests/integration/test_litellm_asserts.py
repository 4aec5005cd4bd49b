"""What LiteLLM's tests of its batch endpoints assert holds here, by the current Python SDK and by version 1."""

import json
import pathlib
import subprocess
import sys

import pytest
from harness import DEPLOYMENTS, GROUP, MASTER_KEY, PATIENCE, ROOT, lines, program_env

SDKS = {"current": {}, "version 1": {"PYTHONPATH": str(ROOT / ".venv" / "openai-1")}}


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("way, which, model", [("plain", "gateway", GROUP), ("targets", "gateway", GROUP), ("openai", "direct", "gpt-4o-mini"),
                                               ("azure", "direct", DEPLOYMENTS["eu"])])
def test_what_litellms_own_tests_assert_holds(request, sim, tmp_path, way, which, model, sdk):
    gateway = request.getfixturevalue(which)
    path = tmp_path / "requests.jsonl"
    path.write_bytes(lines(model))
    script = pathlib.Path(__file__).with_name("litellm_asserts.py")
    done = subprocess.run([sys.executable, str(script), gateway.url, MASTER_KEY, f"http://127.0.0.1:{sim.control_port}", str(path), way],
                          env=program_env(SDKS[sdk]), capture_output=True, text=True, timeout=PATIENCE * 3, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["version"].startswith("1.") == (sdk == "version 1") and seen["held"] > 40
