"""The page "Keys and tenants": what it tells an operator to type does what it says."""

import json
import os
import pathlib
import re
import subprocess

from harness import MASTER_KEY, PATIENCE, balanced_config, find_binary, http_request, program_env, until

PAGE = pathlib.Path(__file__).parents[2] / "server" / "tenants" / "README.md"


def commands():
    """The shell blocks of the first section."""
    section = PAGE.read_text().split("\n## ")[1]
    assert section.startswith("1. Step by step")
    return re.findall(r"```sh\n(.*?)```", section, re.S)


def run(script, directory, **more):
    env = program_env({"OPENAI_API_KEY": "sk-proj-0123456789abcdefghij", "LITELLM_MASTER_KEY": MASTER_KEY, **more})
    env["PATH"] = os.path.dirname(find_binary("tranche")) + ":" + os.environ["PATH"]
    return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=directory, env=env, capture_output=True, text=True,
                          timeout=PATIENCE * 2, check=True).stdout


def test_the_steps_of_the_page_make_a_key_that_works_and_lock_it_out(tmp_path, start, sim):
    make, edit, name, block = commands()
    config = tmp_path / "config.yaml"
    config.write_text("".join(f"{section}: {json.dumps(value)}\n" for section, value in balanced_config(sim).items()
                              if section != "tranche_settings"))
    key = run(make + '\necho "$key"', tmp_path).strip()
    entry = (tmp_path / "keys.yaml").read_text()
    assert key not in entry and f"sk-...{key[-4:]}" in entry
    shape = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)[1]
    masked = [re.sub(r"[0-9a-f]{64}|[0-9a-f]{8}|(?<=\.\.\.)[0-9a-f]{4}", "x", text) for text in (shape, entry)]
    assert masked[0] == masked[1]

    told = run(edit + name, tmp_path)
    assert re.search(r"keys of keys_file +1 key in 1 team\n", told), told
    gateway = start(sim=sim, args=["--config", str(config)], env={"LITELLM_MASTER_KEY": MASTER_KEY})

    def ask():
        return http_request(gateway.port, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})

    assert [m["id"] for m in ask().json()["data"]] == ["gpt-4o-batch"]
    assert http_request(gateway.port, "GET", "/health", headers={"Authorization": f"Bearer {key}"}).status == 403
    told = run(block, tmp_path, gateway=str(gateway.pid))
    assert re.search(r"1 key in 1 team, 1 blocked\n", told), told
    refused = until(lambda: answer if (answer := ask()).status == 401 else None, "the key is refused")
    assert "Key is blocked" in refused.json()["error"]["message"]
    assert key not in gateway.log
