"""A batch costs money: whatever happens to an answer, what the client asked for once is never made twice."""

import threading

import pytest
from harness import balanced_config, envelope, lines

LOST = {"closed": {"close": "answer"}, "reset": {"reset": "answer"}, "truncated_head": {"truncate": 0},
        "truncated_body": {"truncate": 30}, "not_json": {"not_json": True}}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST.keys())
def test_a_create_whose_answer_is_lost_is_never_doubled(gateway, sim, fault):
    file = gateway.uploaded()
    sim.fault(fault, method="POST", path="/openai/batches*", times=1)
    answer = gateway.create(file["id"])
    assert sim.created("batches") == 1
    if answer.status == 200:  # found again by what we left in it
        assert answer.json()["id"] in [b["id"] for b in gateway.get("/v1/batches").json()["data"]]
    else:
        envelope(answer, 502)
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("phase", ["accept", "head", "body"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_create_that_was_cut_off_before_it_ran_is_made_once_at_most(gateway, sim, how, phase):
    file = gateway.uploaded()
    sim.fault({how: phase}, method="POST", path="/openai/batches*", times=1)
    answer = gateway.create(file["id"])
    assert answer.status in (200, 502), answer
    assert sim.created("batches") == (1 if answer.status == 200 else 0)


def test_the_second_request_on_a_kept_connection_is_not_repeated_silently(start, sim):
    """libcurl repeats what it sent on a connection that dies unanswered; creates must not ride such a connection."""
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim, workers=1)
    file = gateway.uploaded()
    gateway.created(file["id"])  # warm connections
    for n in range(4):
        gateway.get("/v1/batches")
        sim.fault({"close": "answer"}, account="eu", method="POST", path="/openai/batches*", times=1)
        answer = gateway.create(file["id"])
        assert sim.created("batches") == n + 2, answer


def test_an_upload_whose_answer_is_lost_is_an_error_or_was_sent_once_more(gateway, sim):
    sim.fault({"close": "answer"}, method="POST", path="/openai/files*", times=1)
    answer = gateway.upload()
    if answer.status != 200:
        envelope(answer, 502)
    assert sim.created("files") == (2 if answer.status == 200 else 1)


def test_a_client_that_leaves_does_not_make_a_second_batch(gateway, sim):
    import socket
    file = gateway.uploaded()
    sim.fault({"hang": "answer", "ms": 300}, method="POST", path="/openai/batches*", times=1)
    body = ('{"input_file_id":"%s","endpoint":"/v1/chat/completions","completion_window":"24h"}' % file["id"]).encode()
    with socket.create_connection(("127.0.0.1", gateway.port)) as s:
        s.sendall(b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-master-1234\r\n"
                  b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        (account,) = [a for a in ("eu", "us", "sw") if sim.ledger(a)["files"]]
        sim.wait(account, "POST", "/openai/batches*", phase="received")
    sim.wait(account, "POST", "/openai/batches*", phase="answered")
    assert sim.created("batches") == 1
    assert len(gateway.get("/v1/batches").json()["data"]) == 1


def test_a_throttled_create_is_made_once(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 429, "headers": {"retry-after-ms": "10"}, "body": {"error": {"code": "429", "message": "slow"}}},
              account="eu", method="POST", path="/openai/batches*", times=1)
    first = gateway.create(file["id"])
    if first.status != 200:
        envelope(first, 429)
        gateway.created(file["id"])
    assert sim.created("batches") == 1


def test_many_creates_at_once_are_each_made_once(gateway, sim):
    file = gateway.uploaded()
    got = []

    def create():
        got.append(gateway.create(file["id"]))

    threads = [threading.Thread(target=create) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a.status for a in got] == [200] * 16
    assert len({a.json()["id"] for a in got}) == 16 == sim.created("batches")
