"""GET /v1/batches/{id}/results: a line for each line of the input, in its order, whatever the provider's files look like."""

import json
import random
import socket

import openai
import pytest
from harness import GROUP, MASTER_KEY, PATIENCE, PROVIDER_KEYS, azure_account, azure_deployment, balanced_config, envelope, lines, \
    sim_config, until

MINI = "mini"


def both_config(sim, **sections):
    """One Azure deployment and one model of OpenAI's, each a group of its own."""
    rows = [azure_deployment(sim, "eu"),
            {"model_name": MINI, "model_info": {"mode": "batch"},
             "litellm_params": {"model": "openai/gpt-4o-mini", "api_base": sim.base("oai") + "/v1", "api_key": PROVIDER_KEYS["oai"]}}]
    return balanced_config(sim, accounts=(), model_list=rows, **sections)


@pytest.fixture
def both(start, sim):
    return start(both_config(sim), sim=sim)


def requests(ids, model=GROUP, pad=""):
    return b"".join(json.dumps({"custom_id": one, "method": "POST", "url": "/v1/chat/completions",
                                "body": {"model": model, "messages": [{"role": "user", "content": "x" + pad}]}}).encode() + b"\n"
                    for one in ids)


def shuffled_ids(count):
    """Some fail at the model for good, some may be another time."""
    ids = [f"{('line', 'fail', 'fail-429')[i % 9 // 4]}-{i}" for i in range(count)]
    random.Random(7).shuffle(ids)
    return ids


def results(gateway, batch_id, query="", status=200, **kw):
    answer = gateway.get(f"/v1/batches/{batch_id}/results{query}", **kw)
    assert answer.status == status, answer
    return answer


def of(answer):
    return [json.loads(line) for line in answer.body.splitlines()]


def ids_of(answer):
    return [line["custom_id"] for line in of(answer)]


def files_of(gateway, batch):
    """Each line of output and error file, by its id."""
    out = {}
    for name in ("output_file_id", "error_file_id"):
        if batch[name]:
            for line in gateway.get(f"/v1/files/{batch[name]}/content").body.splitlines(keepends=True):
                out[json.loads(line)["custom_id"]] = line
    return out


@pytest.mark.parametrize("model", [GROUP, MINI])
def test_results_are_the_providers_lines_in_the_order_of_the_input(both, sim, model):
    ids = shuffled_ids(60)
    data = requests(ids, model)
    file = both.uploaded(data)
    sim.switch("eu" if model == GROUP else "oai", lose_every=10)
    batch = both.wait_batch(sim, both.created(file["id"])["id"])
    given = files_of(both, batch)
    answer = results(both, batch["id"])
    assert answer.headers["content-type"] == "application/x-ndjson" and "x-tranche-incomplete" not in answer.headers
    got = answer.body.splitlines(keepends=True)
    assert ids_of(answer) == ids and len(given) == 54
    for one, line in zip(ids, got, strict=True):
        assert line == given.get(one, line)
        if one not in given:
            assert json.loads(line) == {"id": None, "custom_id": one, "response": None, "error": {
                "code": "not_run", "message": "The batch has no answer to this request."}}

    good = [one for one in ids if one in given and one.startswith("line")]
    bad = [one for one in ids if one in given and one.startswith("fail")]
    gone = [one for one in ids if one not in given]
    assert len(good) > 9 and len(bad) > 9 and len(gone) == 6
    assert ids_of(results(both, batch["id"], "?status=ok")) == good
    assert ids_of(results(both, batch["id"], "?status=error")) == bad
    assert ids_of(results(both, batch["id"], "?status=missing")) == gone
    assert ids_of(results(both, batch["id"], "?after=7&limit=3")) == ids[7:10]
    assert ids_of(results(both, batch["id"], "?status=ok&after=2&limit=2")) == good[2:4]
    assert results(both, batch["id"], "?limit=0").body == b"" and results(both, batch["id"], "?after=60").body == b""
    assert results(both, batch["id"], f"?custom_id={good[3]}").body == given[good[3]]
    assert results(both, batch["id"], "?custom_id=nobody").body == b""

    # With its request, as the provider has it: but for the model's name what was uploaded.
    stored = both.get(f"/v1/files/{file['id']}/content").body.splitlines()
    for plain, line, request in zip(of(answer), of(results(both, batch["id"], "?input=true")), stored, strict=True):
        assert line.pop("request") == json.loads(request) and line == plain


def test_before_the_end_there_is_what_there_is_for_who_asks_so(both, sim):
    ids = [f"line-{i}" for i in range(8)]
    sim.switch("eu", unexecuted_lines=False)
    batch = both.created(both.uploaded(requests(ids))["id"])
    envelope(results(both, batch["id"], status=409), 409, code="batch_not_finished")
    answer = results(both, batch["id"], "?partial=true")
    assert answer.headers["x-tranche-incomplete"] == "true" and ids_of(answer) == ids
    assert {line["error"]["code"] for line in of(answer)} == {"not_run"}
    both.post(f"/v1/batches/{batch['id']}/cancel")
    both.wait_batch(sim, batch["id"], "cancelled")
    answer = results(both, batch["id"], "?partial=true")
    assert "x-tranche-incomplete" not in answer.headers
    assert ids_of(answer) == ids and {line["error"]["code"] for line in of(answer)} == {"batch_cancelled"}
    # A provider that says in its error file what it did not run has the word.
    sim.switch("oai", window_s=60)
    expired = both.wait_batch(sim, both.created(both.uploaded(requests(ids, MINI))["id"])["id"], "expired")
    assert results(both, expired["id"]).body == b"".join(files_of(both, expired)[one] for one in ids)


def test_what_cannot_be_read_is_said_by_its_name(both, sim):
    ids = ["line-1", "fail-2", "line-3"]
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(ids))["id"])["id"])
    for query, param in (("?status=good", "status"), ("?input=yes", "input"), ("?partial=1", "partial"), ("?limit=-1", "limit"),
                         ("?after=x", "after"), ("?after=", "after"), ("?custom_id=%zz", "custom_id")):
        envelope(results(both, batch["id"], query, status=400), 400, param=param)
    envelope(both.post(f"/v1/batches/{batch['id']}/results", {}), 405)
    envelope(results(both, "batch_none", status=404), 404)
    envelope(results(both, batch["id"][:-1] + ("a" if batch["id"][-1] != "a" else "b"), status=404), 404)
    for member in ("input_file_id", "error_file_id", "output_file_id"):
        assert both.delete(f"/v1/files/{batch[member]}").status == 200
        problem = envelope(results(both, batch["id"], status=410), 410, code="file_gone", param=member)
        assert batch[member] in problem["message"]


def test_a_file_that_breaks_off_is_read_on_and_one_that_is_refused_is_an_error(both, sim):
    ids = shuffled_ids(500)
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(ids, pad="y" * 400))["id"])["id"])
    whole = results(both, batch["id"]).body
    assert [json.loads(line)["custom_id"] for line in whole.splitlines()] == ids
    for switch in ("ignore", "honour"):
        sim.switch("eu", range=switch)
        for cut in (1, 30_000, 100_000):
            sim.fault({"truncate": cut}, account="eu", method="GET", path="/openai/files/*/content")
            assert results(both, batch["id"]).body == whole
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/files/*/content", times=-1)
    envelope(results(both, batch["id"], status=500), 500)
    sim.clear_faults()
    sim.fault({"status": 404, "body": "gone"}, account="eu", method="GET", path="/openai/batches/*")
    envelope(results(both, batch["id"], status=404), 404)
    assert results(both, batch["id"]).body == whole


def test_what_a_provider_does_not_give_is_never_taken_for_an_answer(both, sim):
    content = {"account": "eu", "method": "GET", "path": "/openai/files/*/content"}
    ids = [f"line-{i}" for i in range(300)]
    batch = both.created(both.uploaded(requests(ids, pad="y" * 400))["id"])
    # It has ended, and the provider names no output file yet.
    (native,) = sim.ledger("eu")["batches"]
    for _ in range(12):
        sim.advance(60_000)
    sim.fault({"status": 200, "body": {"id": native["id"], "object": "batch", "status": "completed", "endpoint": "/chat/completions",
                                       "input_file_id": "file-x", "output_file_id": "", "error_file_id": "", "created_at": 1,
                                       "request_counts": {"total": 300, "completed": 300, "failed": 0}}},
              account="eu", method="GET", path="/openai/batches/*", times=-1)
    problem = envelope(results(both, batch["id"], status=409), 409, code="batch_not_finished")
    assert "does not show its output file" in problem["message"]
    sim.clear_faults()
    assert both.wait_batch(sim, batch["id"])["output_file_id"]
    whole = results(both, batch["id"])
    assert ids_of(whole) == ids and "x-tranche-unreadable-lines" not in whole.headers
    # Another file under the same name, half-way.
    sim.fault({"truncate": 30_000}, **content)
    sim.fault({"status": 200, "body": "{}\n"}, **content)
    envelope(results(both, batch["id"], status=502), 502, code="bad_upstream_answer")
    # Nothing of it came before it broke off: it is read as if for the first time.
    sim.fault({"status": 200, "body": "{}\n", "truncate": 0}, **content)
    assert results(both, batch["id"]).body == whole.body
    # Lines that cannot be read are counted, and their requests have no answer.
    sim.fault({"status": 200, "body": "<html>\n{}\n"}, **content)
    answer = results(both, batch["id"])
    assert answer.headers["x-tranche-unreadable-lines"] == "2" and {line["error"]["code"] for line in of(answer)} == {"not_run"}
    assert results(both, batch["id"]).body == whole.body


def test_of_two_answers_one_is_given_and_both_are_counted(both, sim):
    sim.switch("eu", repeat_every=2)
    ids = [f"line-{i}" for i in range(8)]
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(ids))["id"])["id"])
    assert ids_of(results(both, batch["id"])) == ids
    assert "\ntranche_result_duplicates_total 4\n" in both.get("/metrics").body.decode()
    results(both, batch["id"])  # each call counts, as the metric says
    assert "\ntranche_result_duplicates_total 8\n" in both.get("/metrics").body.decode()


def test_the_official_sdk_reads_results_line_by_line(both, sim):
    ids = shuffled_ids(30)
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(ids, MINI))["id"])["id"])
    client = openai.OpenAI(base_url=both.url + "/v1", api_key=MASTER_KEY, max_retries=0)
    text = client.get(f"/batches/{batch['id']}/results", cast_to=str)
    assert [json.loads(line)["custom_id"] for line in text.splitlines()] == ids


def test_a_batch_that_was_moved_has_the_results_of_its_own_input(start, make_sim):
    def limited(name, tokens):
        return azure_account(name, deployments=[{"name": f"gpt-4o-batch-{name}", "model": "gpt-4o", "sku": "GlobalBatch",
                                                 "enqueued_token_limit": tokens, "refusal": "fast"}])
    two = make_sim(sim_config([limited("eu", 600), limited("us", 1_000_000)]))
    rows = [azure_deployment(two, "eu", weight=1), azure_deployment(two, "us", weight=0)]
    gateway = start(balanced_config(two, accounts=(), model_list=rows, tranche_settings={"delete_moved_copies": True}), sim=two)
    file = gateway.uploaded(lines(count=20))
    batch = gateway.created(file["id"])
    assert two.created("batches", ["us"]) == 1
    gateway.wait_batch(two, batch["id"])
    two.wait("us", "DELETE", "/openai/files/*")  # its copy
    assert ids_of(results(gateway, batch["id"])) == [f"request-{i + 1}" for i in range(20)]
    assert gateway.delete(f"/v1/files/{file['id']}").status == 200
    assert file["id"] in envelope(results(gateway, batch["id"], status=410), 410, param="input_file_id")["message"]


def spooled(gateway):
    (value,) = [line.split()[1] for line in gateway.get("/metrics").body.decode().splitlines() if line.startswith("tranche_spool_bytes ")]
    return int(value)


def test_a_client_that_leaves_frees_all_and_one_fills_no_worker(start, sim):
    """Sixteen at a time are put together; while one client has them all, another one polls."""
    gateway = start(both_config(sim), sim=sim, workers=1)
    ids = [f"line-{i}" for i in range(3000)]
    batch = gateway.wait_batch(sim, gateway.created(gateway.uploaded(requests(ids, pad="z" * 1500))["id"])["id"])
    sim.fault({"hang": "answer", "ms": 600_000}, account="eu", method="GET", path="/openai/files/*/content", times=-1, skip=1)

    def ask():
        s = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE * 3)
        s.sendall(f"GET /v1/batches/{batch['id']}/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n".encode())
        return s
    held = [ask()]
    until(lambda: spooled(gateway) > 0, "the output file is in the spool")
    held += [ask() for _ in range(15)]
    sim.wait("eu", "GET", "/openai/files/*/content", count=17, phase="received")
    answer = results(gateway, batch["id"], status=503)
    envelope(answer, 503, code="too_many_results")
    assert answer.headers["retry-after"] == "2"
    assert gateway.get(f"/v1/batches/{batch['id']}").status == 200
    for s in held:
        s.close()
    until(lambda: spooled(gateway) == 0, "the spool is empty")
    sim.clear_faults()
    until(lambda: gateway.get(f"/v1/batches/{batch['id']}/results?limit=2").status == 200, "a place is free")
    # One that takes a little and leaves: what was spooled for it goes, too.
    s = ask()
    assert s.recv(1000).startswith(b"HTTP/1.1 200")
    s.close()
    until(lambda: spooled(gateway) == 0, "the spool is empty again")


def test_a_spool_that_is_full_is_a_507(start, sim):
    config = both_config(sim, tranche_settings={"spool_limit": "1MiB"})
    gateway = start(config, sim=sim)
    ids = [f"line-{i}" for i in range(20)]
    batch = gateway.wait_batch(sim, gateway.created(gateway.uploaded(requests(ids))["id"])["id"])
    assert ids_of(results(gateway, batch["id"])) == ids
    sim.switch("eu", output_pad_bytes=60_000)
    batch = gateway.wait_batch(sim, gateway.created(gateway.uploaded(requests(ids))["id"])["id"])
    envelope(results(gateway, batch["id"], status=507), 507, code="insufficient_storage")
    until(lambda: spooled(gateway) == 0, "the spool is empty")
