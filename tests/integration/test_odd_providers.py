"""Servers that are almost OpenAI: ids that no path can hold, answers of a million values, numbers as codes, counts that are not told."""

import json
import re

import pytest

from harness import PATIENCE, envelope, lines
from test_download_stream import openai_at
from wire import make_provider  # noqa: F401

ODD_IDS = ["file 1", "file%201", "a/b", "../batches", "..", "file\u00e9", "file?x=1", "file#1", "f\n1", ""]
FINE_IDS = ["file-abc", "file.abc", "file:abc@1", "F~1+2=3"]


class Odd:
    """A provider that answers `answers[(method, path end)]`: (status, headers, JSON or bytes)."""

    def __init__(self, make_provider, answers):
        self.answers, self.asked = answers, []
        self.provider = make_provider(self.serve)

    def serve(self, provider, sock, head):
        method, target = head.split(b" ")[:2]
        head, _, body = head.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        while len(body) < int(length.group(1) if length else 0):
            body += sock.recv(65536)
        self.asked.append((method.decode(), target.decode()))
        key = next((k for k in self.answers if k[0] == method.decode() and target.decode().split("?")[0].endswith(k[1])), None)
        status, headers, answer = self.answers[key] if key else (404, {}, {"error": {"message": "no"}})
        answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        text = "".join(f"{n}: {v}\r\n" for n, v in headers.items())
        sock.sendall(f"HTTP/1.1 {status} X\r\n{text}Content-Length: {len(answer)}\r\n\r\n".encode() + answer)


@pytest.fixture
def odd(make_provider, start):
    """odd(answers) -> (gateway, provider)"""
    def make(answers, **sections):
        provider = Odd(make_provider, answers)
        return start(openai_at(provider.provider, **sections), workers=1), provider

    return make


def file_of(name):
    return {"id": name, "object": "file", "bytes": 5, "created_at": 1, "filename": "x.jsonl", "purpose": "batch", "status": "processed"}


def batch_of(name="batch_1", **more):
    return {"id": name, "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h",
            "created_at": 1, "status": "in_progress", **more}


@pytest.mark.parametrize("name", ODD_IDS)
def test_an_upload_is_not_answered_with_an_id_that_every_later_call_refuses(odd, name):
    gateway, provider = odd({("POST", "/files"): (200, {}, file_of(name))})
    answer = gateway.upload(lines("gpt-4o"))
    envelope(answer, 502)
    error = answer.json()["error"]
    assert error["code"] == "unusable_id" and f'"{name}"' in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert len([a for a in provider.asked if a[0] == "POST"]) == 1


@pytest.mark.parametrize("name", FINE_IDS)
def test_an_id_that_is_answered_can_be_asked_for(odd, name):
    path = "/files/" + re.sub(r"[:@+=]", lambda m: "%%%02X" % ord(m[0]), name)
    gateway, provider = odd({("POST", "/files"): (200, {}, file_of(name)), ("GET", path): (200, {}, file_of(name))})
    assert gateway.upload(lines("gpt-4o")).json()["id"] == name
    assert gateway.get(f"/v1/files/{name}").json()["id"] == name


@pytest.mark.parametrize("name", ODD_IDS[:4])
def test_a_batch_with_an_id_that_no_call_can_name_is_told_and_not_to_be_made_again(odd, name):
    gateway, provider = odd({("POST", "/batches"): (200, {}, batch_of(name))})
    answer = gateway.create("file-1")
    envelope(answer, 502)
    error = answer.json()["error"]
    assert error["code"] == "unusable_id" and f'"{name}"' in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert len([a for a in provider.asked if a[0] == "POST"]) == 1


@pytest.mark.parametrize("counts", [{}, {"request_counts": None}])
def test_counts_that_a_provider_does_not_tell_are_null_on_a_batch_that_ran(odd, counts):
    gateway, _ = odd({("GET", "/batches/batch_1"): (200, {}, batch_of(status="completed", **counts)),
                      ("GET", "/batches/batch_2"): (200, {}, batch_of("batch_2", status="validating", **counts))})
    assert gateway.get("/v1/batches/batch_1").json()["request_counts"] is None
    assert gateway.get("/v1/batches/batch_2").json()["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


def test_empty_metadata_of_a_provider_is_kept(odd):
    gateway, _ = odd({("GET", "/batches/batch_1"): (200, {}, batch_of(metadata={}))})
    assert gateway.get("/v1/batches/batch_1").json()["metadata"] == {}


def test_a_number_as_code_and_the_methods_allowed_are_kept(odd):
    error = {"message": "m", "type": "BadRequestError", "param": None, "code": 400}
    gateway, _ = odd({("GET", "/batches/batch_1"): (400, {}, {"error": error}),
                      ("POST", "/batches/batch_1/cancel"): (405, {"Allow": "GET, DELETE"}, {"detail": "Method Not Allowed"})})
    answer = gateway.get("/v1/batches/batch_1")
    assert answer.status == 400 and answer.json()["error"]["code"] == 400
    answer = gateway.post("/v1/batches/batch_1/cancel")
    envelope(answer, 405)
    assert answer.headers["allow"] == "GET, DELETE"


MOST = 256 << 10  # bytes of an answer that is read whole: attempt.c
HUGE = {
    "values": b'{"id":"batch_1","x":[' + b"1," * (MOST // 2 - 20) + b"1]}",
    "objects": b'{"id":"batch_1","x":[' + b"{}," * (MOST // 3 - 20) + b"1]}",
    "members": b'{"id":"batch_1",' + b",".join(b'"%x":0' % n for n in range(25_000)) + b"}",
    "depth": b'{"id":"batch_1","x":' + b"[" * 125_000 + b"]" * 125_000 + b"}",
    "bytes": b'{"id":"batch_1","x":"' + b"x" * MOST + b'"}',
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE)
def test_an_answer_of_a_hundred_thousand_values_is_a_bad_gateway_and_stops_nobody(odd, body):
    """Reading stops at the first value or byte too many, so that one such answer costs about what an ordinary one does."""
    gateway, _ = odd({("GET", "/batches/batch_1"): (200, {}, body)})
    envelope(gateway.get("/v1/batches/batch_1"), 502)
    assert gateway.get("/health/liveliness", timeout=PATIENCE).status == 200


def test_a_batch_with_more_errors_than_any_provider_lists_is_still_shown(odd):
    """Seven times the largest batch that is known."""
    errors = [{"code": "invalid_json_line", "line": n, "message": "This line is not parseable as valid JSON.", "param": None}
              for n in range(1, 2001)]
    batch = {"id": "batch_1", "object": "batch", "status": "failed", "errors": {"object": "list", "data": errors}}
    assert len(json.dumps(batch)) < MOST
    gateway, _ = odd({("GET", "/batches/batch_1"): (200, {}, batch)})
    answer = gateway.get("/v1/batches/batch_1")
    assert answer.status == 200 and answer.json()["errors"]["data"] == errors
