"""The keys file of a running gateway: a bad one is refused as a whole, at the start and at SIGHUP, with its line, and without a key."""

import hashlib
import json
import signal
import subprocess

import pytest
from harness import MASTER_KEY, PATIENCE, balanced_config, find_binary, http_request, program_env, until
from test_keys_reload import write_in_place

KEY, NEW = "sk-alpha-3f7Kq9Zx1Lm5Tr8w", "sk-bravo-3f7Kq9Zx1Lm5Tr8w"
FAULTS = [("keys: [", r"keys\.yaml:2: not YAML"), ("keys:\n- {}\n", r"keys\.yaml:2: keys\[0\]: wanted either hash"),
          (f"keys:\n- {{key: {NEW}, models: ['*']}}\n- {{key: {NEW}, models: ['*']}}\n", r"keys\.yaml:3: keys\[1\]\.key: the same as in line 2"),
          (f"keys:\n- {{key: {NEW}, models: ['*'], max_budget: 5}}\n", r"keys\.yaml:2: keys\[0\]\.max_budget: budgets are counted by the journal"),
          (f"keys:\n- {{key: {NEW}, models: ['*'], expire: 2026-01-01}}\n", r"keys\.yaml:2: keys\[0\]\.expire: unknown key, did you mean")]


def entry(key, **more):
    return {"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(), "models": ["*"], **more}


def config_with(tmp_path, sim, text):
    (tmp_path / "keys.yaml").write_text(text)
    return balanced_config(sim, tranche_settings={"keys_file": str(tmp_path / "keys.yaml")})


def status(gateway, key):
    return http_request(gateway.port, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"}).status


@pytest.mark.parametrize("text, why", FAULTS, ids=["syntax", "empty", "twice", "budget", "misspelt"])
def test_a_bad_keys_file_is_refused_at_sighup_and_the_keys_before_stay(tmp_path, start, sim, text, why):
    gateway = start(config_with(tmp_path, sim, json.dumps({"keys": [entry(KEY)]})), sim=sim)
    assert status(gateway, KEY) == 200 and status(gateway, NEW) == 401
    write_in_place(tmp_path / "keys.yaml", text)
    before = len(gateway.lines)
    gateway.send(signal.SIGHUP)
    gateway.wait_line(why, start=before)
    gateway.wait_line("keeps serving", start=before)
    assert status(gateway, KEY) == 200 and status(gateway, NEW) == 401
    assert gateway.get("/health").json()["reload_failed"] is True
    assert NEW not in gateway.log and KEY not in gateway.log


def test_a_key_of_the_environment_is_known_too_when_the_file_is_read_anew(tmp_path, start, sim):
    """The process that reads a file that changed has to know the variables that it names."""
    named = {"key": "os.environ/TENANT_KEY", "models": ["*"]}
    gateway = start(config_with(tmp_path, sim, json.dumps({"keys": [named]})), sim=sim, env={"TENANT_KEY": KEY})
    assert status(gateway, KEY) == 200 and status(gateway, NEW) == 401
    write_in_place(tmp_path / "keys.yaml", json.dumps({"keys": [named, entry(NEW)]}))
    until(lambda: status(gateway, NEW) == 200, "the second key is known")
    assert status(gateway, KEY) == 200
    assert KEY not in gateway.log


def test_a_bad_keys_file_and_a_missing_one_are_refused_at_the_start(tmp_path, sim):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_with(tmp_path, sim, FAULTS[1][0])))
    how = {"capture_output": True, "text": True, "timeout": PATIENCE * 2, "check": False, "env": program_env({"LITELLM_MASTER_KEY": MASTER_KEY})}
    done = subprocess.run([find_binary("tranche"), "--port", "0", "--config", str(config)], **how)
    assert done.returncode == 1 and "keys.yaml:2: error: keys[0]: wanted either hash" in done.stderr, done.stderr
    (tmp_path / "keys.yaml").unlink()
    done = subprocess.run([find_binary("tranche"), "--port", "0", "--config", str(config)], **how)
    assert done.returncode == 1 and "keys.yaml: error: cannot read: No such file" in done.stderr, done.stderr


def test_keys_without_a_master_key_are_refused_at_the_start(tmp_path, sim):
    config = tmp_path / "config.json"
    settings = config_with(tmp_path, sim, json.dumps({"keys": [entry(KEY)]}))
    settings.pop("general_settings", None)
    config.write_text(json.dumps(settings))
    done = subprocess.run([find_binary("tranche"), "--port", "0", "--config", str(config)], capture_output=True, text=True, timeout=PATIENCE * 2,
                          check=False, env=program_env({}))
    assert done.returncode == 1 and "keys of tenants need general_settings.master_key" in done.stderr, done.stderr
