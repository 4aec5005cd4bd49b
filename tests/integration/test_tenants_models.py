"""Which models a tenant may use: every way to name one, at uploads, creates, validations; aliases; fallbacks; provider pins."""

import json
import re
import socket

import pytest
from harness import (GROUP, PATIENCE, PROVIDER_KEYS, azure_deployment, direct_config, envelope, lines, multipart, sim_config)
from tenants import CHEAP, DEAR, KEYS, tenant_config, tenant_settings, tenants  # noqa: F401
from test_moving import limited

KEY = ("key_model_access_denied", "narrow")
TEAM = ("team_model_access_denied", "of_t")


@pytest.fixture
def gateway(tenants):  # noqa: F811
    return tenants()


def denied(answer, model, kind="key_model_access_denied"):
    """A28 to the letter, and nothing else in it."""
    message = (f"The requested model '{model}' is not available for this API key, or the model name is invalid. "
               "Check the models available to you and try again.")
    assert answer.status == 403, answer
    assert answer.json() == {"error": {"message": message, "type": kind, "param": "model", "code": "403"}}


def denied_in_file(answer, model, kind="key_model_access_denied"):
    """A29, in the envelope and with the line."""
    message = (f"Batch input file references a model the caller is not authorized to use: model={model}, reason={kind}, line=1")
    assert answer.status == 403, answer
    assert answer.json() == {"error": {"message": message, "type": kind, "param": "file", "code": "403"}}


# --- uploads ---


@pytest.mark.parametrize("kind, name", [KEY, TEAM])
def test_every_model_of_a_files_lines_is_checked(gateway, sim, kind, name):
    who = gateway.as_(name)
    assert who.upload(lines(CHEAP)).status == 200
    denied_in_file(who.upload(lines(DEAR)), DEAR, kind)
    denied_in_file(who.upload(lines(DEAR), file_first=True), DEAR, kind)
    denied_in_file(who.upload(lines("no-such-model")), "no-such-model", kind)
    mixed = lines(CHEAP, 2) + lines(DEAR, 1).replace(b"request-1", b"request-9")
    envelope(who.upload(mixed), 400, code="model_mismatch")  # no batch has two models anywhere
    assert sim.created("files") == 1


@pytest.mark.parametrize("kind, name", [KEY, TEAM])
def test_every_hint_of_a_request_is_checked(gateway, sim, kind, name):
    who = gateway.as_(name)
    for model in (DEAR, "none"):
        denied(who.upload(lines(CHEAP), f"/v1/files?model={model}"), model, kind)
        denied(who.upload(lines(CHEAP), headers={"x-litellm-model": model}), model, kind)
        denied(who.upload(lines(CHEAP), fields={"model": model}), model, kind)
        denied(who.upload(lines(CHEAP), fields={"target_model_names": f"{CHEAP}, {model}"}), model, kind)
        denied(who.create("file-x", model=model), model, kind)
        denied(who.create("file-x", f"/v1/batches?model={model}"), model, kind)
    denied(who.upload(lines(CHEAP), f"/openai/deployments/{DEAR}/files?api-version=2024-10-21"), DEAR, kind)
    assert sim.requests() == []
    assert who.upload(lines(CHEAP), fields={"model": CHEAP}).status == 200


def test_the_id_of_a_row_opens_no_model(gateway, sim):
    rows = gateway.as_("master").get("/model/info").json()["data"]
    row = next(r["model_info"]["id"] for r in rows if r["model_name"] == DEAR)
    denied(gateway.as_("narrow").upload(lines(CHEAP), fields={"model": row}), row)
    denied_in_file(gateway.as_("narrow").upload(lines(row)), row)
    assert sim.requests() == []


def test_a_file_of_a_forbidden_model_is_refused_before_it_was_sent_whole(gateway):
    """The first line tells: nobody sends 200 MB for a refusal."""
    head, _ = multipart([("purpose", "batch"), ("file", None)], lines(DEAR), boundary="b")
    head = head[:head.rindex(b"\r\n--b--")]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as s:
        s.sendall(f"POST /v1/files HTTP/1.1\r\nHost: x\r\napi-key: {KEYS['narrow']}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                  f"Content-Length: {100 << 20}\r\n\r\n".encode() + head)
        assert s.recv(64).startswith(b"HTTP/1.1 403")


def test_who_may_use_some_models_stores_files_for_batches_alone(gateway, sim):
    """The lines of other files are looked at by nobody."""
    for where in (False, True):
        answer = gateway.as_("narrow").upload(lines(DEAR), fields={"purpose": "user_data"}, file_first=where)
        envelope(answer, 403, type="key_model_access_denied", param="purpose", code="403")
    assert sim.requests() == []
    gateway.as_("a1").upload(lines(DEAR), fields={"purpose": "user_data"})
    assert len(sim.requests()) == 1  # the provider's to take or refuse


def test_a_file_whose_lines_name_no_model_is_refused_to_who_may_use_some(gateway, sim):
    line = {"custom_id": "r", "method": "POST", "url": "/v1/moderations", "body": {"input": "x"}}
    data = (json.dumps(line) + "\n").encode()
    envelope(gateway.as_("narrow").upload(data), 403, type="key_model_access_denied", param="file")
    assert sim.requests() == []


def test_a_validation_tells_what_an_upload_would(gateway, sim):
    verdict = gateway.as_("narrow").upload(lines(DEAR), "/v1/files/validate").json()
    assert verdict["valid"] is False and "not authorized to use: model=dear" in verdict["errors"][-1]["message"]
    assert CHEAP not in json.dumps(verdict)
    assert gateway.as_("narrow").upload(lines(CHEAP), "/v1/files/validate").json()["valid"] is True
    assert gateway.as_("narrow").upload(lines("fast"), "/v1/files/validate").json()["valid"] is True
    assert sim.requests() == []


def test_tenants_hear_no_names_of_other_models(gateway):
    for name in ("narrow", "a1"):
        for answer in (gateway.as_(name).upload(lines("none")), gateway.as_(name).upload(lines(CHEAP), "/v1/files?model=none")):
            assert answer.status in (400, 403)
            assert DEAR not in answer.body.decode() and GROUP not in answer.body.decode()
    assert DEAR in gateway.as_("master").upload(lines("none")).body.decode()


# --- aliases ---


def test_an_alias_is_a_group_in_lines_and_hints(gateway, sim):
    who = gateway.as_("narrow")
    file = who.uploaded(lines("fast"))
    assert who.created(file["id"])["status"] == "validating"
    content = who.get(f"/v1/files/{file['id']}/content").body
    assert b'"gpt-4o-batch-eu"' in content and b'"fast"' not in content
    assert who.upload(lines(CHEAP), fields={"model": "fast"}).status == 200
    assert who.upload(lines(CHEAP), fields={"target_model_names": "fast"}).status == 200
    assert [r for r in sim.requests("us")] == []
    other = gateway.as_("b1").upload(lines("fast"))  # nobody else's
    envelope(other, 400, code="model_not_found")


def test_an_alias_cannot_give_what_the_models_do_not(tenants, sim):  # noqa: F811
    gateway = tenants({"narrow": {"aliases": {"fast": DEAR}}})
    denied_in_file(gateway.as_("narrow").upload(lines("fast")), DEAR)
    denied(gateway.as_("narrow").upload(lines(CHEAP), fields={"model": "fast"}), DEAR)
    assert sim.requests() == []


# --- creates ---


def test_a_narrower_key_of_the_team_makes_no_batch_of_a_mates_file(gateway, sim):
    dear, cheap = gateway.as_("a1").uploaded(lines(DEAR)), gateway.as_("a1").uploaded(lines(CHEAP))
    denied_in_file(gateway.as_("a_narrow").create(dear["id"]), DEAR)
    assert gateway.as_("a_narrow").create(cheap["id"]).status == 200
    assert gateway.as_("a2").create(dear["id"]).status == 200
    assert sim.created("batches") == 2


def test_after_a_restart_the_file_itself_tells_its_model(tenants, sim):  # noqa: F811
    config = tenant_config(sim)
    gateway = tenants(config=config)
    dear, cheap = gateway.as_("a1").uploaded(lines(DEAR)), gateway.as_("a1").uploaded(lines(CHEAP))
    gateway.stop()
    gateway = tenants(config=config)
    denied_in_file(gateway.as_("a_narrow").create(dear["id"]), DEAR)
    assert gateway.as_("a_narrow").create(cheap["id"]).status == 200
    assert sim.created("batches") == 1


def test_a_model_of_a_patterns_group_is_known_by_its_name(tenants, sim):  # noqa: F811
    rows = [azure_deployment(sim, "eu", "azure/*", model="azure/*"), azure_deployment(sim, "us", DEAR)]
    config = tenant_config(sim, {"narrow": {"models": ["azure/gpt-4o-batch-eu"], "aliases": {}}}, model_list=rows)
    gateway = tenants(config=config)
    file = gateway.as_("narrow").uploaded(lines("azure/gpt-4o-batch-eu"))
    denied_in_file(gateway.as_("narrow").upload(lines("azure/other")), "azure/other")
    models = gateway.as_("narrow").get("/v1/models").json()["data"]
    assert [m["id"] for m in models] == ["azure/gpt-4o-batch-eu"]  # what it may call, not the pattern
    assert gateway.as_("narrow").create(file["id"]).status == 200
    gateway.stop()
    gateway = tenants(config=config)
    assert gateway.as_("narrow").create(file["id"]).status == 200


def test_blobs_are_not_for_tenants(gateway, sim):
    """Azure reads and writes them as the host's resource."""
    blob = {"input_blob": "https://x.blob.core.windows.net/in/file.jsonl", "endpoint": "/v1/chat/completions",
            "completion_window": "24h"}
    for name in ("a1", "narrow"):
        envelope(gateway.as_(name).post("/v1/batches", blob), 403, type="auth_error", param="input_blob")
        file = gateway.as_(name).uploaded(lines(CHEAP))
        answer = gateway.as_(name).create(file["id"], output_folder={"url": "https://x.blob.core.windows.net/out"})
        envelope(answer, 403, type="auth_error", param="output_folder")
    assert sim.created("batches") == 0


# --- fallbacks ---


def test_a_fallback_that_the_key_may_not_use_is_none(tenants, sim):  # noqa: F811
    config = tenant_config(sim, router_settings={"fallbacks": [{CHEAP: [DEAR]}], "num_retries": 1})
    gateway = tenants(config=config)
    sim.fault({"status": 429, "headers": {"retry-after": "30"}}, account="eu", method="POST", path="/openai/files*", times=9)
    assert gateway.as_("narrow").upload(lines(CHEAP)).status == 429
    assert sim.requests("us") == []
    assert gateway.as_("a1").upload(lines(CHEAP)).status == 200
    assert sim.created("files", ["us"]) == 1


def ids_of(gateway):
    return {row["model_info"]["id"] for row in gateway.as_("master").get("/model/info").json()["data"]}


def test_a_full_model_names_no_deployment_and_no_load(tenants, make_sim):  # noqa: F811
    """Others' batches fill it: whoever comes later hears that there is no room, and not how much they have where."""
    sim = make_sim(sim_config([limited(name, 1_000_000) for name in ("eu", "us", "sw")]))
    config = tenant_config(sim)
    for row in config["model_list"]:
        row["model_info"]["enqueued_token_limit"] = 1_000
        row["model_info"]["id"] = "the-" + row["model_name"] + "-row"
    gateway = tenants(config=config)
    first, second = (gateway.as_(name).uploaded(lines(CHEAP, 60)) for name in ("b1", "a1"))
    gateway.as_("b1").created(first["id"])
    error = envelope(gateway.as_("a1").create(second["id"]), 429, code="token_limit_exceeded")
    assert "the-cheap-row" not in error["message"] and "1000" not in error["message"].replace(",", ""), error
    never = envelope(gateway.as_("a1").upload(lines(CHEAP, 4000)), 400, code="token_limit_exceeded")
    assert "the-cheap-row" not in never["message"] and "1000" not in never["message"].replace(",", ""), never
    told = gateway.as_("master").create(gateway.as_("master").uploaded(lines(CHEAP, 60))["id"])
    assert "the-cheap-row" in envelope(told, 429)["message"]


def test_a_batch_falls_back_to_no_group_that_the_key_may_not_use(tenants, make_sim):  # noqa: F811
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000), limited("sw", 1_000_000)]))
    gateway = tenants(config=tenant_config(sim, router_settings={"default_fallbacks": [DEAR]}))
    question = {"input_file_id": gateway.as_("a1").uploaded(lines(CHEAP, 20))["id"]}
    refused = gateway.as_("a_narrow").create(question["input_file_id"])
    error = envelope(refused, 429, code="token_limit_exceeded")
    assert ids_of(gateway).isdisjoint(re.findall(r"\w+", error["message"])), error  # it names no deployment
    assert gateway.as_("a_narrow").post("/v1/batches/placement", question).json()["fits"] != "now"
    assert sim.created("batches") == 0
    assert gateway.as_("a1").post("/v1/batches/placement", question).json()["fits"] == "now"
    gateway.as_("a1").created(question["input_file_id"])
    assert sim.created("batches", ["us"]) == 1


# --- provider pins, and hosts without groups ---


def test_a_provider_pin_opens_no_models(tenants, sim):  # noqa: F811
    config = tenant_config(sim)
    config["files_settings"] = [{"custom_llm_provider": "openai", "api_base": sim.base("oai") + "/v1", "api_key": PROVIDER_KEYS["oai"]}]
    gateway = tenants(config=config)
    who = gateway.as_("narrow")
    denied_in_file(who.upload(lines("gpt-4o-mini"), fields={"custom_llm_provider": "openai"}), "gpt-4o-mini")
    denied_in_file(who.upload(lines("gpt-4o-mini"), "/openai/v1/files"), "gpt-4o-mini")
    denied_in_file(who.upload(lines("gpt-4o-mini"), headers={"custom-llm-provider": "openai"}), "gpt-4o-mini")
    denied(who.upload(lines(CHEAP), fields={"model": "gpt-4o", "custom_llm_provider": "openai"}), "gpt-4o")
    assert sim.requests() == []
    assert gateway.as_("a1").upload(lines("gpt-4o-mini"), fields={"custom_llm_provider": "openai"}).status == 200


def test_without_groups_models_are_the_providers_names(tenants, sim):  # noqa: F811
    config = direct_config(sim, tranche_settings=tenant_settings(
        narrow={"models": ["gpt-4o-mini"], "aliases": {"fast": "gpt-4o-mini"}}, a_narrow={"models": ["gpt-4o-mini"]}))
    gateway = tenants(config=config)
    who = gateway.as_("narrow")
    file = who.uploaded(lines("gpt-4o-mini"))
    assert who.create(file["id"]).status == 200
    aliased = who.uploaded(lines("fast"))
    assert b'"gpt-4o-mini"' in who.get(f"/v1/files/{aliased['id']}/content").body
    assert who.create(aliased["id"]).status == 200
    denied_in_file(who.upload(lines("gpt-4o")), "gpt-4o")
    mates = gateway.as_("a1").uploaded(lines("gpt-4o"))
    denied_in_file(gateway.as_("a_narrow").create(mates["id"]), "gpt-4o")
    ours = gateway.as_("a1").uploaded(lines("gpt-4o-mini"))
    gateway.stop()
    gateway = tenants(config=config)
    denied_in_file(gateway.as_("a_narrow").create(mates["id"]), "gpt-4o")
    assert gateway.as_("a_narrow").create(ours["id"]).status == 200


def test_so_many_target_names_and_no_more(gateway, sim):
    """Each is looked up in the caller's lists, in one turn."""
    for who in gateway.as_("narrow"), gateway.as_("master"):
        many, most = ",".join([CHEAP] * 33), ",".join([CHEAP] * 32)
        for answer in (who.upload(lines(CHEAP), fields={"target_model_names": many}),
                       who.get(f"/v1/files?target_model_names={many}"),
                       who.get("/v1/batches?" + "&".join([f"target_model_names={CHEAP}"] * 33))):
            error = envelope(answer, 400, code="invalid_value", param="target_model_names")
            assert error["message"] == "'target_model_names' has more than 32 names."
        assert who.upload(lines(CHEAP), fields={"target_model_names": most}).status == 200
        assert who.get(f"/v1/files?target_model_names={most}").status == 200


def test_a_list_of_many_models_is_whole_and_takes_many_turns(tenants, sim):  # noqa: F811
    names = [f"group-{i:03d}" for i in range(70)]
    rows = [azure_deployment(sim, "eu", name, model="azure/gpt-4o-batch-eu") for name in names]
    settings = {"narrow": {"models": names[::2], "aliases": {"fast": names[0]}}}
    config = tenant_config(sim, settings)
    config["model_list"] += rows
    who = tenants(config=config).as_("narrow")
    assert [m["id"] for m in who.get("/v1/models").json()["data"]] == [*names[::2], "fast"]
    assert [m["model_group"] for m in who.get("/model_group/info").json()["data"]] == names[::2]
    assert [m["model_name"] for m in who.get("/model/info").json()["data"]] == names[::2]


def test_who_is_refused_for_a_models_name_before_accounts_are_listed_harms_nobody(gateway, sim):
    """What was gathered for the refused list is freed once."""
    for name in "narrow", "master":
        assert gateway.as_(name).get("/v1/files?model=no-such-model").status in (400, 403)
        assert gateway.as_(name).get("/v1/batches?model=no-such-model").status in (400, 403)
    blob = {"input_blob": "https://x.blob.core.windows.net/a/b.jsonl", "endpoint": "/v1/chat/completions",
            "completion_window": "24h", "output_expires_after": None, "model": "no-such-model"}
    assert gateway.as_("master").post("/v1/batches", blob).status == 400
    assert gateway.as_("narrow").get("/v1/files").status == 200
