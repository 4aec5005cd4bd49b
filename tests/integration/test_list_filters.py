"""Which accounts a list covers: `model`, `target_model_names`, `provider`, and cursors that do not belong to it."""

import pytest
from harness import GROUP, azure_deployment, balanced_config, direct_config, envelope
from list_world import Provider, native


@pytest.fixture
def groups(start, sim):
    """`one` is served by eu and us, `two` by us and sw, `mini` by OpenAI; a batch on each account."""
    config = balanced_config(sim, accounts=[])
    config["model_list"] = [azure_deployment(sim, "eu", "one"), azure_deployment(sim, "us", "one"), azure_deployment(sim, "us", "two"),
                            azure_deployment(sim, "sw", "two"),
                            {"model_name": "mini", "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": sim.base("oai") + "/v1",
                                                                      "api_key": Provider(sim, "oai").auth["Authorization"][7:]}}]
    gateway = start(config, sim=sim)
    gateway.made = {name: Provider(sim, name).new_batch()["id"] for name in ("eu", "us", "sw", "oai")}
    return gateway


def covered(gateway, target, headers=None):
    answer = gateway.get(target, headers=headers or {})
    assert answer.status == 200, answer
    ids = {native(b["id"]) for b in answer.json()["data"]}
    return {name for name, made in gateway.made.items() if made in ids}


@pytest.mark.parametrize("query,accounts", [
    ("", {"eu", "us", "sw", "oai"}),
    ("model=one", {"eu", "us"}),
    ("model=two", {"us", "sw"}),
    ("target_model_names=two", {"us", "sw"}),
    ("target_model_names=one,mini", {"eu", "us", "oai"}),
    ("target_model_names=one,%20two%20,", {"eu", "us", "sw"}),
    ("target_model_names=one&target_model_names=mini", {"eu", "us", "oai"}),
    ("target_model_names[]=two&target_model_names%5B%5D=mini", {"us", "sw", "oai"}),
    ("model=mini&target_model_names=two", {"us", "sw", "oai"}),
    ("target_model_names=", {"eu", "us", "sw", "oai"}),
    ("provider=azure", {"eu", "us", "sw"}),
    ("custom_llm_provider=openai", {"oai"}),
    ("provider=azure&target_model_names=one,mini", {"eu", "us"}),
])
def test_a_list_covers_the_accounts_of_the_groups_asked_for(groups, query, accounts):
    assert covered(groups, "/v1/batches?" + query) == accounts


def test_the_header_x_litellm_model_filters_too(groups):
    assert covered(groups, "/v1/batches", {"x-litellm-model": "two"}) == {"us", "sw"}
    assert covered(groups, "/v1/batches?model=one", {"x-litellm-model": "two"}) == {"eu", "us"}


@pytest.mark.parametrize("query,param", [("model=nope", "model"), ("target_model_names=one,nope", "target_model_names"),
                                         ("target_model_names=one&target_model_names=nope", "target_model_names")])
@pytest.mark.parametrize("what", ["files", "batches"])
def test_an_unknown_model_is_an_error_that_names_the_known_ones_and_no_list_of_everything(groups, sim, what, query, param):
    error = envelope(groups.get(f"/v1/{what}?{query}"), 400, code="model_not_found", param=param)
    assert "'nope'" in error["message"] and "'one', 'two', 'mini'" in error["message"]
    assert not [r for name in ("eu", "us", "sw", "oai") for r in sim.requests(name) if r["method"] == "GET"]


@pytest.mark.parametrize("query", ["target_model_names=%zz", "target_model_names=" + "x" * 5000])
def test_names_that_cannot_be_read_are_not_taken_for_none(groups, query):
    envelope(groups.get("/v1/batches?" + query), 400, param="target_model_names")


def test_a_model_that_the_provider_asked_for_does_not_serve_is_an_error(groups):
    envelope(groups.get("/v1/batches?provider=openai&model=one"), 400)


def test_without_a_model_list_a_model_filters_nothing(start, sim):
    gateway = start(direct_config(sim), sim=sim)
    made = Provider(sim, "oai").new_batch()["id"]
    assert [b["id"] for b in gateway.get("/v1/batches?provider=openai&model=gpt-4o").json()["data"]] == [made]


def test_a_cursor_of_an_account_that_the_list_does_not_cover_is_a_404_without_a_call(groups, sim):
    listed = {native(b["id"]): b["id"] for b in groups.get("/v1/batches").json()["data"]}
    asked = {name: len(sim.requests(name)) for name in sim.ports}
    for target in ("/v1/batches?provider=openai", "/v1/batches?model=two", "/v1/batches?model=mini&limit=1"):
        envelope(groups.get(f"{target}&after={listed[groups.made['eu']]}"), 404)
    assert {name: len(sim.requests(name)) for name in sim.ports} == asked


def test_a_cursor_of_one_filter_is_good_for_another(groups):
    whole = groups.get("/v1/batches").json()["data"]
    first = groups.get("/v1/batches?model=two&limit=1").json()
    rest = groups.get(f"/v1/batches?after={first['last_id']}").json()["data"]
    ids = [b["id"] for b in whole]
    assert [b["id"] for b in rest] == ids[ids.index(first["last_id"]) + 1:]
