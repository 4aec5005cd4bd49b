"""Lists: long ones, cursors that name nothing, and providers that page badly."""

import json
import threading

import pytest
from harness import GROUP, PROVIDER_KEYS, balanced_config, envelope, http_request, lines, multipart

BODY, FORM = multipart([("purpose", "batch"), ("file", None)], lines(count=1))


def fill(sim, account, count):
    """Files made at the provider itself."""
    target, key = ("/v1/files", {"Authorization": f"Bearer {PROVIDER_KEYS[account]}"}) if account == "oai" else (
        "/openai/files?api-version=2024-10-21", {"api-key": PROVIDER_KEYS[account]})
    sim.control("POST", "/control/switches", {"account": account, "set": {"max_files": 0}})
    return [http_request(sim.ports[account], "POST", target, BODY, {**key, "Content-Type": FORM}).json()["id"]
            for _ in range(count)]


@pytest.mark.parametrize("provider,account", [("openai", "oai"), ("azure", "eu")])
def test_a_long_list_comes_whole_and_in_order(direct, sim, provider, account):
    made = fill(sim, account, 700)
    page = direct.get(f"/v1/files?provider={provider}").json()
    assert list(page) == ["object", "data", "first_id", "last_id", "has_more"] and page["has_more"] is False
    got = [f["id"] for f in page["data"]]
    assert set(got) == set(made) and len(got) == len(made)
    assert (page["first_id"], page["last_id"]) == (got[0], got[-1])
    times = [f["created_at"] for f in page["data"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("provider,account", [("openai", "oai"), ("azure", "eu")])
def test_pages_of_a_long_list_join_without_gap_or_repeat(direct, sim, provider, account):
    made, got, after = fill(sim, account, 130), [], ""
    for _ in range(20):
        page = direct.get(f"/v1/files?provider={provider}&limit=50{after}").json()
        got += [f["id"] for f in page["data"]]
        if not page["has_more"]:
            break
        after = "&after=" + page["last_id"]
    assert len(got) == len(made) and set(got) == set(made)


def test_a_client_that_leaves_in_the_middle_of_a_long_list_is_forgotten(gateway, sim):
    import socket
    from harness import MASTER_KEY
    fill(sim, "eu", 600)
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", gateway.port)) as s:
            s.sendall(f"GET /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n".encode())
            threading.Event().wait(0.002)
    assert gateway.stop() == 0 and "grace period is over" not in gateway.log


@pytest.mark.parametrize("kind,native", [("files", "file-0123456789abcdef0123456789abcdef"), ("batches", "batch_nowhere")])
def test_a_cursor_that_names_nothing_is_a_404_on_merged_lists(gateway, sim, kind, native):
    envelope(gateway.get(f"/v1/{kind}?after={native}"), 404)


def test_a_cursor_that_names_nothing_is_a_404_on_lists_that_come_whole(direct, sim):
    fill(sim, "eu", 2)
    envelope(direct.get("/v1/files?provider=azure&after=file-0123456789abcdef0123456789abcdef"), 404)


@pytest.mark.parametrize("after", ["x" * 600, "%zz", "a%00b"])
def test_a_cursor_that_cannot_be_one_is_not_taken_for_none(gateway, sim, after):
    answer = gateway.get(f"/v1/batches?after={after}")
    envelope(answer, 400, param="after")


@pytest.mark.parametrize("query", ["limit=%zz", "order=%zz", "purpose=%zz", "purpose=" + "x" * 100, "order=" + "x" * 40])
def test_a_parameter_that_cannot_be_read_is_not_taken_for_absent(gateway, sim, query):
    envelope(gateway.get(f"/v1/files?{query}"), 400, param=query.partition("=")[0])


def test_a_provider_that_ignores_the_cursor_does_not_fill_the_list_with_repeats(direct, sim):
    page = json.dumps({"object": "list", "has_more": True,
                       "data": [{"id": f"batch_{n}", "object": "batch", "created_at": 9 - n} for n in range(3)]})
    sim.fault({"status": 200, "body": page}, account="oai", method="GET", path="/v1/batches", times=1000)
    got = direct.get("/v1/batches?limit=50&provider=openai").json()
    assert [b["id"] for b in got["data"]] == ["batch_0", "batch_1", "batch_2"]


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"data":{}}', '{"data":[{}', '{"data":[1,]}', '{"data":[{"id":"a"}}', '{"data":[{"id":}]}',
                                  '{"data":[{"id":"a"}]', '{"data":[{"id":"a"}] x}', "<html>"])
def test_an_answer_that_is_no_list_is_a_bad_gateway(direct, sim, body):
    sim.fault({"status": 200, "body": body}, account="oai", method="GET", path="/v1/batches", times=10)
    envelope(direct.get("/v1/batches?provider=openai"), 502)


def test_the_largest_page_of_batches_needs_one_call(direct, sim):
    page = json.dumps({"object": "list", "has_more": True,
                       "data": [{"id": f"batch_{n}", "object": "batch", "created_at": 900 - n} for n in range(100)]})
    sim.fault({"status": 200, "body": page}, account="oai", method="GET", path="/v1/batches", times=10)
    got = direct.get("/v1/batches?limit=100&provider=openai").json()
    assert len(got["data"]) == 100 and got["has_more"] is True
    assert len([r for r in sim.requests("oai") if r["target"].startswith("/v1/batches")]) == 1
