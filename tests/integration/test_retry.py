"""POST /v1/batches/{id}/retry: a new batch of the lines that can be tried again, made once."""

import json

import openai
import pytest
from harness import GROUP, MASTER_KEY, envelope
from tenants import tenants  # noqa: F401
from test_results import MINI, both, ids_of, of, requests, results  # noqa: F401

FILES = {GROUP: "/openai/files", MINI: "/v1/files"}
BATCHES = {GROUP: "/openai/batches", MINI: "/v1/batches"}
ACCOUNT = {GROUP: "eu", MINI: "oai"}
IDS = ["a", "fail-b", "fail-429-c", "d", "fail-429-e", "fail-f", "g", "h"]


def retry(gateway, batch_id, body=None, status=200, **headers):
    answer = gateway.post(f"/v1/batches/{batch_id}/retry", body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status == status, answer
    return answer


@pytest.fixture(params=[GROUP, MINI])
def done(request, both, sim):  # noqa: F811
    """A batch that has ended: c and e were refused for now, b and f for good, of what ran last there is no line."""
    model = request.param
    sim.switch(ACCOUNT[model], lose_every=8, seed=3)
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(IDS, model))["id"])["id"])
    return both, batch, model


def wanted_of(gateway, batch, *kinds):
    lost = ids_of(results(gateway, batch["id"], "?status=missing"))
    names = {"refused": ["fail-429-c", "fail-429-e"], "final": ["fail-b", "fail-f"], "missing": lost}
    found = [one for kind in kinds for one in names[kind] if one not in lost or kind == "missing"]
    return [one for one in IDS if one in found]


def content_of(gateway, batch):
    return content(gateway, batch["input_file_id"]).splitlines()


def content(gateway, file_id):
    return gateway.get(f"/v1/files/{file_id}/content").body


def test_what_can_be_tried_again_becomes_a_batch_of_its_own(done, sim):
    gateway, batch, model = done
    stored = {json.loads(line)["custom_id"]: line for line in content(gateway, batch["input_file_id"]).splitlines(keepends=True)}
    for body, kinds in ((None, ("refused", "missing")), ({"include": ["retryable"]}, ("refused", "missing")),
                        ({"include": ["failed"]}, ("refused", "final")), ({"include": ["missing"]}, ("missing",)),
                        ({"include": ["failed", "missing"]}, ("refused", "final", "missing"))):
        answer = retry(gateway, batch["id"], body)
        new = answer.json()
        assert answer.headers["x-tranche-retry-of"] == batch["id"] and new["id"] != batch["id"]
        assert new["metadata"] == {"retry_of": batch["id"]} and new["endpoint"] == batch["endpoint"]
        wanted = wanted_of(gateway, batch, *kinds)
        assert len(wanted) > 0
        assert content(gateway, new["input_file_id"]) == b"".join(stored[one] for one in wanted), body
    new = retry(gateway, batch["id"], {"include": ["failed"], "custom_ids": ["h", "fail-f", "fail-b"], "metadata": {"n": "1"}}).json()
    assert content(gateway, new["input_file_id"]) == b"".join(stored[one] for one in wanted_of(gateway, batch, "final"))
    assert new["metadata"] == {"n": "1", "retry_of": batch["id"]}
    # The batch that had ended is as it was, and the new one has results of its own.
    assert gateway.get(f"/v1/batches/{batch['id']}").json() == batch
    gateway.wait_batch(sim, new["id"])
    assert ids_of(results(gateway, new["id"])) == wanted_of(gateway, batch, "final")


def test_what_ended_before_it_ran_is_tried_again(both, sim):  # noqa: F811
    ids = ["x", "y", "z"]
    batch = both.created(both.uploaded(requests(ids))["id"])
    envelope(retry(both, batch["id"], status=409), 409, code="batch_not_finished")
    both.post(f"/v1/batches/{batch['id']}/cancel")
    both.wait_batch(sim, batch["id"], "cancelled")
    new = both.wait_batch(sim, retry(both, batch["id"]).json()["id"])
    assert ids_of(results(both, new["id"], "?status=ok")) == ids
    sim.switch("oai", window_s=60)
    late = both.wait_batch(sim, both.created(both.uploaded(requests(ids, MINI))["id"])["id"], "expired")
    again = retry(both, late["id"], {"include": ["expired"]}).json()
    assert [json.loads(line)["custom_id"] for line in content(both, again["input_file_id"]).splitlines()] == ids
    before = sim.created("files"), sim.created("batches")
    envelope(retry(both, new["id"], status=400), 400, code="nothing_to_retry")
    envelope(retry(both, batch["id"], {"custom_ids": ["nobody"]}, status=400), 400, code="nothing_to_retry")
    for body, param in (({"include": ["all"]}, "include"), ({"include": []}, "include"), ({"include": "failed"}, "include"),
                        ({"custom_ids": "x"}, "custom_ids"), ({"custom_ids": [1]}, "custom_ids"), ({"metadata": "m"}, "metadata")):
        envelope(retry(both, batch["id"], body, status=400), 400, param=param)
    envelope(retry(both, batch["id"], {"metadata": {str(i): "v" for i in range(15)}}, status=400), 400, param="metadata")
    envelope(retry(both, "batch_none", status=404), 404)
    assert (sim.created("files"), sim.created("batches")) == before


@pytest.mark.database
def test_an_idempotency_key_makes_the_whole_call_once(done, sim):
    gateway, batch, _ = done
    first = retry(gateway, batch["id"], idempotency_key="k-1")
    made = sim.created("files"), sim.created("batches")
    again = retry(gateway, batch["id"], idempotency_key="k-1")
    assert again.json() == first.json() and again.headers["x-tranche-retry-of"] == batch["id"]
    envelope(retry(gateway, batch["id"], {"include": ["missing"]}, status=409, idempotency_key="k-1"), 409, code="idempotency_key_reused")
    assert (sim.created("files"), sim.created("batches")) == made
    retry(gateway, batch["id"], idempotency_key="k-2")
    assert (sim.created("files"), sim.created("batches")) == (made[0] + 1, made[1] + 1)


def test_a_create_that_is_refused_leaves_no_file(done, sim):
    gateway, batch, model = done
    before = sim.created("batches")
    sim.fault({"status": 400, "body": {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "bad"}}},
              account=ACCOUNT[model], method="POST", path=BATCHES[model], times=-1)
    assert retry(gateway, batch["id"], status=400, idempotency_key="k")
    sim.wait(ACCOUNT[model], "DELETE", FILES[model] + "/*")
    assert sim.created("batches") == before
    sim.clear_faults()
    assert retry(gateway, batch["id"], idempotency_key="k").json()["metadata"]["retry_of"] == batch["id"]


def test_a_lost_answer_to_its_create_is_found_and_its_file_stays(done, sim):
    gateway, batch, model = done
    before = sim.created("batches")
    sim.fault({"close": "answer"}, account=ACCOUNT[model], method="POST", path=BATCHES[model])
    new = retry(gateway, batch["id"]).json()
    assert sim.created("batches") == before + 1
    assert gateway.get(f"/v1/files/{new['input_file_id']}").status == 200
    assert not [r for r in sim.requests(ACCOUNT[model]) if r["method"] == "DELETE"]


def test_a_lost_answer_to_its_upload_makes_no_batch(done, sim):
    gateway, batch, model = done
    before = sim.created("batches")
    sim.fault({"close": "answer"}, account=ACCOUNT[model], method="POST", path=FILES[model])
    assert gateway.post(f"/v1/batches/{batch['id']}/retry").status in (500, 502)
    assert sim.created("batches") == before


def test_where_answers_cannot_be_read_nothing_counts_as_missing(both, sim):  # noqa: F811
    output = {"account": "eu", "method": "GET", "path": "/openai/files/*/content"}
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(IDS))["id"])["id"])
    before = sim.created("files"), sim.created("batches")
    sim.fault({"status": 200, "body": "{\"custom_id\":\"a\",\n"}, **output)
    envelope(retry(both, batch["id"], status=409), 409, code="answers_unreadable")
    assert (sim.created("files"), sim.created("batches")) == before
    sim.fault({"status": 200, "body": "{\"custom_id\":\"a\",\n"}, **output)
    new = retry(both, batch["id"], {"include": ["failed"]}).json()
    assert [json.loads(line)["custom_id"] for line in content_of(both, new)] == ["fail-b", "fail-429-c", "fail-429-e", "fail-f"]


def odd_requests():
    """Each has an id that the check of uploads reads: by an escaped name, and behind more levels than most have."""
    escaped, deep, failed = requests(["escaped", "deep", "fail-429-deep"]).splitlines(keepends=True)

    def nested(line):
        return line.replace(b'"messages":', b'"metadata": ' + b'{"a":[' * 300 + b"1" + b"]}" * 300 + b', "messages":')
    return escaped.replace(b'"custom_id"', b'"custom\\u005fid"') + nested(deep) + nested(failed)


def test_whatever_form_a_line_has_it_is_not_sent_again_when_it_was_answered(both, sim):  # noqa: F811
    batch = both.wait_batch(sim, both.created(both.uploaded(odd_requests())["id"])["id"])
    assert ids_of(results(both, batch["id"])) == ["escaped", "deep", "fail-429-deep"]
    assert ids_of(results(both, batch["id"], "?status=ok")) == ["escaped", "deep"]
    new = retry(both, batch["id"]).json()
    assert [json.loads(line)["custom_id"] for line in content_of(both, new)] == ["fail-429-deep"]


def test_a_line_whose_id_cannot_be_read_is_not_sent_again(both, sim):  # noqa: F811
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(IDS))["id"])["id"])
    stored = content(both, batch["input_file_id"]).decode()
    before = sim.created("files"), sim.created("batches")
    odd = {"status": 200, "body": stored + '{"custom_id":7}\n'}
    sim.fault(odd, account="eu", method="GET", path="/openai/files/*/content", skip=2)  # behind output and errors
    envelope(retry(both, batch["id"], status=409), 409, code="answers_unreadable")
    assert (sim.created("files"), sim.created("batches")) == before
    sim.fault(odd, account="eu", method="GET", path="/openai/files/*/content", skip=2)
    assert of(results(both, batch["id"]))[-1]["error"]["code"] == "unreadable"
    sim.fault(odd, account="eu", method="GET", path="/openai/files/*/content", skip=2)
    new = retry(both, batch["id"], {"include": ["failed"]}).json()
    assert [json.loads(line)["custom_id"] for line in content_of(both, new)] == ["fail-b", "fail-429-c", "fail-429-e", "fail-f"]


def test_a_retry_has_the_rights_and_limits_of_a_create(tenants, sim):  # noqa: F811
    gateway = tenants({"lone": {"max_open_batches": 1}})
    lone = gateway.as_("lone")
    sim.switch("eu", lose_every=3)
    batch = lone.wait_batch(sim, lone.made()[1]["id"])
    running = lone.made()[1]
    before = sim.created("batches")
    envelope(retry(gateway.as_("b1"), batch["id"], status=404), 404)
    envelope(retry(lone, batch["id"], status=429), 429)
    sim.wait("eu", "DELETE", "/openai/files/*")
    assert sim.created("batches") == before
    lone.wait_batch(sim, running["id"])
    new = retry(lone, batch["id"]).json()
    assert lone.get(f"/v1/batches/{new['id']}").json()["input_file_id"] == new["input_file_id"]
    assert lone.get(f"/v1/files/{new['input_file_id']}").status == 200
    assert gateway.as_("b1").get(f"/v1/batches/{new['id']}").status == 404


def test_the_official_sdk_asks_for_it(both, sim):  # noqa: F811
    sim.switch("oai", lose_every=4)
    batch = both.wait_batch(sim, both.created(both.uploaded(requests(["a", "b", "c", "d"], MINI))["id"])["id"])
    client = openai.OpenAI(base_url=both.url + "/v1", api_key=MASTER_KEY, max_retries=0)
    new = client.post(f"/batches/{batch['id']}/retry", cast_to=openai.types.Batch)
    assert new.metadata == {"retry_of": batch["id"]} and client.batches.retrieve(new.id).id == new.id
