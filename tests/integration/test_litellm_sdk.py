"""LiteLLM's own SDK as a tenant: files and batches by its functions."""

import json
import os
import subprocess
import sys

import pytest
from harness import PATIENCE, ROOT, envelope, lines
from tenants import CHEAP, KEYS, tenants  # noqa: F401

SDK = ROOT / ".venv" / "litellm"

FLOW = """
import io, json, sys
import litellm
base, key, data = sys.argv[1], sys.argv[2], sys.stdin.buffer.read()
ask = dict(custom_llm_provider="openai", api_base=base, api_key=key, max_retries=0)
file = litellm.create_file(file=("in.jsonl", io.BytesIO(data)), purpose="batch", **ask)
batch = litellm.create_batch(completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id, **ask)
again = litellm.retrieve_batch(batch_id=batch.id, **ask)
content = litellm.file_content(file_id=file.id, **ask).content
print(json.dumps({"file": file.id, "batch": again.id, "input": again.input_file_id, "lines": content.count(b"\\n")}))
"""


@pytest.mark.skipif(not (SDK / "litellm").is_dir(), reason="without LiteLLM's package")
def test_the_whole_flow(tenants):  # noqa: F811
    gateway = tenants()
    done = subprocess.run([sys.executable, "-c", FLOW, f"http://127.0.0.1:{gateway.port}/v1", KEYS["a1"]], input=lines(CHEAP, count=3),
                          capture_output=True, timeout=PATIENCE * 5,
                          env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SDK), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": os.environ.get("HOME", "/")})
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["input"] == got["file"] and got["lines"] == 3
    assert gateway.as_("a2").get(f"/v1/batches/{got['batch']}").status == 200
    envelope(gateway.as_("b1").get(f"/v1/batches/{got['batch']}"), 404)
