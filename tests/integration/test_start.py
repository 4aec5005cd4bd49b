"""How the program starts: from the environment alone, from a file, and what it says when something is missing."""

import json
import subprocess

import pytest
from harness import (DEPLOYMENTS, MASTER_KEY, PATIENCE, PROVIDER_KEYS, balanced_config, direct_config, envelope, find_binary,
                     lines, program_env)


def run(*args, env=None, timeout=PATIENCE):
    return subprocess.run([find_binary("tranche"), *args], env=program_env(env), capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL)


def whole_flow(gateway, sim, model, account, key=None):
    file = gateway.upload(lines(model), key=key)
    assert file.status == 200, file
    assert file.json()["id"].split("-t")[0] in [f["id"] for f in sim.ledger(account)["files"]]


AZURE = {"AZURE_API_KEY": PROVIDER_KEYS["eu"], "AZURE_API_VERSION": "2024-10-21"}


def test_openai_from_the_environment_alone(start, sim):
    gateway = start(env={"OPENAI_API_KEY": PROVIDER_KEYS["oai"], "OPENAI_BASE_URL": sim.base("oai") + "/v1"}, sim=sim)
    whole_flow(gateway, sim, "gpt-4o-mini", "oai")


@pytest.mark.parametrize("name", ["AZURE_API_KEY", "AZURE_OPENAI_API_KEY"])
def test_azure_from_the_environment_alone(start, sim, name):
    env = {name: PROVIDER_KEYS["eu"], "AZURE_API_BASE": sim.base("eu"), "AZURE_API_VERSION": "2024-10-21"}
    whole_flow(start(env=env, sim=sim), sim, DEPLOYMENTS["eu"], "eu")
    assert all("api-version=2024-10-21" in r["target"] for r in sim.requests("eu"))


def test_azure_from_the_environment_without_a_version_works(start, sim):
    env = {"AZURE_API_KEY": PROVIDER_KEYS["eu"], "AZURE_API_BASE": sim.base("eu")}
    whole_flow(start(env=env, sim=sim), sim, DEPLOYMENTS["eu"], "eu")


def test_both_providers_from_the_environment_are_reached_by_name(start, sim):
    env = {**AZURE, "AZURE_API_BASE": sim.base("eu"), "OPENAI_API_KEY": PROVIDER_KEYS["oai"],
           "OPENAI_BASE_URL": sim.base("oai") + "/v1", "LITELLM_MASTER_KEY": MASTER_KEY}
    gateway = start(env=env, sim=sim)
    assert gateway.get("/v1/batches", key=None).status == 401
    gateway.uploaded(lines("gpt-4o-mini"))
    gateway.uploaded(lines(DEPLOYMENTS["eu"]), target="/azure/v1/files")
    assert (sim.ledger("oai")["creates"]["files"], sim.ledger("eu")["creates"]["files"]) == (1, 1)


def test_an_entra_token_from_the_environment_goes_out_as_a_bearer(start, sim):
    env = {"AZURE_AD_TOKEN": "token-of-the-test", "AZURE_API_BASE": sim.base("eu"), "AZURE_API_VERSION": "2024-10-21"}
    gateway = start(env=env, sim=sim)
    gateway.secrets.append("token-of-the-test")
    envelope(gateway.upload(lines(DEPLOYMENTS["eu"])), 502)
    uploads = [r for r in sim.requests("eu") if r["method"] == "POST"]
    assert uploads[0]["headers"]["authorization"] == "Bearer token-of-the-test"


def test_the_port_and_the_workers_may_come_from_the_environment(start, sim):
    env = {"OPENAI_API_KEY": PROVIDER_KEYS["oai"], "OPENAI_BASE_URL": sim.base("oai") + "/v1", "PORT": "0", "NUM_WORKERS": "1",
           "HOST": "127.0.0.1"}
    gateway = start(env=env, host_port=False, sim=sim)
    assert gateway.get("/health/liveliness").status == 200


def test_without_any_credential_the_missing_variables_are_named():
    done = run("--host", "127.0.0.1", "--port", "0")
    assert done.returncode > 0
    assert "OPENAI_API_KEY" in done.stderr and "AZURE_API_KEY" in done.stderr


def test_azure_without_a_base_names_the_variable():
    done = run("--host", "127.0.0.1", "--port", "0", env={"AZURE_API_KEY": "k"})
    assert done.returncode != 0 and "AZURE_API_BASE" in done.stderr


def test_a_provider_without_credentials_is_a_clear_error_of_the_request(start, sim):
    gateway = start(env={"OPENAI_API_KEY": PROVIDER_KEYS["oai"], "OPENAI_BASE_URL": sim.base("oai") + "/v1"}, sim=sim)
    answer = gateway.get("/azure/v1/batches")
    assert 400 <= answer.status < 500, answer
    assert "AZURE_API_KEY" in envelope(answer)["message"]


def test_an_unset_variable_of_the_only_row_is_named_and_stops_the_start(tmp_path, sim):
    config = balanced_config(sim, accounts=["eu"])
    config["model_list"][0]["litellm_params"]["api_key"] = "os.environ/AZURE_API_KEY_OF_NOBODY"
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config, indent=1))
    for done in (run("check", "--config", str(path)), run("--config", str(path), "--port", "0")):
        assert done.returncode != 0
        assert "AZURE_API_KEY_OF_NOBODY" in done.stdout + done.stderr


def test_variables_of_the_file_and_the_environment_are_resolved(start, sim):
    config = balanced_config(sim, accounts=["eu"])
    config["environment_variables"] = {"BASE_OF_EU": sim.base("eu")}
    config["model_list"][0]["litellm_params"].update(api_base="os.environ/BASE_OF_EU", api_key="os.environ/KEY_OF_EU")
    gateway = start(config, env={"KEY_OF_EU": PROVIDER_KEYS["eu"]}, sim=sim)
    assert gateway.uploaded()


def test_included_files_are_read(start, sim, tmp_path):
    (tmp_path / "models.yaml").write_text(json.dumps({"model_list": balanced_config(sim)["model_list"]}))
    config = {k: v for k, v in balanced_config(sim).items() if k != "model_list"}
    gateway = start({"include": ["models.yaml"], **config}, sim=sim)
    assert gateway.uploaded()


def test_the_address_0_0_0_0_is_this_machine(start, sim):
    """LiteLLM's documentation writes http://0.0.0.0:PORT for servers beside the gateway."""
    base = sim.base("oai").replace("127.0.0.1", "0.0.0.0")
    env = {"OPENAI_API_KEY": PROVIDER_KEYS["oai"], "OPENAI_BASE_URL": f"{base}/v1"}
    assert start(sim=sim, env=env).uploaded(lines("gpt-4o-mini"), key=None)


def test_an_http_base_beyond_the_loopback_is_refused_unless_allowed(tmp_path, sim):
    config = balanced_config(sim)
    config["model_list"][0]["litellm_params"]["api_base"] = "http://example.com"
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config, indent=1))
    done = run("check", "--config", str(path))
    assert done.returncode != 0 and "allow_insecure_upstream" in done.stdout + done.stderr
    config["tranche_settings"] = {"allow_insecure_upstream": True}
    path.write_text(json.dumps(config, indent=1))
    assert run("check", "--config", str(path)).returncode == 0


CONFIG = """\
model_list:
  - model_name: gpt-4o-batch
    litellm_params:
      model: azure/gpt-4o-batch-eu
      api_base: https://eu.example.openai.azure.com/
      api_key: os.environ/KEY_EU
      api_version: "2024-10-21"
      wieght: 3
    model_info:
      mode: batch
  - model_name: gpt-4o-batch
    litellm_params:
      model: azure/gpt-4o-batch-us
      api_base: https://us.example.services.ai.azure.com/openai/v1/
      api_key: os.environ/KEY_US
      rpm: 600
litellm_settings:
  enable_loadbalancing_on_batch_endpoints: true
  success_callback: ["langfuse"]
general_settings:
  master_key: sk-master-1234
"""
KEYS = {"KEY_EU": "azure-key-of-eu", "KEY_US": "azure-key-of-us"}


def test_check_prints_what_is_used_what_is_not_and_where_calls_go(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    done = run("check", "--config", str(path), env=KEYS)
    out = done.stdout + done.stderr
    assert done.returncode == 0, out
    assert "config.yaml:8" in out and "weight" in out and "wieght" in out
    assert "success_callback" in out
    assert "https://eu.example.openai.azure.com/openai/" in out and "api-version=2024-10-21" in out
    assert "https://us.example.services.ai.azure.com/openai/v1/" in out
    for secret in (*KEYS.values(), MASTER_KEY):
        assert secret not in out


@pytest.mark.parametrize("old, new, wanted", [
    ("rpm: 600", "rpm: 600.5", ["config.yaml:16", "rpm", "600.5"]),
    ("rpm: 600", "rpm: [1]", ["config.yaml:16", "rpm"]),
    ("  - model_name: gpt-4o-batch\n    litellm_params:\n      model: azure/gpt-4o-batch-eu", "  - litellm_params:\n      model: azure/gpt-4o-batch-eu",
     ["config.yaml:2", "model_name"]),
    ("model_list:\n", "model_list: [\n", ["config.yaml:"]),
    ("enable_loadbalancing_on_batch_endpoints: true", "enable_loadbalancing_on_batch_endpoints: maybe",
     ["config.yaml:18", "enable_loadbalancing_on_batch_endpoints", "maybe"]),
    ("api_base: https://eu.example.openai.azure.com/", "api_base: 'ftp://eu.example'", ["config.yaml:5", "api_base"]),
], ids=["fraction", "list", "no_name", "syntax", "boolean", "scheme"])
def test_check_fails_with_file_line_field_got_and_wanted(tmp_path, old, new, wanted):
    path = tmp_path / "config.yaml"
    assert old in CONFIG
    path.write_text(CONFIG.replace(old, new))
    done = run("check", "--config", str(path), env=KEYS)
    out = done.stdout + done.stderr
    assert done.returncode not in (0, 99) and done.returncode > 0, out
    for text in wanted:
        assert text in out, out


def test_rows_of_other_providers_are_warned_about_and_left_out(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("azure/gpt-4o-batch-us", "bedrock/claude"))
    done = run("check", "--config", str(path), env=KEYS)
    assert done.returncode == 0 and "config.yaml:13" in done.stdout and "bedrock/claude" in done.stdout, done.stdout


def test_check_of_a_file_that_is_not_there_fails(tmp_path):
    done = run("check", "--config", str(tmp_path / "nowhere.yaml"))
    assert done.returncode > 0 and "nowhere.yaml" in done.stdout + done.stderr


@pytest.mark.parametrize("args", [["--no-such-flag"], ["--port"], ["--port", "70000"], ["--port", "x"], ["--num_workers", "0x"],
                                  ["no-such-command"]])
def test_a_wrong_command_line_is_told(args):
    done = run(*args, env={"OPENAI_API_KEY": "k"})
    assert done.returncode > 0 and done.stderr


def test_help_and_version_are_printed():
    assert "--config" in run("--help").stdout
    assert run("--version").stdout.strip()


def test_a_proxy_in_the_environment_is_not_used(start, sim):
    env = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
    gateway = start(balanced_config(sim), env=env, sim=sim)
    assert gateway.uploaded()
