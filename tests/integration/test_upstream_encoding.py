"""Nobody asked a provider for compression: JSON that comes compressed is an error, content is handed on as it came."""

import gzip

import pytest
from harness import balanced_config, envelope, lines

JSON_CALLS = {
    "file": ("GET", "/openai/files/*", lambda g, f, b: g.get(f"/v1/files/{f}")),
    "batch": ("GET", "/openai/batches/*", lambda g, f, b: g.get(f"/v1/batches/{b}")),
    "files": ("GET", "/openai/files", lambda g, f, b: g.get("/v1/files?limit=50")),
    "batches": ("GET", "/openai/batches", lambda g, f, b: g.get("/v1/batches?limit=50")),
    "upload": ("POST", "/openai/files", lambda g, f, b: g.upload()),
    "cancel": ("POST", "/openai/batches/*/cancel", lambda g, f, b: g.post(f"/v1/batches/{b}/cancel")),
    "delete": ("DELETE", "/openai/files/*", lambda g, f, b: g.delete(f"/v1/files/{f}")),
}


@pytest.mark.parametrize("method, path, call", JSON_CALLS.values(), ids=JSON_CALLS.keys())
def test_json_that_nobody_asked_to_compress_is_502(start, sim, method, path, call):
    gateway = start(balanced_config(sim, accounts=["eu"], router_settings={"num_retries": 0}), sim=sim)
    file = gateway.uploaded()["id"]
    batch = gateway.created(file)["id"]
    sim.fault({"gzip": True}, account="eu", method=method, path=path, times=-1)
    answer = call(gateway, file, batch)
    envelope(answer, 502)
    assert "content-encoding" not in answer.headers and b"\x1f\x8b" not in answer.body
    sim.clear_faults()
    assert gateway.get(f"/v1/batches/{batch}").status == 200


def test_a_create_whose_answer_is_compressed_is_found_and_not_repeated(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()["id"]
    sim.fault({"gzip": True}, account="eu", method="POST", path="/openai/batches", times=-1)
    batch = gateway.created(file)
    assert sim.created("batches") == 1
    sim.clear_faults()
    assert gateway.get(f"/v1/batches/{batch['id']}").json()["id"] == batch["id"]


def test_an_error_that_comes_compressed_keeps_its_status_and_shows_no_garbage(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"], router_settings={"num_retries": 0}), sim=sim)
    file = gateway.uploaded()["id"]
    sim.fault({"status": 404, "body": gzip.compress(b'{"error": {"message": "no"}}').decode("latin-1"),
               "headers": {"Content-Encoding": "gzip"}}, account="eu", method="GET", path="/openai/files/*", times=-1)
    error = envelope(gateway.get(f"/v1/files/{file}"), 404)
    assert all(c.isprintable() for c in error["message"]), error


def test_content_that_comes_compressed_is_handed_on_with_its_encoding(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    data = lines(count=2000)
    file = gateway.uploaded(data)
    plain = gateway.get(f"/v1/files/{file['id']}/content").body
    sim.fault({"gzip": True}, account="eu", method="GET", path="/openai/files/*/content", times=-1)
    answer = gateway.get(f"/v1/files/{file['id']}/content")
    assert answer.status == 200 and answer.headers["content-encoding"] == "gzip", answer.headers
    assert gzip.decompress(answer.body) == plain
    for request in sim.requests("eu"):
        assert request["headers"].get("accept-encoding", "identity") == "identity", request
