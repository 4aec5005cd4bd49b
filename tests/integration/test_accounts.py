"""Several credentials at one address: at OpenAI each is a project of its own, at Azure all are keys of one resource."""

from harness import MASTER_KEY, PROVIDER_KEYS, azure_deployment, balanced_config, lines, sim_config

SECOND_KEY = "sk-second-project-5678"


def key_of(request):
    return request["headers"].get("authorization", "").removeprefix("Bearer ") or request["headers"].get("api-key")


def test_an_object_of_one_openai_project_is_never_looked_for_with_the_key_of_another(make_sim, start):
    own = make_sim(sim_config([{"name": "oai", "kind": "openai", "port": 0, "key": None,  # whoever comes
                                "models": ["gpt-4o-mini"]}]))
    rows = [{"model_name": "mini", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": own.base("oai") + "/v1", "api_key": key},
             "model_info": {"mode": "batch", "id": name}} for name, key in (("one", PROVIDER_KEYS["oai"]), ("two", SECOND_KEY))]
    gateway = start({"model_list": rows, "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
                     "general_settings": {"master_key": MASTER_KEY}}, sim=own)
    used = set()
    for _ in range(16):
        file = gateway.uploaded(lines("mini"))
        batch = gateway.created(file["id"])
        assert gateway.get("/v1/files/" + file["id"]).json()["id"] == file["id"]
        assert gateway.get("/v1/batches/" + batch["id"]).json()["input_file_id"] == file["id"]
        native = file["id"].rsplit("-t", 1)[0]
        made = [r for r in own.requests("oai") if r["method"] == "POST"][-2:]
        assert key_of(made[0]) == key_of(made[1])
        used.add(key_of(made[0]))
        asked = [r for r in own.requests("oai") if native in r["target"]]
        assert asked and {key_of(r) for r in asked} == {key_of(made[0])}
    assert used == {PROVIDER_KEYS["oai"], SECOND_KEY}


def test_two_keys_of_one_azure_resource_are_one_list(make_sim, start):
    own = make_sim(sim_config([{"name": "eu", "kind": "azure", "port": 0, "key": PROVIDER_KEYS["eu"], "tokens": [SECOND_KEY],
                                "deployments": [{"name": "one", "model": "gpt-4o", "sku": "GlobalBatch"},
                                                {"name": "two", "model": "gpt-4o", "sku": "GlobalBatch"}]}]))
    config = balanced_config(own, accounts=[])
    config["model_list"] = [azure_deployment(own, "eu", model="azure/one"),
                            azure_deployment(own, "eu", model="azure/two", api_key=None, azure_ad_token=SECOND_KEY)]
    gateway = start(config, sim=own)
    made = [gateway.created(gateway.uploaded()["id"])["id"] for _ in range(12)]
    listed = [b["id"] for b in gateway.get("/v1/batches?limit=50").json()["data"]]
    assert sorted(listed) == sorted(made)
    for batch_id in made:
        assert gateway.get("/v1/batches/" + batch_id).json()["id"] == batch_id
