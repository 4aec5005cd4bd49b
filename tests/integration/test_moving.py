"""Work that one deployment refuses is done by another one, and the client notices nothing but that it was done."""

import json
import re
import signal

import pytest
from harness import GROUP, PROVIDER_KEYS, azure_account, azure_deployment, balanced_config, envelope, lines, sim_config


def limited(name, tokens, refusal="fast"):
    return azure_account(name, deployments=[{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch",
                                             "enqueued_token_limit": tokens, "refusal": refusal}])


@pytest.fixture
def two(make_sim):
    """eu is small and gets every upload (its weight), us is large."""
    return make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000)]))


def eu_first(sim, version="2025-04-01-preview", **more):
    rows = [azure_deployment(sim, "eu", weight=1, api_version=version), azure_deployment(sim, "us", weight=0, api_version=version)]
    return balanced_config(sim, accounts=(), model_list=rows, **more)


@pytest.mark.database
def test_a_batch_that_its_deployment_refuses_is_made_at_another_one(start, two):
    gateway = start(eu_first(two), sim=two)
    data = lines(count=20)
    file = gateway.uploaded(data)
    assert two.created("files", ["eu"]) == 1
    batch = gateway.created(file["id"], metadata={"team": "search"})
    assert two.created("batches", ["us"]) == 1 and two.created("batches", ["eu"]) == 0
    assert batch["input_file_id"] == file["id"] and batch["metadata"] == {"team": "search"}
    # All later answers show the client's own file, too.
    assert gateway.get("/v1/batches/" + batch["id"]).json()["input_file_id"] == file["id"]
    assert gateway.get("/v1/batches").json()["data"][0]["input_file_id"] == file["id"]
    assert gateway.post(f"/v1/batches/{batch['id']}/cancel").json()["input_file_id"] == file["id"]
    # And that file is still the client's: readable, and gone when deleted.
    assert gateway.get(f"/v1/files/{file['id']}/content").status == 200
    assert gateway.delete(f"/v1/files/{file['id']}").status == 200


def test_each_step_of_a_create_that_moves_is_a_line_of_the_debug_log(start, two):
    """Old and new, with the id that the answer has."""
    gateway = start(eu_first(two), sim=two, args=["--debug"])
    answer = gateway.create(gateway.uploaded(lines(count=20))["id"])
    assert answer.status == 200, answer
    own = f"request {answer.headers['x-request-id']}: create: "
    gateway.wait_line(re.escape(own) + ".* -> done")
    steps = [line.split(own)[1].strip() for line in list(gateway.lines) if own in line]
    names = ["new", "repeat", "find", "facts", "reserve", "write", "send", "elsewhere", "copy", "write", "send", "done"]
    assert steps == [f"{old} -> {new}" for old, new in zip(names, names[1:])]


def test_the_copy_names_its_own_deployment_and_nothing_else_is_changed(start, two):
    gateway = start(eu_first(two), sim=two)
    data = lines(count=20, content='über "quoted" \u2603 1.50e3')
    file = gateway.uploaded(data)
    gateway.created(file["id"])
    (copy,) = [f for f in two.ledger("us")["files"]]
    wanted = data.replace(json.dumps(GROUP).encode(), b'"gpt-4o-batch-us"')
    assert copy["bytes"] == len(wanted)
    seen = gateway.get(f"/v1/files/{copy['id']}/content", headers={"x-litellm-model": GROUP})
    assert seen.body == wanted
    assert copy["filename"] == "requests.jsonl"


@pytest.mark.database
def test_moved_batches_run_to_their_end_and_their_results_are_readable(start, two):
    gateway = start(eu_first(two), sim=two)
    file = gateway.uploaded(lines(count=20))
    batch = gateway.wait_batch(two, gateway.created(file["id"])["id"])
    output = gateway.get(f"/v1/files/{batch['output_file_id']}/content")
    assert output.status == 200 and len(output.body.splitlines()) == 20


def test_work_is_moved_to_another_deployment_of_the_same_resource(start, make_sim):
    sim = make_sim(sim_config([azure_account("eu", deployments=[
        {"name": "small", "model": "gpt-4o", "sku": "GlobalBatch", "enqueued_token_limit": 600, "refusal": "fast"},
        {"name": "large", "model": "gpt-4o", "sku": "GlobalBatch"}])]))
    rows = [azure_deployment(sim, "eu", model="azure/small", weight=1), azure_deployment(sim, "eu", model="azure/large", weight=0)]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded(lines(count=20))
    batch = gateway.created(file["id"])
    assert batch["input_file_id"] == file["id"]
    assert sim.created("files") == 2 and sim.created("batches") == 1
    assert gateway.get("/v1/batches/" + batch["id"]).json()["input_file_id"] == file["id"]


def test_a_throttled_create_moves_on(start, sim):
    rows = [azure_deployment(sim, "eu", weight=1), azure_deployment(sim, "us", weight=0)]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 429}, account="eu", method="POST", path="/openai/batches*", times=1)
    batch = gateway.created(file["id"])
    assert batch["input_file_id"] == file["id"]
    assert sim.created("batches", ["us"]) == 1 == sim.created("batches")


def creates_at(sim, account):
    return len([r for r in sim.requests(account) if r["method"] == "POST" and "batches" in r["target"]])


def test_what_was_refused_is_not_asked_again_under_another_name(start, two):
    """A refusal where nothing is enqueued speaks about that file: whoever sends it again is not sent there, others are."""
    gateway = start(eu_first(two), sim=two)
    first, second = gateway.uploaded(lines(count=20)), gateway.uploaded(lines(count=20))
    gateway.created(first["id"])
    assert creates_at(two, "eu") == 1
    gateway.created(second["id"])
    third = gateway.uploaded(lines(count=20))
    gateway.created(third["id"])
    assert creates_at(two, "eu") == 1 and two.created("files", ["eu"]) == 2  # the third one's file went to "us" at once
    assert two.created("batches", ["us"]) == 3
    gateway.created(gateway.uploaded(lines(count=21))["id"])
    assert creates_at(two, "eu") == 2


@pytest.mark.database
def test_tokens_are_reserved_before_the_create_so_that_a_full_deployment_is_never_asked(start, sim):
    """Limits that the operator tells are kept without a refusal."""
    rows = [azure_deployment(sim, "eu", weight=1), azure_deployment(sim, "us", weight=0)]
    rows[0]["model_info"]["enqueued_token_limit"] = 100
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded(lines(count=2, content="x" * 100))  # some 66 tokens
    assert sim.created("files", ["eu"]) == 1
    gateway.created(file["id"])
    second = gateway.created(file["id"])
    assert sim.created("batches", ["eu"]) == 1 == sim.created("batches", ["us"])
    assert second["input_file_id"] == file["id"] and sim.created("files", ["us"]) == 1
    assert len([r for r in sim.requests("eu") if r["method"] == "POST" and "batches" in r["target"]]) == 1


def test_what_never_fits_is_a_400_that_names_every_limit(start, sim):
    rows = [azure_deployment(sim, a) for a in ("eu", "us")]
    for row, limit in zip(rows, (40, 50)):
        row["model_info"].update(enqueued_token_limit=limit, id=f"row-{limit}")
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    answer = gateway.upload(lines(count=4, content="x" * 2000))  # no token has more than 128 bytes
    error = envelope(answer, 400, code="token_limit_exceeded")
    assert "row-40 40" in error["message"] and "row-50 50" in error["message"]
    assert sim.created("files") == 0


def test_what_does_not_fit_now_is_a_429_that_says_when(start, sim):
    rows = [azure_deployment(sim, a) for a in ("eu", "us")]
    for row in rows:
        row["model_info"]["enqueued_token_limit"] = 100
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    files = [gateway.uploaded(lines(count=2, content="x" * 100)) for _ in range(3)]
    made = [gateway.created(f["id"]) for f in files[:2]]  # one each
    assert {sim.created("batches", [a]) for a in ("eu", "us")} == {1}
    answer = gateway.create(files[2]["id"])
    error = envelope(answer, 429, code="token_limit_exceeded")
    assert "free" in error["message"]
    assert int(answer.headers["retry-after"]) >= 1 and int(answer.headers["retry-after-ms"]) >= 1000
    # An end that a client sees makes room at once.
    gateway.wait_batch(sim, made[0]["id"])
    assert gateway.create(files[2]["id"]).status == 200


@pytest.mark.parametrize("seen_by", ["poll", "list", "cancel"])
def test_tokens_come_back_when_the_end_of_a_batch_is_seen(start, sim, seen_by):
    rows = [azure_deployment(sim, "eu")]
    rows[0]["model_info"]["enqueued_token_limit"] = 100
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file, other = gateway.uploaded(lines(count=2, content="x" * 100)), gateway.uploaded(lines(count=2, content="y" * 100))
    batch = gateway.created(file["id"])
    envelope(gateway.create(other["id"]), 429)
    if seen_by == "cancel":
        gateway.post(f"/v1/batches/{batch['id']}/cancel")
        sim.advance(120_000)
        gateway.get(f"/v1/batches/{batch['id']}")
    else:
        sim.advance(3_600_000)
        gateway.get("/v1/batches" + ("" if seen_by == "list" else "/" + batch["id"]))
    gateway.created(other["id"])


def test_a_refused_create_takes_no_room(start, sim):
    rows = [azure_deployment(sim, "eu")]
    rows[0]["model_info"]["enqueued_token_limit"] = 100
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded(lines(count=2, content="x" * 100))
    sim.fault({"status": 400, "body": {"error": {"code": "invalidPayload", "message": "no"}}},
              account="eu", method="POST", path="/openai/batches*", times=6)
    for _ in range(3):
        envelope(gateway.create(file["id"]), 400)
    gateway.created(file["id"])


def test_the_slow_form_of_the_refusal_is_learned_from(start, make_sim):
    """A batch that failed because the deployment was full: the next one goes elsewhere."""
    sim = make_sim(sim_config([limited("eu", 600, "slow"), limited("us", 1_000_000)]))
    gateway = start(eu_first(sim), sim=sim)
    batch = gateway.created(gateway.uploaded(lines(count=20))["id"])
    assert sim.created("batches", ["eu"]) == 1
    sim.advance(60_000)
    failed = gateway.get("/v1/batches/" + batch["id"]).json()
    assert failed["status"] == "failed" and failed["errors"]["data"][0]["code"] == "token_limit_exceeded"
    other = gateway.uploaded(lines(count=20))
    gateway.created(other["id"])
    assert sim.created("batches", ["us"]) == 1 and sim.created("batches", ["eu"]) == 1


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}, {"close": "head"}], ids=["429", "503", "closed"])
def test_a_copy_that_one_deployment_refuses_goes_to_the_next(start, make_sim, fault):
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000), limited("sw", 1_000_000)]))
    rows = [azure_deployment(sim, "eu", weight=1), azure_deployment(sim, "us", weight=0), azure_deployment(sim, "sw", weight=0)]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded(lines(count=20))
    sim.fault(fault, method="POST", path="/openai/files*", times=1)  # whichever of us and sw is asked first
    batch = gateway.created(file["id"])
    assert batch["input_file_id"] == file["id"]
    assert sim.created("batches") == 1 and sim.created("batches", ["eu"]) == 0


def test_a_copy_that_is_not_found_yet_is_no_missing_file_of_the_clients(start, make_sim):
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 0), limited("sw", 0)]))
    rows = [azure_deployment(sim, a, order=n + 1) for n, a in enumerate(("eu", "us", "sw"))]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    sim.control("POST", "/control/switches", {"account": "us", "set": {"file_visible_after_ms": 600_000}})
    file = gateway.uploaded(lines(count=20))
    batch = gateway.created(file["id"])
    assert batch["input_file_id"] == file["id"] and sim.created("batches", ["sw"]) == 1


def test_a_copy_that_is_found_nowhere_yet_can_be_made_later(start, two):
    gateway = start(eu_first(two), sim=two)
    two.control("POST", "/control/switches", {"account": "us", "set": {"file_visible_after_ms": 600_000}})
    file = gateway.uploaded(lines(count=20))
    answer = gateway.create(file["id"])
    envelope(answer, 503, code="file_not_processed")
    assert int(answer.headers["retry-after"]) >= 1 and "x-should-retry" not in answer.headers
    two.wait("us", "DELETE", "/openai/files/*")
    two.control("POST", "/control/switches", {"account": "us", "set": {"file_visible_after_ms": 0}})
    assert gateway.create(file["id"], headers={"x-stainless-retry-count": "1"}).status == 200
    assert two.created("batches") == 1


def test_a_copy_whose_create_is_refused_is_deleted_again(start, make_sim):
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 600)]))
    gateway = start(eu_first(sim), sim=sim)
    file = gateway.uploaded(lines(count=20))
    answer = gateway.create(file["id"])
    envelope(answer, 429, code="token_limit_exceeded")
    sim.wait("us", "DELETE", "/openai/files/*")
    assert sim.created("batches") == 0
    assert [f["id"] for f in sim.ledger("us")["files"] if not f.get("deleted")] == []


def test_a_copy_goes_when_its_batch_has_ended_if_so_configured(start, two):
    gateway = start(eu_first(two, tranche_settings={"delete_moved_copies": True}), sim=two)
    file = gateway.uploaded(lines(count=20))
    batch = gateway.created(file["id"])
    for _ in range(3):  # who looks at it while it runs takes nothing away
        assert gateway.get("/v1/batches/" + batch["id"]).json()["status"] == "validating"
        assert len(gateway.get("/v1/batches").json()["data"]) == 1
    assert len(gateway.get("/v1/files").json()["data"]) == 2
    assert not [r for r in two.requests("us") if r["method"] == "DELETE"]
    gateway.wait_batch(two, batch["id"])
    two.wait("us", "DELETE", "/openai/files/*")
    assert gateway.get("/v1/batches/" + batch["id"]).json()["input_file_id"] == file["id"]
    assert gateway.get("/v1/batches").json()["data"][0]["input_file_id"] == file["id"]
    assert len([r for r in two.requests("us") if r["method"] == "DELETE"]) == 1
    assert gateway.get(f"/v1/files/{file['id']}/content").status == 200  # the client's own is the client's


@pytest.mark.parametrize("fields, settings", [({"expires_after[anchor]": "created_at", "expires_after[seconds]": "1300000"}, {}),
                                              ({}, {"azure_file_expires_after": "1300000"})], ids=["the_files_own", "configured"])
def test_a_copy_expires_when_the_file_does(start, two, fields, settings):
    gateway = start(eu_first(two, tranche_settings=settings), sim=two)
    file = gateway.uploaded(lines(count=20), fields=fields)
    gateway.created(file["id"])
    (copy,) = [f for f in gateway.get("/v1/files").json()["data"] if f["id"] != file["id"]]
    assert two.created("files", ["us"]) == 1 and abs(copy["expires_at"] - file["expires_at"]) <= 5


def test_a_copy_stays_when_nothing_is_configured(start, two):
    gateway = start(eu_first(two), sim=two)
    file = gateway.uploaded(lines(count=20))
    gateway.wait_batch(two, gateway.created(file["id"])["id"])
    assert not [r for r in two.requests("us") if r["method"] == "DELETE"]


@pytest.mark.database
def test_a_lost_answer_at_the_second_place_is_found_there(start, two):
    gateway = start(eu_first(two), sim=two)
    file = gateway.uploaded(lines(count=20))
    two.fault({"close": "answer"}, account="us", method="POST", path="/openai/batches*", times=1)
    batch = gateway.created(file["id"])
    assert two.created("batches") == 1 and batch["input_file_id"] == file["id"]


def test_files_of_before_a_restart_are_moved_too(start, two):
    """Nothing is remembered of the file: its first lines tell which deployment it names, and how large it is."""
    first = start(eu_first(two), sim=two)
    file = first.uploaded(lines(count=20))
    first.finish(two)
    second = start(eu_first(two), sim=two)
    batch = second.created(file["id"])
    assert two.created("batches", ["us"]) == 1 and batch["input_file_id"] == file["id"]


@pytest.mark.parametrize("refused", ["files", "batches"])
def test_not_all_of_a_large_group_are_tried_for_one_batch(start, make_sim, refused):
    """Each try sends the file again: where eight refuse, the client hears of it."""
    names = [f"az{n:02}" for n in range(14)]
    sim = make_sim(sim_config([limited(names[0], 600)] + [limited(n, 600 if refused == "batches" else 0) for n in names[1:]]))
    rows = [azure_deployment(sim, n, weight=int(n == names[0])) for n in names]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded(lines(count=20))
    if refused == "files":
        sim.fault({"status": 429}, method="POST", path="/openai/files*", times=100)
    answer = gateway.create(file["id"])
    envelope(answer)
    assert answer.status in (429, 503) and "x-should-retry" not in answer.headers, answer
    asked = [r for r in sim.requests() if r["method"] == "POST" and f"/{refused}" in r["target"]]
    assert 7 <= len(asked) <= 8 + (refused == "files"), len(asked)
    assert sim.created("batches") == 0


def test_a_large_file_moves_in_constant_memory(start, make_sim):
    import pathlib
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 0)]))
    gateway = start(eu_first(sim), sim=sim, workers=1)
    data = lines(count=3000, content="z" * 20_000)  # 60 MB
    file = gateway.uploaded(data)

    def rss():
        return sum(int(line.split()[1]) for pid in gateway.workers()
                   for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    before = rss()
    batch = gateway.created(file["id"])
    assert batch["input_file_id"] == file["id"] and sim.created("batches", ["us"]) == 1
    assert rss() - before < 16 * 1024, (before, rss())


# --- fallbacks, slots, target_model_names ---


def two_groups(sim, **router):
    rows = [azure_deployment(sim, "eu", group="small"), azure_deployment(sim, "us", group="large")]
    return balanced_config(sim, accounts=(), model_list=rows, router_settings=router)


def test_an_upload_falls_back_to_another_group(start, sim):
    gateway = start(two_groups(sim, fallbacks=[{"small": ["large"]}], num_retries=2), sim=sim)
    sim.fault({"status": 429}, account="eu", method="POST", path="/openai/files*", times=1)
    file = gateway.uploaded(lines(model="small"))
    assert sim.created("files", ["us"]) == 1
    assert b'"gpt-4o-batch-us"' in gateway.get(f"/v1/files/{file['id']}/content").body
    gateway.uploaded(lines(model="small", count=4))  # the first choice again, once it answers
    assert sim.created("files") == 2


def test_a_batch_falls_back_to_another_group(start, make_sim):
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000)]))
    gateway = start(two_groups(sim, default_fallbacks=["large"]), sim=sim)
    file = gateway.uploaded(lines(model="small", count=20))
    assert sim.created("files", ["eu"]) == 1
    batch = gateway.created(file["id"])
    assert sim.created("batches", ["us"]) == 1 and batch["input_file_id"] == file["id"]


def azure_then_openai(make_sim, start):
    sim = make_sim(sim_config([limited("eu", 600), {"name": "oai", "kind": "openai", "port": 0, "key": PROVIDER_KEYS["oai"],
                                                    "models": ["gpt-4o"]}]))
    openai = {"model_name": "other", "model_info": {"mode": "batch"},
              "litellm_params": {"model": "openai/gpt-4o", "api_base": sim.base("oai") + "/v1", "api_key": PROVIDER_KEYS["oai"]}}
    rows = [azure_deployment(sim, "eu", group="small"), openai]
    return sim, start(balanced_config(sim, accounts=(), model_list=rows, router_settings={"default_fallbacks": ["other"]}), sim=sim)


@pytest.mark.parametrize("filename", ["requests.jsonl", "requests.txt", "requests", "x" * 600, "\u00fc" * 253])
def test_a_batch_falls_back_to_the_other_provider_whatever_its_file_is_called(start, make_sim, filename):
    """OpenAI takes no batch file that is not called *.jsonl, Azure does."""
    sim, gateway = azure_then_openai(make_sim, start)
    file = gateway.uploaded(lines(model="small", count=20), filename=filename)
    batch = gateway.created(file["id"])
    assert sim.created("batches", ["oai"]) == 1 and batch["input_file_id"] == file["id"]
    assert gateway.wait_batch(sim, batch["id"])["request_counts"]["completed"] == 20
    assert gateway.get(f"/v1/files/{file['id']}").json()["filename"] == filename


def test_lines_that_only_azure_understands_stay_there(start, make_sim):
    """Azure takes urls without /v1, OpenAI would fail the batch hours later."""
    sim, gateway = azure_then_openai(make_sim, start)
    file = gateway.uploaded(lines(model="small", count=20, url="/chat/completions"))
    answer = gateway.create(file["id"], endpoint="/chat/completions")
    assert answer.status == 429, answer
    envelope(answer, 429, code="token_limit_exceeded")
    assert sim.created("files", ["oai"]) == 0 and sim.created("batches") == 0


def test_without_fallbacks_a_group_is_all_there_is(start, make_sim):
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000)]))
    gateway = start(two_groups(sim), sim=sim)
    file = gateway.uploaded(lines(model="small", count=20))
    envelope(gateway.create(file["id"]), 429, code="token_limit_exceeded")
    assert sim.created("batches") == 0


def test_target_model_names_are_one_group_for_an_upload(start, sim):
    gateway = start(two_groups(sim), sim=sim)
    for n in range(6):
        gateway.uploaded(lines(model="small", count=n + 1), fields={"target_model_names": "small, large"})
    assert {sim.created("files", [a]) for a in ("eu", "us")} == {3}
    for account in ("eu", "us"):
        (name,) = {json.loads(line)["body"]["model"] for f in sim.ledger(account)["files"]
                   for line in gateway.get(f"/v1/files/{f['id']}/content", headers={"x-litellm-model": "small" if account == "eu" else "large"}).body.splitlines()}
        assert name == f"gpt-4o-batch-{account}"


def test_an_unknown_target_model_is_told(start, sim):
    gateway = start(two_groups(sim), sim=sim)
    error = envelope(gateway.upload(lines(model="small"), fields={"target_model_names": "small,nope"}), 400,
                     param="target_model_names", code="model_not_found")
    assert "nope" in error["message"] and "large" in error["message"]
    assert sim.created("files") == 0


def test_a_full_resource_is_not_sent_further_files(start, sim):
    """Azure's file slots: one refusal, and the next uploads go elsewhere at once."""
    rows = [azure_deployment(sim, "eu", order=1), azure_deployment(sim, "us", order=2)]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    sim.control("POST", "/control/switches", {"account": "eu", "set": {"max_files": 1}})
    for n in range(4):
        gateway.uploaded(lines(count=n + 1))
    assert sim.created("files", ["eu"]) == 1 and sim.created("files", ["us"]) == 3
    asked = [r for r in sim.requests("eu") if r["method"] == "POST"]
    assert len(asked) == 2


def test_a_file_that_was_pending_a_moment_ago_is_asked_for_again(start, sim):
    """The provider refuses because the file is pending, and has processed it by the time anybody looks."""
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 400, "body": {"error": {"code": "invalidPayload", "message": "not ready"}}},
              account="eu", method="POST", path="/openai/batches*", times=1)
    gateway.created(file["id"])
    assert sim.created("batches") == 1


def test_lines_of_azures_form_are_refused_for_openai(start, sim):
    from harness import direct_config
    gateway = start(direct_config(sim), sim=sim)
    data = lines(model="gpt-4o-mini", url="/chat/completions")
    error = envelope(gateway.upload(data, target="/openai/v1/files"), 400, code="invalid_url", param="file")
    assert "/v1/chat/completions" in error["message"]
    assert gateway.upload(data, target="/azure/v1/files").status == 200


def test_azure_files_get_the_configured_expiry(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"], tranche_settings={"azure_file_expires_after": "14d"}), sim=sim)
    file = gateway.uploaded()
    assert file["expires_at"] - file["created_at"] == 14 * 86400
    longer = gateway.uploaded(lines(count=2), fields={"expires_after[anchor]": "created_at", "expires_after[seconds]": "1296000"})
    assert longer["expires_at"] - longer["created_at"] == 1296000  # the client's own word counts


def rows_of_one(sim, groups=("one", "two")):
    """The same deployment of "eu" in several groups, with room for one batch; and no other."""
    rows = [azure_deployment(sim, "eu", group=g) for g in groups]
    for n, row in enumerate(rows):
        row["model_info"].update(id=f"row-{n}", enqueued_token_limit=100)
    return rows


def room(gateway, model):
    return gateway.post("/v1/batches/placement", {"model": model, "tokens": 50}).json()["candidates"]


def test_through_a_second_group_a_full_deployment_is_full_too(start, sim):
    gateway = start(balanced_config(sim, accounts=(), model_list=rows_of_one(sim)), sim=sim)
    data = lines("one", count=2, content="x" * 100)  # some 66 tokens
    gateway.created(gateway.uploaded(data)["id"])
    (first,), (second,) = room(gateway, "one"), room(gateway, "two")
    assert first["enqueued_tokens"] == second["enqueued_tokens"] > 0
    assert not first["fits"] and not second["fits"]
    file = gateway.uploaded(lines("two", count=2, content="x" * 100))
    envelope(gateway.create(file["id"]), 429, code="token_limit_exceeded")
    assert sim.created("batches") == 1
    # A reload that turns the rows round, or leaves only the second, keeps what is counted.
    for n, rows in enumerate((rows_of_one(sim)[::-1], rows_of_one(sim)[1:])):
        gateway.write_config(balanced_config(sim, accounts=(), model_list=rows))
        gateway.send(signal.SIGHUP)
        gateway.wait_line(f"generation {n + 2} serves")
        assert [c["enqueued_tokens"] for c in room(gateway, "two")] == [first["enqueued_tokens"]]


def test_a_refused_create_is_not_moved_to_where_it_was_refused(start, make_sim):
    """Two rows of one deployment in one group are one place."""
    sim = make_sim(sim_config([limited("eu", 600)]))
    rows = [azure_deployment(sim, "eu"), azure_deployment(sim, "eu")]
    rows[1]["model_info"]["id"] = "again"
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded(lines(count=20))
    envelope(gateway.create(file["id"]), 429, code="token_limit_exceeded")
    assert sim.created("files") == 1
    assert len([r for r in sim.requests("eu") if r["method"] == "POST" and "batches" in r["target"]]) == 1


@pytest.mark.parametrize("status, made", [(401, 1), (429, 0)])
def test_a_second_key_of_a_resource_helps_where_the_first_is_refused_and_nowhere_else(start, sim, status, made):
    rows = [azure_deployment(sim, "eu", order=1), azure_deployment(sim, "eu", order=2, api_version="2025-04-01-preview")]
    rows[1]["model_info"]["id"] = "again"
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": status}, account="eu", method="POST", path="/openai/batches*", times=1)
    answer = gateway.create(file["id"])
    assert (answer.status == 200) == (made == 1), answer
    assert sim.created("batches") == made
    assert made == 0 or answer.json()["input_file_id"] == file["id"]


def test_what_one_model_of_a_wildcard_was_refused_does_not_bar_another(start, make_sim):
    sim = make_sim(sim_config([azure_account("eu", deployments=[
        {"name": "small", "model": "gpt-4o", "sku": "GlobalBatch", "enqueued_token_limit": 1000, "refusal": "fast"},
        {"name": "large", "model": "gpt-4o", "sku": "GlobalBatch"}])]))
    gateway = start(balanced_config(sim, accounts=(), model_list=[azure_deployment(sim, "eu", group="azure/*", model="azure/*")]), sim=sim)
    small = gateway.uploaded(lines("azure/small", count=90))
    envelope(gateway.create(small["id"]), 429, code="token_limit_exceeded")
    small = gateway.uploaded(lines("azure/small", count=90, content="x" * 3000))  # more than 1,000 for certain
    envelope(gateway.create(small["id"]), 400, code="token_limit_exceeded")
    gateway.created(gateway.uploaded(lines("azure/large", count=100))["id"])


def test_a_wildcard_that_is_full_now_says_so_and_when_to_come_again(start, make_sim):
    sim = make_sim(sim_config([limited("eu", 600)]))
    gateway = start(balanced_config(sim, accounts=(), model_list=[azure_deployment(sim, "eu", group="azure/*", model="azure/*")]), sim=sim)
    data = lines("azure/gpt-4o-batch-eu", count=8)
    gateway.created(gateway.uploaded(data)["id"])
    answer = None
    for _ in range(8):
        answer = gateway.create(gateway.uploaded(data)["id"])
        if answer.status != 200:
            break
    envelope(answer, 429, code="token_limit_exceeded")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_batch_that_has_no_room_for_our_marker_is_not_moved(start, two):
    """Later answers could not tell which file was the client's, and nobody could delete the copy."""
    gateway = start(eu_first(two), sim=two)
    file = gateway.uploaded(lines(count=20))
    full = {f"key{n}": "x" for n in range(16)}
    answer = gateway.create(file["id"], metadata=full)
    envelope(answer, 429, code="token_limit_exceeded")
    assert two.created("batches") == 0 and two.created("files") == 1
    assert gateway.created(file["id"], metadata={"key": "x"})["input_file_id"] == file["id"]
    assert two.created("batches", ["us"]) == 1


def test_after_a_restart_a_file_is_not_taken_for_another_groups(start, make_sim):
    """Two groups have the deployment; only one of them may go to "us"."""
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000), limited("sw", 1_000_000)]))
    rows = [azure_deployment(sim, "eu", group="one", weight=1), azure_deployment(sim, "us", group="one", weight=0),
            azure_deployment(sim, "eu", group="two", weight=1), azure_deployment(sim, "sw", group="two", weight=0)]
    config = balanced_config(sim, accounts=(), model_list=rows)
    first = start(config, sim=sim)
    file = first.uploaded(lines("two", count=20))
    first.finish(sim)
    second = start(config, sim=sim)
    envelope(second.create(file["id"]), 429, code="token_limit_exceeded")
    assert sim.created("batches") == 0 and sim.created("files") == 1
    # Whoever uploads it again is understood.
    again = second.uploaded(lines("two", count=20))
    second.created(again["id"])
    assert sim.created("batches", ["sw"]) == 1


@pytest.mark.parametrize("seen_by", ["client", "prober"])
def test_copies_hold_slots_for_files_and_go_where_there_are_some(start, make_sim, seen_by):
    sim = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000), limited("sw", 1_000_000)]))
    rows = [azure_deployment(sim, a, order=n + 1) for n, a in enumerate(("eu", "us", "sw"))]
    settings = {"delete_moved_copies": True, "log_level": "debug", "limits": {"max_files": {"azure": 2}},
                "timeouts": {"watch_ms": 100} if seen_by == "prober" else {}}
    gateway = start(balanced_config(sim, accounts=(), model_list=rows, tranche_settings=settings), sim=sim, workers=1)
    for account in ("eu", "us", "sw"):
        gateway.wait_line(rf"account 127\.0\.0\.1:{sim.ports[account]}: 0 input files that stay")
    first, second = (gateway.uploaded(lines(count=20)) for _ in range(2))
    moved = [gateway.created(f["id"]) for f in (first, second)]
    assert [sim.created("files", [a]) for a in ("eu", "us", "sw")] == [2, 2, 0]
    gateway.created(first["id"], metadata={"n": "3"})
    assert [sim.created("files", [a]) for a in ("eu", "us", "sw")] == [2, 2, 1]
    # A copy that was deleted makes room at once.
    seen = len(gateway.lines)
    if seen_by == "client":
        gateway.wait_batch(sim, moved[0]["id"])
        gateway.wait_line("the copy .* is deleted", start=seen)
    else:
        sim.advance(700_000)
        sim.wait("us", "DELETE", "/openai/files/*")
    gateway.created(second["id"], metadata={"n": "4"})
    assert [sim.created("files", [a]) for a in ("eu", "us", "sw")] == [2, 3, 1]
