"""POST /v1/batches/placement: where a batch would go and why; nothing is made."""

import pytest
from harness import GROUP, azure_account, azure_deployment, balanced_config, envelope, lines, sim_config


@pytest.fixture
def small_and_large(start, sim):
    rows = [azure_deployment(sim, "eu"), azure_deployment(sim, "us")]
    rows[0]["model_info"].update(id="small", enqueued_token_limit=100)
    rows[1]["model_info"].update(id="large", enqueued_token_limit=1000)
    return start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)


def place(gateway, **body):
    return gateway.post("/v1/batches/placement", body)


def test_a_number_of_tokens_is_placed(small_and_large, sim):
    got = place(small_and_large, model=GROUP, tokens=500).json()
    assert got["object"] == "batch.placement" and got["tokens"] == 500 and got["fits"] == "now"
    assert got["deployment"] == "large" and got["routing_strategy"] == "quota-aware"
    small, large = got["candidates"]
    assert (small["limit_tokens"], small["free_tokens"], small["fits"], small["chosen"]) == (100, 100, False, False)
    assert (large["limit_tokens"], large["free_tokens"], large["fits"], large["chosen"]) == (1000, 1000, True, True)
    assert large["expected_completion_seconds"] > 0 and large["admitted"] is True
    assert sim.created("files") == sim.created("batches") == 0


def test_a_deployment_of_a_small_limit_is_shown_to_drain(start, sim):
    row = azure_deployment(sim, "eu")
    row["model_info"]["enqueued_token_limit"] = 1000  # in eight hours, as long as nothing is known: 0.0347 tokens/s
    gateway = start(balanced_config(sim, accounts=(), model_list=[row]), sim=sim)
    (shown,) = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 10}).json()["candidates"]
    assert shown["drain_tokens_per_second"] == 0.0347


def test_what_never_fits_and_what_fits_later(small_and_large):
    got = place(small_and_large, model=GROUP, tokens=1001).json()
    assert got["fits"] == "never" and got["deployment"] is None
    file = small_and_large.uploaded(lines(count=10, content="x" * 80))  # some 300 tokens
    small_and_large.created(file["id"])
    got = place(small_and_large, model=GROUP, tokens=900).json()
    assert got["fits"] == "later" and got["retry_after_ms"] >= 1000 and got["deployment"] is None


def test_a_file_stays_where_it_is_while_there_is_room(small_and_large, sim):
    file = small_and_large.uploaded(lines(count=2, content="x" * 40))
    got = place(small_and_large, input_file_id=file["id"]).json()
    (home,) = [c for c in got["candidates"] if c["holds_file"]]
    assert home["chosen"] and got["deployment"] == home["deployment"] and "there" in got["reason"]
    assert sim.created("batches") == 0
    batch = small_and_large.created(file["id"])
    assert batch["input_file_id"] == file["id"]
    after = place(small_and_large, input_file_id=file["id"]).json()
    (home,) = [c for c in after["candidates"] if c["holds_file"]]
    assert home["enqueued_tokens"] == got["tokens"]


@pytest.mark.parametrize("body, param", [({}, "input_file_id"), ({"model": "nope", "tokens": 1}, "model"),
                                         ({"model": GROUP}, "tokens"), ({"model": GROUP, "tokens": 0}, "tokens"),
                                         ({"model": GROUP, "tokens": "7"}, "tokens")])
def test_bad_questions_are_told(small_and_large, body, param):
    envelope(place(small_and_large, **body), 400, param=param)


def test_a_raw_id_of_the_masters_is_found_first(small_and_large, sim):
    file = small_and_large.uploaded(lines(count=2, content="x" * 40))
    native = file["id"].rsplit("-t", 1)[0]
    got = place(small_and_large, input_file_id=native).json()
    assert [c["holds_file"] for c in got["candidates"]].count(True) == 1
    assert small_and_large.created(native)["input_file_id"] == file["id"]


def test_a_file_that_is_not_there_is_a_404(small_and_large):
    envelope(place(small_and_large, input_file_id="file-nope"), 404)


def test_a_file_that_was_deleted_is_a_404_too(small_and_large):
    file = small_and_large.uploaded()
    assert small_and_large.delete(f"/v1/files/{file['id']}").status == 200
    answer = small_and_large.post("/v1/batches/placement", {"input_file_id": file["id"]})
    assert answer.status == 404 and answer.json()["error"]["param"] == "input_file_id"


def test_it_is_a_post_and_needs_the_key(small_and_large):
    assert small_and_large.get("/v1/batches/placement").status == 405
    envelope(small_and_large.request("POST", "/v1/batches/placement", {"model": GROUP, "tokens": 1}, key=None), 401)


def test_files_uploaded_in_a_row_are_spread_before_their_batches_are_made(start, sim):
    rows = [azure_deployment(sim, a) for a in ("eu", "us")]
    for row in rows:
        row["model_info"]["enqueued_token_limit"] = 1000
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    files = [gateway.uploaded(lines(count=12, content="x" * 80)) for _ in range(4)]  # some 350 tokens each
    assert {sim.created("files", [a]) for a in ("eu", "us")} == {2}
    for file in files:
        gateway.created(file["id"])
    assert sim.created("files") == 4  # nothing had to be copied
    assert {sim.created("batches", [a]) for a in ("eu", "us")} == {2}


def test_a_file_whose_batch_was_made_counts_once(start, sim):
    rows = [azure_deployment(sim, "eu", order=1), azure_deployment(sim, "us", order=2)]
    for row in rows:
        row["model_info"]["enqueued_token_limit"] = 1000
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    for _ in range(2):  # some 350 tokens each
        gateway.created(gateway.uploaded(lines(count=12, content="x" * 80))["id"])
    assert sim.created("files", ["eu"]) == sim.created("batches", ["eu"]) == 2


def test_tokens_and_limits_are_learned_from_what_the_provider_answers(start, make_sim):
    sim = make_sim(sim_config([azure_account("eu", deployments=[{"name": "gpt-4o-batch-eu", "model": "gpt-4o", "sku": "GlobalBatch",
                                                                 "enqueued_token_limit": 123_456}])]))
    rows = [azure_deployment(sim, "eu", api_version="2025-04-01-preview")]
    gateway = start(balanced_config(sim, accounts=(), model_list=rows), sim=sim)
    data = lines(count=10, content="hello " * 20)
    first = gateway.uploaded(data)
    counted = first["bytes"] // 4  # as this provider counts
    before = place(gateway, input_file_id=first["id"]).json()
    assert before["tokens"] < counted * 0.7 and before["candidates"][0]["limit_tokens"] is None
    for n in range(14):
        gateway.created(first["id"], metadata={"n": str(n)})
    after = place(gateway, input_file_id=first["id"]).json()
    assert after["candidates"][0]["limit_tokens"] == 123_456
    assert 0.9 * counted < after["tokens"] < 1.1 * counted
    # What others have enqueued there counts too.
    enqueued = sim.ledger("eu")["enqueued_tokens"]
    total = enqueued if isinstance(enqueued, int) else sum(enqueued.values())
    assert 0.9 * total < after["candidates"][0]["enqueued_tokens"] <= 1.1 * total


def test_fallbacks_are_placed_only_where_the_group_has_no_room(start, sim):
    rows = [azure_deployment(sim, "eu"), azure_deployment(sim, "us", group="second")]
    for row, limit in zip(rows, (100_000, 100_000_000)):
        row["model_info"].update(id=row["model_name"], enqueued_token_limit=limit)
    gateway = start(balanced_config(sim, accounts=(), model_list=rows, router_settings={"fallbacks": [{GROUP: ["second"]}]}),
                    sim=sim)
    small = place(gateway, model=GROUP, tokens=1000).json()
    assert small["deployment"] == GROUP and [c["fallback"] for c in small["candidates"]] == [False, True]
    large = place(gateway, model=GROUP, tokens=1_000_000).json()
    assert large["deployment"] == "second" and "falls back" in large["reason"]
    gateway.uploaded()
    assert sim.created("files", ["eu"]) == 1


def test_a_limit_that_a_refusal_names_is_learned(start, make_sim):
    sim = make_sim(sim_config([azure_account("eu", deployments=[{"name": "gpt-4o-batch-eu", "model": "gpt-4o", "sku": "GlobalBatch",
                                                                 "enqueued_token_limit": 1000, "refusal": "fast"}])]))
    gateway = start(balanced_config(sim, accounts=("eu",)), sim=sim)
    file = gateway.uploaded(lines(count=20))
    assert place(gateway, input_file_id=file["id"]).json()["candidates"][0]["limit_tokens"] is None
    envelope(gateway.create(file["id"]), code="token_limit_exceeded")
    assert place(gateway, input_file_id=file["id"]).json()["candidates"][0]["limit_tokens"] == 1000


def test_a_fallback_is_only_chosen_when_the_group_itself_has_no_room(start, sim):
    rows = [azure_deployment(sim, "eu"), azure_deployment(sim, "us", group="other")]
    rows[0]["model_info"].update(id="own", enqueued_token_limit=1000)
    rows[1]["model_info"].update(id="fallback", enqueued_token_limit=1_000_000_000)  # done a million times sooner
    gateway = start(balanced_config(sim, accounts=(), model_list=rows,
                                    router_settings={"fallbacks": [{GROUP: ["other"]}]}), sim=sim)
    assert place(gateway, model=GROUP, tokens=500).json()["deployment"] == "own"
    assert place(gateway, model=GROUP, tokens=1001).json()["deployment"] == "fallback"
