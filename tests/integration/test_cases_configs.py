"""Configurations that people run LiteLLM with (cases/configs): what is served, what is left out and told, and whose key goes where."""

import pathlib
import subprocess

import pytest
from harness import PATIENCE, azure_account, envelope, find_binary, lines, program_env, sim_config

CASES = pathlib.Path(__file__).parent / "cases" / "configs"
QA = "sk-qa"
KEYS = {"eu": "key-eu", "us": "key-us", "oai": "sk-oai", "oai2": "sk-oai2"}


def deployments(*names):
    return [{"name": name, "model": "gpt-4o", "sku": "GlobalBatch"} for name in names]


@pytest.fixture
def world(make_sim):
    return make_sim(sim_config([
        azure_account("eu", key=KEYS["eu"], deployments=deployments(
            "prod-dep", "team-dep", "key-dep", "ok-dep", "m-dep", "z-dep", "gpt-4o", "a1")),
        azure_account("us", key=KEYS["us"], deployments=deployments("dev-dep", "sp-dep", "up-dep")),
        {"name": "oai", "kind": "openai", "port": 0, "key": KEYS["oai"], "models": ["gpt-4o", "gpt-4o-mini"]},
        {"name": "oai2", "kind": "openai", "port": 0, "key": KEYS["oai2"], "models": ["gpt-4o", "gpt-4o-mini"]}]))


def environment(world, **more):
    """What the cases take from the environment."""
    env = {"EU_BASE": world.base("eu"), "US_BASE": world.base("us"), "OAI_BASE": world.base("oai") + "/v1",
           "OAI2_BASE": world.base("oai2") + "/v1", "EU_KEY": KEYS["eu"], "US_KEY": KEYS["us"], "OAI_KEY": KEYS["oai"]}
    env.update(more)
    return {name: value for name, value in env.items() if value is not None}


def check(world, name, *args, **env):
    return subprocess.run([find_binary("tranche"), "check", "--config", str(CASES / name), *args],
                          env=program_env(environment(world, **env)), capture_output=True, text=True, timeout=PATIENCE,
                          stdin=subprocess.DEVNULL)


@pytest.fixture
def serve(world, start):
    def run(name, text=None, **env):
        gateway = start(text or (CASES / name).read_text(), sim=world, env=environment(world, **env))
        gateway.secrets = [k for k in KEYS.values() if len(k) > 8]
        return gateway
    return run


def asked(world):
    return {name for name in ("eu", "us", "oai", "oai2") if world.requests(name, probes=True, upkeep=True)}


def create(gateway, file):
    return gateway.post("/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}, key=QA)


def served(gateway, model, **kw):
    """A file of this model is taken and its batch is made."""
    answer = gateway.upload(lines(model), key=QA, **kw)
    assert answer.status == 200, answer
    made = create(gateway, answer.json())
    assert made.status == 200, made
    return answer.json()


def refused(gateway, model, text="not served here"):
    error = envelope(gateway.upload(lines(model), key=QA), 400)
    assert text in error["message"] and error["code"] == "model_not_found", error


# --- keys reach only whom they belong to ---


def test_a_bare_name_of_another_provider_sends_no_key_to_openai(world, serve):
    env = {"ANTHROPIC_KEY": "sk-ant-secret-1", "COHERE_KEY": "cohere-secret-2", "DEEPSEEK_KEY": "deepseek-secret-3",
           "OPENAI_API_KEY": KEYS["oai"]}
    gateway = serve("c03b-bare-claude.yaml", **env)
    for name in ("claude-3-5-sonnet-20240620", "deepseek-chat", "command-r-plus"):
        gateway.wait_line(rf'"{name}".*the row is ignored')
    served(gateway, "gpt-4o-mini")
    for name in ("sonnet", "coder", "command"):
        refused(gateway, name)
    world.wait("oai", "GET", "*/batches", count=1)  # the prober's round
    assert asked(world) == {"oai"}
    for request in world.requests("oai", probes=True, upkeep=True):
        assert "secret-" not in str(request["headers"]), request


def test_a_typo_for_a_bare_name_is_told_and_not_sent_to_openai(world, serve):
    gateway = serve(None, f"""
model_list:
  - model_name: a
    litellm_params: {{model: gtp-4o-mini, api_key: some-key-of-somebody}}
  - model_name: b
    litellm_params: {{model: openai/gpt-4o-mini, api_base: {world.base("oai")}/v1, api_key: {KEYS["oai"]}}}
litellm_settings: {{enable_loadbalancing_on_batch_endpoints: true}}
general_settings: {{master_key: {QA}}}
""")
    gateway.wait_line(r'"gtp-4o-mini", which is no name of OpenAI')
    refused(gateway, "a")
    served(gateway, "b")


def test_a_key_that_looks_like_another_providers_warns(world):
    told = check(world, "c03b-bare-claude.yaml", ANTHROPIC_KEY="x", OAI_KEY="sk-ant-api03-not-really")
    assert "looks like a key of Anthropic" in told.stdout, told.stdout
    assert "sk-ant-api03" not in told.stdout


def test_a_file_for_a_skipped_row_does_not_go_to_the_catch_all(world, serve):
    gateway = serve("c28-skipped-behind-star.yaml")
    refused(gateway, "claude", "configured, but not served here")
    for field in ({"model": "claude"}, {"target_model_names": "claude"}):
        envelope(gateway.upload(lines("gpt-4o"), fields=field, key=QA), 400, code="model_not_found")
    envelope(gateway.upload(lines("gpt-4o"), target="/v1/files?model=claude", key=QA), 400, code="model_not_found")
    envelope(gateway.get("/v1/batches?model=claude", key=QA), 400, code="model_not_found")
    envelope(gateway.get("/v1/files?target_model_names=claude", key=QA), 400, code="model_not_found")
    assert world.created("files") == 0
    file = served(gateway, "gpt-4o")
    envelope(gateway.post("/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
                                          "model": "claude"}, key=QA), 400, code="model_not_found")
    assert [m["id"] for m in gateway.get("/v1/models", key=QA).json()["data"]] == ["*"]


def test_a_pattern_of_a_skipped_row_is_not_the_catch_alls(world, serve):
    gateway = serve(None, (CASES / "c28-skipped-behind-star.yaml").read_text().replace("model_name: claude", 'model_name: "claude-*"'))
    refused(gateway, "claude-x", "configured, but not served here")
    served(gateway, "gpt-4o")


def test_rows_for_another_environment_are_not_there(world, serve):
    gateway = serve("c06-teams-tags-env.yaml", LITELLM_ENVIRONMENT="production")
    for _ in range(6):
        served(gateway, "gpt-4o-batch")
    assert (world.created("batches", ["eu"]), world.created("batches", ["us"])) == (6, 0)
    refused(gateway, "secret-team-model", "configured, but not served here")
    served(gateway, "gpt-4")  # model_group_alias
    served(gateway, "hidden")
    listed = [m["id"] for m in gateway.get("/v1/models", key=QA).json()["data"]]
    assert "gpt-4" in listed and "hidden" not in listed and "secret-team-model" not in listed, listed


def test_without_an_environment_rows_for_some_are_left_out_and_told(world):
    told = check(world, "c06-teams-tags-env.yaml")
    assert told.returncode == 1, told.stdout
    assert told.stdout.count("LITELLM_ENVIRONMENT does not say which one this is") == 2, told.stdout
    assert "it is for one team" in told.stdout or "no row can be served" in told.stdout


def test_settings_of_teams_and_tags_are_told(world):
    told = check(world, "c06-teams-tags-env.yaml", LITELLM_ENVIRONMENT="production")
    assert told.returncode == 0, told.stdout
    for text in ("it is for one team", "enable_tag_filtering: ignored", "default_team_settings"):
        assert text in told.stdout, told.stdout


@pytest.mark.parametrize("blocked, status", [("true", 400), ("false", 200)])
def test_a_blocked_row_is_not_served(world, serve, blocked, status):
    gateway = serve(None, f"""
model_list:
  - model_name: m
    litellm_params: {{model: azure/m-dep, api_base: {world.base("eu")}, api_key: {KEYS["eu"]}}}
    model_info: {{mode: batch, blocked: {blocked}}}
  - model_name: n
    litellm_params: {{model: azure/z-dep, api_base: {world.base("eu")}, api_key: {KEYS["eu"]}}}
litellm_settings: {{enable_loadbalancing_on_batch_endpoints: true}}
general_settings: {{master_key: {QA}}}
""")
    assert gateway.upload(lines("m"), key=QA).status == status


def test_module_level_credentials_come_before_the_environments(world, serve):
    gateway = serve("c27-module-credentials.yaml", OPENAI_API_KEY="sk-of-the-environment", OPENAI_BASE_URL=world.base("oai") + "/v1",
                    AZURE_API_KEY="azure-of-the-environment", AZURE_OPENAI_API_KEY="azure-of-the-environment-2")
    served(gateway, "g")
    served(gateway, "z")
    assert asked(world) == {"oai2", "eu"}
    assert {r["headers"].get("openai-organization") for r in world.requests("oai2")} == {"org-mod"}
    assert all("api-version=2025-03-01-preview" in r["target"] for r in world.requests("eu"))


def test_a_module_level_key_that_is_not_set_does_not_open_the_way_to_the_environments(world):
    case = (CASES / "c27-module-credentials.yaml").read_text().replace("sk-oai2", "os.environ/NOT_SET_HERE")
    told = subprocess.run([find_binary("tranche"), "check", "--config", "/dev/stdin"], input=case, capture_output=True, text=True,
                          env=program_env(environment(world, OPENAI_API_KEY="sk-env")), timeout=PATIENCE)
    assert told.returncode == 1 and "openai_key: the environment variable NOT_SET_HERE is not set" in told.stdout, told.stdout


def test_azure_openai_api_key_goes_before_azure_api_key(world, serve):
    gateway = serve("c16-env-both-keys.yaml", AZURE_API_KEY="the-other-key", AZURE_OPENAI_API_KEY=KEYS["eu"])
    served(gateway, "m")
    assert {r["headers"].get("api-key") for r in world.requests("eu", probes=True, upkeep=True)} == {KEYS["eu"]}


def test_rows_with_entra_fields_never_get_the_environments_key(world, serve):
    # Nobody hands out tokens here, so their rows are served by nobody.
    gateway = serve("c04-entra.yaml", AZURE_API_KEY="azure-key-of-another-resource", AZ_TENANT="t", AZ_CLIENT="c",
                    AZ_SECRET="secret-of-the-principal", AZ_USER="u", AZ_PASS="password-of-the-user",
                    AZ_SCOPE="https://cognitiveservices.azure.com/.default", AZURE_AUTHORITY_HOST="http://127.0.0.1:9")
    gateway.secrets += ["secret-of-the-principal", "password-of-the-user", "azure-key-of-another-resource"]
    gateway.wait_line(r"left out: .*model_list\[1\].litellm_params.azure_username: .*a user's name and password get no token")
    served(gateway, "key-batch")
    envelope(gateway.upload(lines("sp-batch"), key=QA), 503, code="upstream_auth_unavailable")
    refused(gateway, "up-batch")
    assert asked(world) == {"eu"}


# --- one bad row is no reason to serve none ---


def test_a_row_whose_variable_is_not_set_is_left_out_with_file_line_and_variable(world, serve):
    gateway = serve("c08-unset-elsewhere.yaml")
    gateway.wait_line(r"left out: .*:7: model_list\[1\]\.litellm_params\.api_key: the environment variable OTHER_KEY_UNSET is not set")
    served(gateway, "ok")
    refused(gateway, "other", "configured, but not served here")
    refused(gateway, "claude", "configured, but not served here")
    assert check(world, "c08-unset-elsewhere.yaml").returncode == 0
    strict = check(world, "c08-unset-elsewhere.yaml", "--strict")
    assert strict.returncode == 1 and "skipped: model_list[1]" in strict.stdout, strict.stdout


ROWS = {
    "an unknown credential": "{model: azure/m-dep, litellm_credential_name: nobody}",
    "oidc": "{model: azure/m-dep, api_base: https://x.openai.azure.com, azure_ad_token: oidc/azure/api://x}",
    "no key for a local server": "{model: hosted_vllm/x, api_base: http://127.0.0.1:9}",
    "a faulty api_version": "{model: azure/m-dep, api_base: https://x.openai.azure.com, api_key: k, api_version: yesterday}",
    "no key at all": "{model: azure/m-dep, api_base: https://x.openai.azure.com}",
    "no address": "{model: azure/m-dep, api_key: k}",
}


@pytest.mark.parametrize("fault", ROWS)
def test_one_row_that_cannot_be_used_does_not_stop_the_others(world, serve, fault):
    config = f"""
model_list:
  - model_name: bad
    litellm_params: {ROWS[fault]}
  - model_name: good
    litellm_params: {{model: azure/m-dep, api_base: {world.base("eu")}, api_key: {KEYS["eu"]}}}
litellm_settings: {{enable_loadbalancing_on_batch_endpoints: true}}
general_settings: {{master_key: {QA}}}
"""
    gateway = serve(None, config)
    gateway.wait_line(r"left out: .*model_list\[0\]")
    served(gateway, "good")
    refused(gateway, "bad")
    alone = subprocess.run([find_binary("tranche"), "check", "--config", "/dev/stdin"], capture_output=True, text=True,
                           input="\n".join(line for i, line in enumerate(config.split("\n")) if i not in (4, 5)),
                           env=program_env({}), timeout=PATIENCE)
    assert alone.returncode == 1 and "no row can be served" in alone.stdout, alone.stdout


def test_a_doubled_id_and_a_files_row_without_provider_are_left_out(world):
    case = f"""
model_list:
  - {{model_name: a, litellm_params: {{model: azure/m-dep, api_base: {world.base("eu")}, api_key: k}}, model_info: {{id: one}}}}
  - {{model_name: b, litellm_params: {{model: azure/z-dep, api_base: {world.base("eu")}, api_key: k}}, model_info: {{id: one}}}}
files_settings:
  - {{api_key: k, api_base: {world.base("eu")}}}
"""
    told = subprocess.run([find_binary("tranche"), "check", "--config", "/dev/stdin"], input=case, capture_output=True, text=True,
                          env=program_env({}), timeout=PATIENCE)
    assert told.returncode == 0, told.stdout
    assert "skipped: model_list[1].model_info.id: the id is taken" in told.stdout, told.stdout
    assert "skipped: files_settings[0].custom_llm_provider: missing" in told.stdout, told.stdout


def test_files_and_finetune_settings_with_rows_of_other_providers_are_served(world, serve):
    gateway = serve("c02-files-finetune.yaml", AZURE_TUNE_KEY="tune-key")
    gateway.wait_line(r"finetune_settings: ignored")
    assert gateway.upload(lines("gpt-4o"), target="/openai/v1/files", key=QA).status == 200
    assert gateway.upload(lines("gpt-4o"), target="/azure/v1/files", key=QA).status == 200
    assert (world.created("files", ["oai"]), world.created("files", ["eu"])) == (1, 1)


# --- names ---


def test_a_fallback_works_through_a_wildcard_row(world, serve):
    gateway = serve("c26-fallback-target-wild.yaml")
    world.fault({"status": 429}, account="oai", method="POST", path="*/files", times=50)
    file = gateway.upload(lines("gpt-4o"), key=QA)
    assert file.status == 200, file
    assert (world.created("files", ["oai"]), world.created("files", ["eu"])) == (0, 1)
    content = gateway.get(f"/v1/files/{file.json()['id']}/content", key=QA).body
    assert b'"model": "gpt-4o"' in content


def test_two_openai_keys_behind_one_name_load(world):
    told = check(world, "c32-two-openai-keys.yaml")
    assert told.returncode == 0 and "skipped" not in told.stdout, told.stdout
    assert told.stdout.count("  gpt-4o-mini\n") == 2, told.stdout


@pytest.mark.parametrize("how", ["form", "query", "header", "create"])
def test_an_unknown_model_does_not_go_to_the_default_account(world, serve, how):
    gateway = serve("files-balanced.yaml")
    if how == "create":
        file = served(gateway, "m-az")
        answer = gateway.post("/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                                              "completion_window": "24h", "model": "nobody"}, key=QA)
    elif how == "form":
        answer = gateway.upload(lines("m-az"), fields={"model": "nobody"}, key=QA)
    elif how == "query":
        answer = gateway.upload(lines("m-az"), target="/v1/files?model=nobody", key=QA)
    else:
        answer = gateway.upload(lines("m-az"), headers={"x-litellm-model": "nobody"}, key=QA)
    envelope(answer, 400, code="model_not_found", param="model")
    assert world.created("files") == (1 if how == "create" else 0)


def test_a_model_info_id_is_a_name(world, serve):
    gateway = serve(None, f"""
model_list:
  - {{model_name: g, litellm_params: {{model: azure/m-dep, api_base: {world.base("eu")}, api_key: {KEYS["eu"]}}}, model_info: {{id: row-eu, mode: batch}}}}
  - {{model_name: g, litellm_params: {{model: azure/dev-dep, api_base: {world.base("us")}, api_key: {KEYS["us"]}}}, model_info: {{id: row-us, mode: batch}}}}
litellm_settings: {{enable_loadbalancing_on_batch_endpoints: true}}
general_settings: {{master_key: {QA}}}
""")
    for _ in range(4):
        served(gateway, "row-us")
        served(gateway, "g", fields={"model": "row-us"})
    assert (world.created("files", ["us"]), world.created("files", ["eu"])) == (8, 0)


def test_a_path_hint_through_a_wildcard_is_no_part_of_the_name(world, serve):
    gateway = serve("c26-fallback-target-wild.yaml")
    file = served(gateway, "azure/o_series/gpt-4o")
    assert b'"model": "gpt-4o"' in gateway.get(f"/v1/files/{file['id']}/content", key=QA).body


@pytest.mark.parametrize("setting, headers, account", [
    (None, {"api-key": QA}, "eu"), (None, {"Authorization": "Bearer " + QA}, "oai"),
    ("azure", {"Authorization": "Bearer " + QA}, "eu"), ("openai", {"Authorization": "Bearer " + QA}, "oai")])
def test_openai_v1_of_an_azure_client_is_not_openais(world, serve, setting, headers, account):
    text = (CASES / "files-plain.yaml").read_text() + (f"tranche_settings: {{openai_path: {setting}}}\n" if setting else "")
    gateway = serve(None, text)
    if setting is None:
        gateway.wait_line(r"openai_path: missing, and both providers are served")
    answer = gateway.upload(lines("dep-az" if account == "eu" else "gpt-oai"), target="/openai/v1/files", headers=headers, key=None)
    assert answer.status == 200, answer
    assert world.created("files", [account]) == 1 == world.created("files")


def test_newer_settings_are_told_with_what_is_lost(world):
    told = check(world, "c31-newer-settings.yaml")
    assert "unknown key" not in told.stdout, told.stdout
