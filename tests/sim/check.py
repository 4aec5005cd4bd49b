#!/usr/bin/env python3
"""Runs tranche-sim and checks it against providers statements 1 to 72, one by one.

usage: check.py [path of tranche-sim] [word in the names of the checks]

Standard library only. Ends with `N passed, N failed`, exit status 1 when something failed.
"""

import gzip
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from urllib.parse import quote, urlencode

ROOT = pathlib.Path(__file__).resolve().parents[2]
DAY = 86_400_000
V21 = "2024-10-21"
V25 = "2025-04-01-preview"
CHAT = "/v1/chat/completions"

CONFIG = {
    "control_port": 0,
    "time": {"validate_ms": 1000, "run_ms": 10000, "finalize_ms": 500, "cancel_ms": 1000, "pending_ms": 0},
    "accounts": [
        {"name": "oai", "kind": "openai", "port": 0, "key": "sk-sim", "organization": "org-x",
         "models": ["m1", "m2"], "enqueued_token_limit": 100000},
        {"name": "az", "kind": "azure", "port": 0, "key": "azure-key", "tokens": ["static-token"], "deployments": [
            {"name": "fast", "model": "gpt-4o", "sku": "GlobalBatch", "enqueued_token_limit": 100000, "refusal": "fast"},
            {"name": "slow", "model": "gpt-4o", "sku": "DataZoneBatch", "enqueued_token_limit": 100000, "refusal": "slow"},
            {"name": "online", "model": "gpt-4o", "sku": "Standard"}]},
        {"name": "entra", "kind": "entra", "port": 0, "client_id": "app", "client_secret": "s3cret"},
    ],
}


def find_program():
    build = pathlib.Path(os.environ.get("TRANCHE_BUILD_DIR", ROOT / "build" / "dev"))
    return str(build / "tests" / "sim" / "tranche-sim")


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:400]!r}>"


def request(port, method, target, body=None, headers=None, chunked=False):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        c.request(method, target, body, headers or {}, encode_chunked=chunked)
        r = c.getresponse()
        return Answer(r, r.read())
    finally:
        c.close()


def multipart(parts, boundary="xxBOUNDARYxx"):
    out = []
    for headers, content in parts:
        out.append(f"--{boundary}\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in headers).encode() + b"\r\n" + content + b"\r\n")
    return b"".join(out) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def text_part(name, value):
    return [("Content-Disposition", f'form-data; name="{name}"')], value.encode()


def file_part(content, filename="in.jsonl", ctype="application/octet-stream", extra=()):
    headers = [("Content-Disposition", f'form-data; name="file"; filename="{filename}"')]
    if ctype:
        headers.append(("Content-Type", ctype))
    return headers + list(extra), content


def line(custom_id, model="m1", url=CHAT, method="POST", **more):
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": {"model": model, "messages": []}, **more})


def jsonl(*lines):
    return ("\n".join(lines) + "\n").encode()


class Sim:
    def __init__(self, program, config):
        self.dir = tempfile.mkdtemp(prefix="check-sim-")
        path = os.path.join(self.dir, "sim.json")
        pathlib.Path(path).write_text(json.dumps(config))
        self.process = subprocess.Popen([program, "--config", path], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": self.dir})
        ready = json.loads(self.process.stdout.readline())
        self.control_port, self.ports = ready["control"], ready["accounts"]
        self.path = path

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        os.unlink(self.path)
        left = os.listdir(self.dir)
        os.rmdir(self.dir) if not left else None
        return status, left

    def control(self, method, target, body=None):
        return request(self.control_port, method, "/control/" + target, body)

    def reset(self):
        assert self.control("POST", "reset").status == 200

    def switch(self, account, time=None, **set):
        a = self.control("POST", "switches", {"account": account, "set": set, **({"time": time} if time else {})})
        assert a.status == 200, a

    def fault(self, action, **match):
        a = self.control("POST", "faults", {**match, "action": action})
        assert a.status == 200, a

    def advance(self, ms):
        assert self.control("POST", "time", {"advance_ms": ms}).status == 200

    def ledger(self, account):
        return self.control("GET", "ledger").json()["accounts"][account]

    def requests(self, account):
        return self.control("GET", f"requests?account={account}").json()


class Openai:
    """An OpenAI client as small as can be."""
    base, account, model = "/v1", "oai", "m1"

    def __init__(self, sim):
        self.sim = sim
        self.auth = {"Authorization": "Bearer sk-sim"}

    def call(self, method, path, body=None, headers=None, query=None, chunked=False):
        target = self.base + path
        q = {**self.query(), **(query or {})}
        if q:
            target += "?" + urlencode(q)
        return request(self.sim.ports[self.account], method, target, body, {**self.auth, **(headers or {})}, chunked)

    def query(self):
        return {}

    def post_parts(self, parts, chunked=False, headers=None):
        body, ctype = multipart(parts)
        headers = {"Content-Type": ctype, **(headers or {})}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = iter([body[i:i + 7] for i in range(0, len(body), 7)])
        return self.call("POST", "/files", body, headers, chunked=chunked)

    def upload(self, content=None, purpose="batch", filename="in.jsonl", fields=(), **kw):
        content = jsonl(line("a", self.model)) if content is None else content
        return self.post_parts([text_part("purpose", purpose), *[text_part(*f) for f in fields], file_part(content, filename)], **kw)

    def uploaded(self, *args, **kw):
        a = self.upload(*args, **kw)
        assert a.status in (200, 201), a
        return a.json()

    def create(self, file_id, **more):
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}
        return self.call("POST", "/batches", {k: v for k, v in body.items() if v is not ...})

    def created(self, content=None, **more):
        a = self.create(self.uploaded(content)["id"], **more)
        assert a.status in (200, 201), a
        return a.json()

    def batch(self, b):
        return self.call("GET", f"/batches/{b['id']}").json()

    def finished(self, content=None, **more):
        b = self.created(content, **more)
        self.sim.advance(20000)
        return self.batch(b)

    def content(self, file_id):
        a = self.call("GET", f"/files/{file_id}/content")
        assert a.status == 200, a
        return a.body

    def lines(self, file_id):
        return [json.loads(x) for x in self.content(file_id).splitlines()]


class Azure(Openai):
    account, model = "az", "fast"

    def __init__(self, sim, version=V21, v1=False):
        super().__init__(sim)
        self.auth = {"api-key": "azure-key"}
        self.version = version
        self.base = "/openai/v1" if v1 else "/openai"

    def query(self):
        return {"api-version": self.version} if self.version else {}


def is_error(a, status, code=..., param=..., part=None):
    assert a.status == status, a
    e = a.json()["error"]
    assert set(e) >= {"message", "type", "param", "code"}, e
    assert code is ... or e["code"] == code, e
    assert param is ... or e["param"] == param, e
    assert part is None or part in e["message"], e


def is_azure_error(a, status, code, part=None):
    assert a.status == status, a
    e = a.json()["error"]
    assert set(e) == {"code", "message"} and e["code"] == code, e
    assert part is None or part in e["message"], e


CHECKS = []


def check(f):
    CHECKS.append(f)
    return f


# ---- 5.1 OpenAI: files

@check
def s01_an_upload_is_200_and_processed(sim, o):
    a = o.upload()
    f = a.json()
    assert a.status == 200 and f["status"] == "processed" and f["object"] == "file", a
    assert list(f) == ["id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details"]


@check
def s02_batch_files_expire_after_30_days_and_others_never(sim, o):
    f = o.uploaded()
    assert f["expires_at"] == f["created_at"] + 2592000
    assert o.uploaded(purpose="assistants")["expires_at"] is None


@check
def s03_expires_after_sets_the_expiry_within_its_range(sim, o):
    def expiry(seconds, anchor="created_at"):
        return o.upload(fields=[("expires_after[anchor]", anchor), ("expires_after[seconds]", str(seconds))])
    f = expiry(3600).json()
    assert f["expires_at"] == f["created_at"] + 3600
    assert expiry(2592000).status == 200
    for bad in (3599, 2592001, -1, "x"):
        is_error(expiry(bad), 400)
    is_error(expiry(3600, "now"), 400)


@check
def s04_a_batch_file_must_be_named_jsonl(sim, o):
    is_error(o.upload(filename="in.txt"), 400, None, part="Invalid file format for Batch API. Must be .jsonl")
    assert o.upload(filename="in.txt", purpose="user_data").status == 200


@check
def s05_a_batch_file_above_the_limit_is_too_large(sim, o):
    sim.switch("oai", max_file_bytes=1000)
    is_error(o.upload(b"x" * 1001), 400, None, part="File is too large.")
    assert o.upload(b"x" * 1000).status == 200


@check
def s06_missing_parts_and_unknown_purposes_name_the_parameter(sim, o):
    is_error(o.post_parts([file_part(b"x")]), 400, param="purpose")
    is_error(o.post_parts([text_part("purpose", "batch")]), 400, param="file")
    is_error(o.upload(purpose="cooking"), 400, param="purpose")


@check
def s07_malformed_lines_are_accepted_at_upload(sim, o):
    assert o.upload(b"{not json\n\xff\xfe\n").status == 200


@check
def s08_parts_come_in_any_order_and_framing_with_bytes_kept(sim, o):
    content = b"a\r\nb\n--xxBOUNDARYx\r\n\r\n\x00\xff-- end"
    for parts in ([text_part("purpose", "batch"), file_part(content)], [file_part(content), text_part("purpose", "batch")],
                  [text_part("custom_llm_provider", "x"), file_part(content), text_part("purpose", "batch"), text_part("z", "")]):
        for chunked in (False, True):
            a = o.post_parts(parts, chunked)
            assert a.status == 200, a
            assert o.content(a.json()["id"]) == content
    big = bytes(range(256)) * 3000
    assert o.content(o.uploaded(big)["id"]) == big
    assert o.content(o.post_parts([file_part(b""), text_part("purpose", "batch")]).json()["id"]) == b""


@check
def s09_bytes_are_exact_and_the_filename_is_the_base_name(sim, o):
    f = o.uploaded(b"12345\n6", filename="some/dir/nightly.jsonl")
    assert f["bytes"] == 7 and f["filename"] == "nightly.jsonl", f


@check
def s10_the_file_list_is_newest_first_and_honours_its_query(sim, o):
    ids = []
    for n in range(5):
        ids.append(o.uploaded(purpose="batch" if n % 2 == 0 else "user_data")["id"])
        sim.advance(1000)
    page = o.call("GET", "/files").json()
    assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
    assert [f["id"] for f in page["data"]] == ids[::-1] and page["has_more"] is False
    page = o.call("GET", "/files", query={"limit": 2}).json()
    assert [f["id"] for f in page["data"]] == [ids[4], ids[3]] and page["has_more"] is True
    assert page["first_id"] == ids[4] and page["last_id"] == ids[3]
    page = o.call("GET", "/files", query={"limit": 3, "after": ids[3]}).json()
    assert [f["id"] for f in page["data"]] == [ids[2], ids[1], ids[0]] and page["has_more"] is False
    page = o.call("GET", "/files", query={"order": "asc", "purpose": "user_data"}).json()
    assert [f["id"] for f in page["data"]] == [ids[1], ids[3]]


@check
def s11_an_empty_list_has_null_ids(sim, o):
    assert o.call("GET", "/files").json() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@check
def s12_an_unknown_file_is_404_in_the_envelope(sim, o):
    is_error(o.call("GET", "/files/file-nope"), 404, param="id", part="No such File object: file-nope")


@check
def s13_a_deleted_file_is_gone(sim, o):
    f = o.uploaded()
    a = o.call("DELETE", f"/files/{f['id']}")
    assert a.status == 200 and a.json() == {"id": f["id"], "object": "file", "deleted": True}
    is_error(o.call("DELETE", f"/files/{f['id']}"), 404)
    is_error(o.call("GET", f"/files/{f['id']}/content"), 404)
    entry = sim.ledger("oai")["files"][0]
    assert entry["deleted"] and entry["sha256"] == hashlib.sha256(jsonl(line("a"))).hexdigest()


@check
def s14_content_is_the_identical_bytes(sim, o):
    f = o.uploaded(b"x\r\ny\n")
    a = o.call("GET", f"/files/{f['id']}/content", headers={"Accept-Encoding": "gzip", "Accept": "application/binary"})
    assert a.status == 200 and a.body == b"x\r\ny\n" and a.headers["content-length"] == "5"
    assert a.headers["content-type"] == "application/octet-stream" and "content-encoding" not in a.headers
    assert a.headers["content-disposition"] == 'attachment; filename="in.jsonl"'


@check
def s15_an_expired_file_is_404(sim, o):
    f = o.uploaded(fields=[("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600")])
    sim.advance(3590_000)
    assert o.call("GET", f"/files/{f['id']}").status == 200
    sim.advance(20_000)
    is_error(o.call("GET", f"/files/{f['id']}"), 404)
    assert o.call("GET", "/files").json()["data"] == []


# ---- 5.2 OpenAI: batches

@check
def s16_a_new_batch_is_validating(sim, o):
    b = o.created()
    assert b["status"] == "validating" and b["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert b["output_file_id"] is None and b["error_file_id"] is None and b["expires_at"] == b["created_at"] + 86400
    sim.switch("oai", expires_at_early=False)
    assert o.batch(b)["expires_at"] is None


@check
def s17_each_missing_field_is_named(sim, o):
    f = o.uploaded()["id"]
    for field in ("input_file_id", "endpoint", "completion_window"):
        is_error(o.create(f, **{field: ...}), 400, "missing_required_parameter", field, f"Missing required parameter: '{field}'.")


@check
def s18_window_and_endpoint_are_checked(sim, o):
    f = o.uploaded()["id"]
    is_error(o.create(f, completion_window="1h"), 400, "invalid_value", "completion_window")
    is_error(o.create(f, endpoint="/v1/cooking"), 400, "invalid_value", "endpoint")
    sim.switch("oai", endpoints=["/v1/cooking"])
    assert o.create(f, endpoint="/v1/cooking").status == 200
    is_error(o.create(f), 400, "invalid_value", "endpoint")


@check
def s19_metadata_is_checked(sim, o):
    f = o.uploaded()["id"]
    is_error(o.create(f, metadata="x"), 400, "invalid_type", "metadata", "expected an object, but got a string instead.")
    is_error(o.create(f, metadata={"k": 1}), 400, "invalid_type", "metadata.k")
    is_error(o.create(f, metadata={str(n): "v" for n in range(17)}), 400, "object_above_max_properties", "metadata")
    is_error(o.create(f, metadata={"k" * 65: "v"}), 400)
    is_error(o.create(f, metadata={"k": "v" * 513}), 400)
    most = {"k" * 62 + f"{n:02}": "v" * 512 for n in range(16)}
    assert o.create(f, metadata=most).json()["metadata"] == most
    assert o.create(f, metadata=None).json()["metadata"] is None


@check
def s20_an_unknown_input_file_is_refused(sim, o):
    is_error(o.create("file-nope"), 404, part="No such File object")
    sim.switch("oai", unknown_file_status=400)
    is_error(o.create("file-nope"), 400, param="file_id", part="Cannot find file ID file-nope")
    is_error(o.create(o.uploaded(purpose="assistants")["id"]), 400, param="input_file_id")


@check
def s21_all_keys_are_there_in_order(sim, o):
    sim.switch("oai", recent=False)
    keys = ["id", "object", "endpoint", "errors", "input_file_id", "completion_window", "status", "output_file_id",
            "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
            "expired_at", "cancelling_at", "cancelled_at", "request_counts", "metadata"]
    b = o.created()
    assert list(b) == keys
    sim.advance(20000)
    assert list(o.batch(b)) == keys


@check
def s22_transitions_follow_the_machine_and_times_stay(sim, o):
    b = o.created()
    t = b["created_at"]
    seen, times = ["validating"], {}
    for _ in range(130):
        sim.advance(100)
        b = o.batch(b)
        if b["status"] != seen[-1]:
            seen.append(b["status"])
        for key in ("in_progress_at", "finalizing_at", "completed_at"):
            if key in times:
                assert b[key] == times[key]
            if b[key] is not None:
                times[key] = b[key]
    assert seen == ["validating", "in_progress", "finalizing", "completed"], seen
    assert t <= times["in_progress_at"] <= times["finalizing_at"] <= times["completed_at"]


@check
def s23_a_broken_line_fails_the_batch_later(sim, o):
    b = o.created(jsonl(line("a"), "{broken", line("c")))
    assert b["status"] == "validating"
    sim.advance(2000)
    b = o.batch(b)
    assert b["status"] == "failed" and b["failed_at"] and b["output_file_id"] is None and b["error_file_id"] is None
    assert b["errors"]["object"] == "list" and b["request_counts"]["total"] == 0
    e = b["errors"]["data"][0]
    assert e == {"code": "invalid_json_line", "message": "This line is not parseable as valid JSON.", "param": None, "line": 2}


@check
def s24_each_kind_of_bad_input_has_its_own_code(sim, o):
    def code(*lines, content=None):
        b = o.finished(content if content is not None else jsonl(*lines))
        assert b["status"] == "failed", b
        return b["errors"]["data"][0]["code"]
    codes = [code(line("a"), line("a")), code(line("a", url="/v1/embeddings")), code(line("a", method="GET")),
             code(line("a"), line("b", model="m2")), code(content=b""), code(line("a", model="unknown")),
             code(json.dumps({"custom_id": "a", "url": CHAT, "body": {}}))]
    sim.switch("oai", max_lines=2)
    codes.append(code(line("a"), line("b"), line("c")))
    assert len(set(codes)) == len(codes), codes
    sim.switch("oai", max_lines=50_000)
    embed = [json.dumps({"custom_id": str(n), "method": "POST", "url": "/v1/embeddings", "body": {"model": "m1", "input": ["x"] * 2048}})
             for n in range(25)]
    def embedded(*rows):
        b = o.created(jsonl(*rows), endpoint="/v1/embeddings")
        sim.advance(2000)
        return o.batch(b)
    assert embedded(*embed)["errors"]["data"][0]["code"] == "too_many_embedding_inputs"
    assert embedded(*embed[:24])["status"] != "failed"
    moderated = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/moderations", "body": {"input": "x"}})
    b = o.created(jsonl(moderated), endpoint="/v1/moderations")
    sim.advance(2000)
    assert o.batch(b)["status"] != "failed", "moderations need no model"
    assert codes[0] == "duplicate_custom_id" and codes[3] == "mismatched_model" and codes[4] == "empty_file"


@check
def s25_too_many_enqueued_tokens_fail_the_batch(sim, o):
    big = jsonl(*[line(f"r{n}", pad="x" * 900) for n in range(250)])
    first, second = o.created(big), o.created(big)
    sim.advance(2000)
    assert o.batch(first)["status"] == "in_progress"
    b = o.batch(second)
    e = b["errors"]["data"][0]
    assert b["status"] == "failed" and e["code"] == "token_limit_exceeded" and e["line"] is None and e["param"] is None
    assert "Enqueued token limit reached for m1 in organization org-x. Limit: 100000 enqueued tokens." in e["message"]
    sim.advance(20000)
    assert o.finished(big)["status"] == "completed"


@check
def s26_a_clean_batch_has_no_error_file(sim, o):
    b = o.finished()
    assert b["status"] == "completed" and b["error_file_id"] is None and b["output_file_id"], b


@check
def s27_a_batch_whose_requests_all_fail_is_completed(sim, o):
    b = o.finished(jsonl(line("fail-1"), line("fail-2")))
    assert b["status"] == "completed" and b["output_file_id"] is None and b["error_file_id"]
    assert b["request_counts"] == {"total": 2, "completed": 0, "failed": 2}


@check
def s28_a_mixed_batch_has_both_files(sim, o):
    b = o.finished(jsonl(line("a"), line("fail-2"), line("c")))
    assert b["output_file_id"] and b["error_file_id"] and b["request_counts"] == {"total": 3, "completed": 2, "failed": 1}


@check
def s29_every_custom_id_appears_once(sim, o):
    ids = [f"{'fail-' if n % 3 == 0 else ''}é\"\\{n}" for n in range(60)]
    b = o.finished(jsonl(*[line(i) for i in ids]))
    out, err = o.lines(b["output_file_id"]), o.lines(b["error_file_id"])
    assert all(list(x) == ["id", "custom_id", "response", "error"] for x in out + err)
    assert sorted(x["custom_id"] for x in out + err) == sorted(ids)
    assert all(x["id"].startswith("batch_req_") and len(x["id"]) == 42 for x in out)
    assert all(x["response"]["status_code"] == 200 and x["response"]["body"]["object"] == "chat.completion" for x in out)


@check
def s30_output_is_shuffled_by_a_switch(sim, o):
    ids = [f"r{n}" for n in range(50)]
    def order():
        return [x["custom_id"] for x in o.lines(o.finished(jsonl(*[line(i) for i in ids]))["output_file_id"])]
    assert order() != ids
    sim.switch("oai", shuffle=False)
    assert order() == ids


@check
def s31_a_model_error_is_a_line_of_the_error_file(sim, o):
    b = o.finished(jsonl(line("fail-x"), line("fail-429-y")))
    lines = {x["custom_id"]: x for x in o.lines(b["error_file_id"])}
    x = lines["fail-x"]
    assert x["error"] is None and x["response"]["status_code"] == 400
    assert set(x["response"]["body"]["error"]) == {"message", "type", "param", "code"}
    assert lines["fail-429-y"]["response"]["status_code"] == 429


@check
def s32_unexecuted_requests_are_lines_with_a_code(sim, o):
    b = o.created(jsonl(*[line(f"r{n}") for n in range(10)]))
    sim.advance(6000)
    o.call("POST", f"/batches/{b['id']}/cancel")
    sim.advance(2000)
    b = o.batch(b)
    cut = [x for x in o.lines(b["error_file_id"]) if x["response"] is None]
    assert cut and all(x["error"]["code"] == "batch_cancelled" for x in cut)


@check
def s33_result_files_end_with_a_newline(sim, o):
    b = o.finished(jsonl(line("a"), line("fail-b")))
    assert o.content(b["output_file_id"]).endswith(b"}\n") and o.content(b["error_file_id"]).endswith(b"}\n")


@check
def s34_a_cancel_keeps_what_is_done(sim, o):
    b = o.created(jsonl(*[line(f"r{n}") for n in range(8)]))
    sim.advance(1000 + 5200)
    a = o.call("POST", f"/batches/{b['id']}/cancel")
    assert a.status == 200 and a.json()["status"] == "cancelling" and a.json()["cancelling_at"], a
    sim.advance(2000)
    b = o.batch(b)
    assert b["status"] == "cancelled" and b["cancelled_at"] and b["output_file_id"] and b["error_file_id"]
    c = b["request_counts"]
    assert c["total"] == 8 and 0 < c["completed"] < 8 and c["failed"] == 0, c
    assert len(o.lines(b["output_file_id"])) == c["completed"] and len(o.lines(b["error_file_id"])) == 8 - c["completed"]
    early = o.created()
    assert o.call("POST", f"/batches/{early['id']}/cancel").json()["status"] == "cancelling"


@check
def s35_a_second_cancel_is_200_and_a_late_one_409(sim, o):
    b = o.created()
    o.call("POST", f"/batches/{b['id']}/cancel")
    sim.advance(2000)
    a = o.call("POST", f"/batches/{b['id']}/cancel")
    assert a.status == 200 and a.json() == o.batch(b) and a.json()["status"] == "cancelled"
    done = o.finished()
    is_error(o.call("POST", f"/batches/{done['id']}/cancel"), 409, part="Cannot cancel a batch with status 'completed'.")
    sim.switch("oai", cancel_finished_status=200, cancel_cancelled_status=409)
    assert o.call("POST", f"/batches/{done['id']}/cancel").status == 200
    is_error(o.call("POST", f"/batches/{b['id']}/cancel"), 409)


@check
def s36_an_expired_batch_keeps_finished_results(sim, o):
    sim.switch("oai", time={"run_ms": 2 * DAY})
    b = o.created(jsonl(*[line(f"r{n}") for n in range(10)]))
    sim.advance(DAY + 1000)
    b = o.batch(b)
    assert b["status"] == "expired" and b["expired_at"] == b["expires_at"], b
    c = b["request_counts"]["completed"]
    assert 0 < c < 10 and len(o.lines(b["output_file_id"])) == c
    assert all(x["error"]["code"] == "batch_expired" for x in o.lines(b["error_file_id"]))


@check
def s37_the_batch_list_pages_exactly(sim, o):
    f = o.uploaded()["id"]
    ids = []
    for _ in range(25):
        ids.insert(0, o.create(f).json()["id"])
    page = o.call("GET", "/batches").json()
    assert [b["id"] for b in page["data"]] == ids[:20] and page["has_more"] is True and page["last_id"] == ids[19]
    page = o.call("GET", "/batches", query={"after": ids[19], "limit": 5}).json()
    assert [b["id"] for b in page["data"]] == ids[20:] and page["has_more"] is False and page["first_id"] == ids[20]
    page = o.call("GET", "/batches", query={"limit": 0})
    assert page.status == 200 and page.json()["data"] == []
    is_error(o.call("GET", "/batches", query={"limit": 101}), 400, "integer_above_max_value", "limit", "Expected a value <= 100, but got 101 instead.")
    is_error(o.call("GET", "/batches", query={"limit": -1}), 400, "integer_below_min_value", "limit")
    is_error(o.call("GET", "/batches", query={"after": "batch_x"}), 404)
    sim.switch("oai", unknown_after="empty")
    assert o.call("GET", "/batches", query={"after": "batch_x"}).json()["data"] == []


@check
def s38_model_and_usage_only_on_recent_batches(sim, o):
    b = o.finished()
    assert b["model"] == "m1" and b["usage"]["total_tokens"] == b["usage"]["input_tokens"] + b["usage"]["output_tokens"] > 0
    sim.switch("oai", recent=False)
    assert not {"model", "usage"} & set(o.batch(b))


@check
def s39_result_files_are_named_and_expire(sim, o):
    b = o.finished(jsonl(line("a"), line("fail-b")), output_expires_after={"anchor": "created_at", "seconds": 3600})
    out = o.call("GET", f"/files/{b['output_file_id']}").json()
    err = o.call("GET", f"/files/{b['error_file_id']}").json()
    assert out["purpose"] == err["purpose"] == "batch_output" and out["expires_at"] == out["created_at"] + 3600
    assert out["filename"] == f"{b['id']}_output.jsonl" and err["filename"] == f"{b['id']}_error.jsonl"
    listed = o.call("GET", "/files", query={"purpose": "batch_output"}).json()["data"]
    assert {f["id"] for f in listed} == {out["id"], err["id"]}
    is_error(o.create(o.uploaded()["id"], output_expires_after={"anchor": "created_at", "seconds": 60}), 400)


@check
def s40_every_answer_has_openais_headers(sim, o):
    for a in (o.call("GET", "/files"), o.call("GET", "/files/x"), o.call("GET", "/nowhere"), o.call("GET", "/files", headers={"Authorization": "x"})):
        assert a.headers["x-request-id"].startswith("req_") and len(a.headers["x-request-id"]) == 36
        assert a.headers["openai-version"] == "2020-10-01" and a.headers["openai-organization"] == "org-x" and a.headers["openai-processing-ms"]


@check
def s41_json_is_compressed_when_accepted(sim, o):
    f = o.uploaded()
    a = o.call("GET", f"/files/{f['id']}", headers={"Accept-Encoding": "gzip, deflate"})
    assert a.headers["content-encoding"] == "gzip" and json.loads(gzip.decompress(a.body))["id"] == f["id"]
    sim.switch("oai", gzip=False)
    assert "content-encoding" not in o.call("GET", "/files", headers={"Accept-Encoding": "gzip"}).headers


@check
def s42_a_wrong_key_is_401(sim, o):
    is_error(o.call("GET", "/files", headers={"Authorization": "Bearer sk-wrong"}), 401, "invalid_api_key", None, "Incorrect API key provided:")
    assert request(sim.ports["oai"], "GET", "/v1/files").status == 401


@check
def s43_faults_are_scripted_per_route(sim, o):
    f = o.uploaded()["id"]
    match = {"account": "oai", "method": "GET", "path": "/v1/files/*"}
    sim.fault({"status": 429, "headers": {"retry-after": "3"}}, **match)
    a = o.call("GET", f"/files/{f}")
    is_error(a, 429, "rate_limit_exceeded")
    assert a.headers["retry-after"] == "3"
    assert o.call("GET", f"/files/{f}").status == 200
    sim.fault({"status": 500}, **match)
    is_error(o.call("GET", f"/files/{f}"), 500)
    sim.fault({"status": 502, "body": "<html>bad</html>"}, **match)
    a = o.call("GET", f"/files/{f}")
    assert a.status == 502 and a.headers["content-type"].startswith("text/html") and a.body == b"<html>bad</html>"
    for action in ({"reset": "answer"}, {"close": "answer"}, {"close": "head"}, {"reset": "accept"}, {"close": "accept"}):
        sim.fault(action, **match)
        try:
            o.call("GET", f"/files/{f}")
        except (ConnectionError, http.client.HTTPException):
            continue
        raise AssertionError(f"{action} had no effect")
    sim.fault({"truncate": 10}, **match)
    try:
        o.call("GET", f"/files/{f}")
        raise AssertionError("not truncated")
    except http.client.IncompleteRead as e:
        assert len(e.partial) == 10
    sim.fault({"trickle": {"bytes": 50, "interval_ms": 5, "head": True}}, **match)
    assert o.call("GET", f"/files/{f}").json()["id"] == f
    start = time.monotonic()
    sim.fault({"delay_ms": 80}, **match)
    assert o.call("GET", f"/files/{f}").status == 200 and time.monotonic() - start >= 0.08
    sim.fault({"gzip": True}, **match)
    assert gzip.decompress(o.call("GET", f"/files/{f}").body).startswith(b"{")
    sim.fault({"not_json": True}, **match)
    assert o.call("GET", f"/files/{f}").body.startswith(b"<html>")
    sim.fault({"oversize": 3_000_000}, **match)
    assert len(o.call("GET", f"/files/{f}").body) == 3_000_000
    sim.fault({"status": 503}, **match, skip=1)
    assert [o.call("GET", f"/files/{f}").status for _ in range(3)] == [200, 503, 200]
    sim.fault({"status": 503}, **match, times=-1)
    assert [o.call("GET", f"/files/{f}").status for _ in range(3)] == [503] * 3
    sim.control("DELETE", "faults")
    assert o.call("GET", f"/files/{f}").status == 200
    assert sim.control("POST", "faults", {"action": {"nonsense": 1}}).status == 400


# ---- 5.3 Azure

@check
def s44_dated_paths_need_a_known_api_version(sim, o):
    for version in (None, "2199-01-01"):
        is_azure_error(Azure(sim, version).call("GET", "/files"), 404, "404", "Resource not found")
    old = Azure(sim, "2024-02-01")
    is_azure_error(old.upload(), 400, "invalidPayload", "Invalid value for purpose.")
    is_azure_error(old.call("GET", "/batches"), 404, "404")
    is_azure_error(Azure(sim).call("GET", "/deployments/fast/files"), 404, "404")
    is_azure_error(Azure(sim).call("POST", "/deployments/fast/chat/completions", {}), 400, "OperationNotSupported")


@check
def s45_v1_paths_work_with_three_versions(sim, o):
    for version in (None, "v1", "preview"):
        assert Azure(sim, version, v1=True).call("GET", "/files").status == 200
    assert Azure(sim, V21, v1=True).call("GET", "/files").status == 404


@check
def s46_key_and_token_authorise(sim, o):
    def status(headers, **kw):
        z = Azure(sim, **kw)
        z.auth = headers
        return z.call("GET", "/files").status
    bearer = {"Authorization": "Bearer static-token"}
    assert status({"api-key": "azure-key"}) == status(bearer) == 200
    assert status({"Authorization": "Bearer azure-key"}) == 401
    assert status({"Authorization": "Bearer azure-key"}, version=None, v1=True) == 200
    assert status({"api-key": "wrong", **bearer}) == status({"api-key": "azure-key", "Authorization": "Bearer x"}) == 200
    sim.switch("az", both_auth="api-key")
    assert status({"api-key": "wrong", **bearer}) == 401
    assert status({}) == 401


@check
def s47_a_wrong_key_has_a_string_code_and_no_type(sim, o):
    z = Azure(sim)
    z.auth = {"api-key": "wrong"}
    is_azure_error(z.call("GET", "/files"), 401, "401", "Access denied due to invalid subscription key")
    sim.switch("az", auth_code="PermissionDenied")
    is_azure_error(z.call("GET", "/files"), 401, "PermissionDenied")


@check
def s48_a_file_part_needs_a_content_type(sim, o):
    a = Azure(sim).post_parts([text_part("purpose", "batch"), file_part(b"x\n", ctype=None)])
    is_azure_error(a, 400, "invalidPayload", "The file has no or an empty content type specified.")
    assert Azure(sim).post_parts([text_part("purpose", "batch"), file_part(b"x\n", ctype="application/json")]).status == 201


@check
def s49_a_part_with_a_length_is_refused(sim, o):
    parts = [text_part("purpose", "batch"), file_part(b"x\n", extra=[("Content-Length", "2")])]
    is_azure_error(Azure(sim).post_parts(parts), 400, "invalidPayload", "purpose contains an invalid purpose.")
    sim.switch("az", part_length_refused=False)
    assert Azure(sim).post_parts(parts).status == 201
    seen = sim.requests("az")[-1]
    assert [p["name"] for p in seen["parts"]] == ["purpose", "file"] and "Content-Length: 2" in seen["parts"][1]["headers"]


@check
def s50_a_dated_upload_is_201_with_a_location(sim, o):
    a = Azure(sim).upload()
    assert a.status == 201 and f"/openai/files/{a.json()['id']}" in a.headers["location"], a
    assert Azure(sim, None, v1=True).upload().status == 200
    sim.switch("az", time={"pending_ms": 1000}, pending_bytes="absent")
    assert "bytes" not in Azure(sim).upload().json()
    sim.switch("az", pending_bytes="null")
    assert Azure(sim).upload().json()["bytes"] is None


@check
def s51_a_file_is_pending_then_processed_or_broken(sim, o):
    z = Azure(sim)
    sim.switch("az", time={"pending_ms": 60000})
    f = z.uploaded()
    assert f["status"] == "pending"
    sim.advance(61000)
    assert z.call("GET", f"/files/{f['id']}").json()["status"] == "processed"
    sim.switch("az", file_error=True)
    f = z.uploaded()
    sim.advance(61000)
    f = z.call("GET", f"/files/{f['id']}").json()
    assert f["status"] == "error" and f["status_details"]


@check
def s52_a_batch_on_a_pending_file_fails(sim, o):
    z = Azure(sim)
    sim.switch("az", time={"pending_ms": 60000})
    f = z.uploaded()["id"]
    is_azure_error(z.create(f), 400, "invalidPayload", "pending")
    sim.switch("az", pending_create="async")
    b = z.create(f)
    assert b.status == 200
    sim.advance(2000)
    assert z.batch(b.json())["status"] == "failed"
    sim.advance(60000)
    assert z.create(f).status == 200


@check
def s53_expires_after_takes_both_spellings(sim, o):
    z = Azure(sim)
    def expiry(seconds, brackets=True):
        names = ("expires_after[anchor]", "expires_after[seconds]") if brackets else ("expires_after.anchor", "expires_after.seconds")
        return z.upload(fields=[(names[0], "created_at"), (names[1], str(seconds))])
    for brackets in (True, False):
        f = expiry(1209600, brackets).json()
        assert f["expires_at"] == f["created_at"] + 1209600
    is_azure_error(expiry(1209599), 400, "invalidPayload")
    is_azure_error(expiry(2592001), 400, "invalidPayload")
    sim.switch("az", enforce_expires=False)
    assert expiry(3600).status == 201
    assert z.uploaded()["expires_at"] is None


@check
def s54_the_501st_file_is_over_quota(sim, o):
    z = Azure(sim)
    sim.switch("az", max_files=3, max_files_expiring=1)
    for _ in range(3):
        z.uploaded()
    is_azure_error(z.upload(), 400, "quotaExceeded", "The quota for files without expiry is reached. The maximum is 3.")
    fields = [("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "1209600")]
    assert z.upload(fields=fields).status == 201
    is_azure_error(z.upload(fields=fields), 400, "quotaExceeded")
    first = z.call("GET", "/files").json()["data"][-1]["id"]
    z.call("DELETE", f"/files/{first}")


@check
def s55_only_v1_lists_have_pages(sim, o):
    assert set(Azure(sim).call("GET", "/files").json()) == {"object", "data"}
    assert set(Azure(sim, None, v1=True).call("GET", "/files").json()) == {"object", "data", "first_id", "last_id", "has_more"}


@check
def s56_delete_is_204_on_the_first_preview(sim, o):
    z = Azure(sim, "2024-07-01-preview")
    a = z.call("DELETE", f"/files/{z.uploaded()['id']}")
    assert a.status == 204 and a.body == b"" and "content-length" not in a.headers
    z = Azure(sim)
    f = z.uploaded()["id"]
    assert z.call("DELETE", f"/files/{f}").json() == {"id": f, "object": "file", "deleted": True}
    sim.switch("az", deleted_lingers=True)
    assert z.call("GET", f"/files/{f}").json()["status"] == "deleted"


@check
def s57_batch_create_is_200_or_201_with_token_headers(sim, o):
    for z in (Azure(sim), Azure(sim, None, v1=True)):
        a = z.create(z.uploaded()["id"])
        assert a.status == 200 and "deployment-enqueued-tokens" not in a.headers
    z = Azure(sim, V25)
    a = z.create(z.uploaded()["id"])
    assert a.status == 201 and int(a.headers["deployment-enqueued-tokens"]) > 0
    assert a.headers["deployment-maximum-enqueued-tokens"] == "100000"


@check
def s58_the_endpoint_is_echoed_bare(sim, o):
    assert Azure(sim).created()["endpoint"] == "/chat/completions"
    sim.switch("az", echo_bare_endpoint=False)
    assert Azure(sim).created()["endpoint"] == CHAT
    assert Azure(sim).finished(jsonl(line("a", "fast", url="/chat/completions")), endpoint=CHAT)["status"] == "completed"


@check
def s59_the_model_must_be_a_batch_deployment(sim, o):
    def code(*lines):
        b = Azure(sim).finished(jsonl(*lines))
        assert b["status"] == "failed"
        return b["errors"]["data"][0]["code"]
    assert code(line("a", "unknown")) == "model_not_found"
    assert code(line("a", "fast"), line("b", "slow")) == "model_mismatch"
    assert code(line("a", "online")) == "invalid_request"


@check
def s60_line_limits_and_boms(sim, o):
    def code(content):
        return Azure(sim).finished(content)["errors"]["data"][0]["code"]
    sim.switch("az", max_lines=3)
    assert code(jsonl(*[line(str(n), "fast") for n in range(4)])) == "too_many_tasks"
    assert code(b"") == code(b"\n\n") == "empty_file"
    b = Azure(sim).finished(b"\xef\xbb\xbf" + jsonl(line("a", "fast")))
    assert b["status"] == "failed" and "valid model deployment name couldn't be extracted" in b["errors"]["data"][0]["message"]


@check
def s61_the_quota_refuses_fast_or_slowly(sim, o):
    def big(model):
        return jsonl(*[line(f"r{n}", model, pad="x" * 900) for n in range(250)])
    z = Azure(sim)
    first = z.created(big("fast"))
    f = z.uploaded(big("fast"))["id"]
    a = z.create(f)
    assert a.status == 400 and b"token_limit_exceeded" in a.body, a
    assert sim.ledger("az")["creates"]["batches"] == 1
    z.created(big("slow"))
    late = z.created(big("slow"))
    sim.advance(2000)
    e = z.batch(late)["errors"]["data"][0]
    assert e["code"] == "token_limit_exceeded" and "limit of 100K for the deployment 'slow'" in e["message"] and e["line"] is None
    sim.advance(20000)
    assert z.batch(first)["status"] == "completed" and z.create(f).status == 200


@check
def s62_a_clean_batch_has_an_empty_error_file(sim, o):
    b = Azure(sim).finished()
    assert b["status"] == "completed" and b["error_file_id"] and b["output_file_id"]
    a = Azure(sim).call("GET", f"/files/{b['error_file_id']}/content")
    assert a.status == 200 and a.headers["content-length"] == "0" and a.body == b""


@check
def s63_ids_and_counts_may_be_empty_at_first(sim, o):
    z = Azure(sim)
    b = z.created()
    assert b["output_file_id"] == "" and b["error_file_id"] == ""
    sim.switch("az", empty_ids=False, null_counts=True)
    b = z.batch(b)
    assert b["output_file_id"] is None and b["request_counts"] == {"total": None, "completed": None, "failed": None}


@check
def s64_output_lines_lack_ids_and_carry_filters(sim, o):
    z = Azure(sim)
    b = z.finished(jsonl(line("a", "fast"), line("fail-b", "fast")))
    x = z.lines(b["output_file_id"])[0]
    assert set(x) == {"custom_id", "response", "error"} and set(x["response"]) == {"body", "request_id", "status_code"}
    assert x["response"]["body"]["prompt_filter_results"] and x["response"]["body"]["choices"][0]["content_filter_results"]
    assert "id" not in z.lines(b["error_file_id"])[0]


@check
def s65_a_failed_job_may_lack_failed_at(sim, o):
    z = Azure(sim)
    b = z.finished(b"{\n")
    assert b["failed_at"]
    sim.switch("az", failed_at_null=True, line_as_string=True, capital_status=True, iso_times=True)
    b = z.batch(b)
    assert b["failed_at"] is None and b["completed_at"].endswith("Z") and b["errors"]["data"][0]["line"] == "1"
    assert b["status"] == "Failed"


@check
def s66_lists_take_odata_on_previews_only(sim, o):
    z = Azure(sim, "2025-03-01-preview")
    a, b = z.created(), z.created()
    sim.advance(20000)
    c = z.created()
    def ids(**query):
        return [x["id"] for x in z.call("GET", "/batches", query={k.replace("_", "$", 1): v for k, v in query.items()}).json()["data"]]
    assert ids() == [c["id"], b["id"], a["id"]]
    assert ids(**{"_filter": "status eq 'Completed'"}) == [b["id"], a["id"]]
    assert ids(**{"_filter": f"created_at gt {a['created_at'] + 10} and status eq 'validating'"}) == [c["id"]]
    assert ids(**{"_orderby": "created_at asc", "limit": 2}) == [a["id"], b["id"]]
    assert ids(after=b["id"]) == [a["id"]]
    assert z.call("GET", "/batches", query={"$top": 1}).status == 400
    assert z.call("GET", "/batches", query={"$filter": "nonsense"}).status == 400
    assert Azure(sim).call("GET", "/batches", query={"$filter": "status eq 'Completed'"}).status == 400


@check
def s67_answers_carry_azures_headers(sim, o):
    z = Azure(sim)
    for a in (z.call("GET", "/files"), z.call("GET", "/files/x"), z.call("GET", "/nowhere")):
        assert len(a.headers["apim-request-id"]) == 36 and a.headers["x-ms-region"] == "swedencentral"
    sim.fault({"status": 429}, account="az", times=3)
    a = z.call("GET", "/files")
    is_azure_error(a, 429, "429", "Please retry after 2 seconds")
    assert a.headers["retry-after-ms"] == "2000" and a.headers["retry-after"] == "2"
    sim.switch("az", retry_after=False)
    assert "retry-after" not in z.call("GET", "/files").headers
    sim.switch("az", retry_after_ms=False, retry_after=True)
    a = z.call("GET", "/files")
    assert "retry-after-ms" not in a.headers and "retry-after" in a.headers


@check
def s68_more_than_ten_custom_headers_are_431(sim, o):
    z = Azure(sim)
    ten = {f"x-custom-{n}": "v" for n in range(10)}
    assert z.call("GET", "/files", headers=ten).status == 200
    assert z.call("GET", "/files", headers={**ten, "x-stainless-os": "Linux"}).status == 431
    sim.switch("az", max_custom_headers=0)
    assert z.call("GET", "/files", headers={**ten, "x-stainless-os": "Linux"}).status == 200


@check
def s69_own_storage_is_echoed(sim, o):
    z = Azure(sim, V25)
    folder = {"url": "https://acc.blob.example/out", "delimiter": "/"}
    a = z.create(..., input_blob="https://acc.blob.example/in.jsonl", output_folder=folder)
    b = a.json()
    assert a.status == 201 and b["input_file_id"] is None and b["input_blob"] == "https://acc.blob.example/in.jsonl", b
    assert b["output_folder"] == folder and b["output_blob"] == ""
    sim.advance(20000)
    b = z.batch(b)
    assert b["status"] == "completed" and b["output_blob"].startswith("https://")


def token(sim, **form):
    form = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "s3cret",
            "scope": "https://cognitiveservices.azure.com/.default", **form}
    return request(sim.ports["entra"], "POST", "/tenant/oauth2/v2.0/token", urlencode({k: v for k, v in form.items() if v}),
                   {"Content-Type": "application/x-www-form-urlencoded"})


@check
def s70_the_token_endpoint_checks_its_form(sim, o):
    a = token(sim).json()
    assert a["token_type"] == "Bearer" and a["expires_in"] == 3599 and a["access_token"]
    a = token(sim, client_secret="wrong")
    e = a.json()
    assert a.status == 401 and e["error"] == "invalid_client" and e["error_description"].startswith("AADSTS7000215")
    assert set(e) == {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id"} and e["error_codes"] == [7000215]
    assert [token(sim, **{k: None}).status for k in ("grant_type", "client_id", "scope")] == [400] * 3
    assertion = {"client_secret": None, "client_assertion": "jwt", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
    assert token(sim, **assertion).status == 200
    z = Azure(sim)
    z.auth = {"Authorization": "Bearer " + token(sim).json()["access_token"]}
    assert z.call("GET", "/files").status == 200
    sim.switch("az", token_scope="ai")
    assert z.call("GET", "/files").status == 401


@check
def s71_the_metadata_service_wants_its_header(sim, o):
    target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + quote("https://cognitiveservices.azure.com", safe="")
    def get(**headers):
        return request(sim.ports["entra"], "GET", target, headers=headers)
    a = get()
    assert a.status == 400 and b"bad_request_102" in a.body
    t = get(Metadata="true").json()
    assert t["expires_in"] == "3599" and isinstance(t["expires_on"], str) and isinstance(t["not_before"], str) and t["resource"]
    z = Azure(sim)
    z.auth = {"Authorization": f"Bearer {t['access_token']}"}
    assert z.call("GET", "/files").status == 200
    for status in (404, 410, 429, 500):
        sim.fault({"status": status}, account="entra", path="/metadata/*")
        assert get(Metadata="true").status == status
    assert get(Metadata="true").status == 200


@check
def s72_an_expired_token_is_401(sim, o):
    z = Azure(sim)
    z.auth = {"Authorization": "Bearer " + token(sim).json()["access_token"]}
    assert z.call("GET", "/files").status == 200
    sim.advance(3600_000)
    is_azure_error(z.call("GET", "/files"), 401, "401")


# ---- the simulator itself

@check
def x1_the_ledger_tells_what_was_really_created(sim, o):
    content = jsonl(line("a"))
    sim.fault({"close": "answer"}, account="oai", method="POST", path="/v1/files")
    try:
        o.upload(content)
        raise AssertionError("answered")
    except (ConnectionError, http.client.HTTPException):
        pass
    o.created(content, metadata={"k": "v"})
    led = sim.ledger("oai")
    assert led["creates"] == {"files": 2, "batches": 1} and led["batches"][0]["metadata"] == {"k": "v"}
    assert {f["sha256"] for f in led["files"]} == {hashlib.sha256(content).hexdigest()}
    assert led["calls"] == {"POST /v1/files": 2, "POST /v1/batches": 1} and led["connections"] == 3
    seen = sim.requests("oai")
    assert [r["status"] for r in seen] == [0, 200, 200] and seen[0]["headers"]["authorization"] == "Bearer sk-sim"
    assert json.loads(seen[2]["body"])["endpoint"] == CHAT and seen[1]["body_bytes"] > len(content) and seen[0]["http"] == "1.1"
    sim.reset()
    assert sim.ledger("oai")["creates"] == {"files": 0, "batches": 0} and sim.requests("oai") == []


@check
def x2_wait_ends_when_requests_were_seen(sim, o):
    a = sim.control("GET", "wait?account=oai&method=GET&path=/v1/fil*&count=2&timeout_ms=50")
    assert a.status == 408, a
    got = []
    waiter = threading.Thread(target=lambda: got.append(sim.control("GET", "wait?account=oai&method=GET&path=/v1/fil*&count=2&phase=answered&timeout_ms=10000")))
    waiter.start()
    o.call("GET", "/files")
    o.call("GET", "/files/x")
    waiter.join()
    assert got[0].status == 200, got


def raw(port, data, until=None, wait=5):
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as s:
        s.sendall(data)
        out = b""
        while until is None or out.count(until) < 1:
            piece = s.recv(65536)
            if not piece:
                break
            out += piece
        return out


@check
def x3_pipelined_requests_are_answered_in_order(sim, o):
    one = "GET /v1/files/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-sim\r\n{}\r\n"
    data = "".join(one.format(n, "Connection: close\r\n" if n == 19 else "") for n in range(20)).encode()
    out = raw(sim.ports["oai"], data)
    assert out.count(b"HTTP/1.1 404") == 20
    assert [out.index(b"object: %d\"" % n) for n in range(20)] == sorted(out.index(b"object: %d\"" % n) for n in range(20))


@check
def x4_expect_100_continue_is_answered_first(sim, o):
    body, ctype = multipart([text_part("purpose", "batch"), file_part(b"x" * 100000)])
    head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-sim\r\nContent-Type: {ctype}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sim.ports["oai"]), timeout=5) as s:
        s.sendall(head.encode())
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        assert s.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


@check
def x5_nonsense_is_400_and_closed(sim, o):
    for data in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                 b"POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"GET /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"):
        out = raw(sim.ports["oai"], data)
        assert out.startswith(b"HTTP/1.1 400") and b"connection: close" in out, (data, out)
    assert o.call("GET", "/files").status == 200


@check
def x6_faults_in_the_middle_of_a_body(sim, o):
    content = b"x" * 500_000
    for action in ({"close": "body"}, {"reset": "body"}, {"close": "head"}):
        sim.fault(action, account="oai", method="POST")
        try:
            o.upload(content)
            raise AssertionError(f"{action} had no effect")
        except (ConnectionError, http.client.HTTPException):
            pass
    sim.fault({"hang": "body", "ms": 60}, account="oai", method="POST")
    start = time.monotonic()
    assert o.upload(content).status == 200 and time.monotonic() - start >= 0.06
    sim.fault({"hang": "head", "ms": 60}, account="oai", method="POST")
    assert o.upload(content).status == 200
    sim.fault({"status": 401, "early": True}, account="oai", method="POST")
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert raw(sim.ports["oai"], head, b"\r\n\r\n").startswith(b"HTTP/1.1 401")
    sim.fault({"hang": "answer"}, account="oai", method="GET")
    with socket.create_connection(("127.0.0.1", sim.ports["oai"]), timeout=5) as s:
        s.sendall(b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sim.control("GET", "wait?account=oai&method=GET&path=/v1/files&timeout_ms=5000").status == 200
    assert sim.control("GET", "wait?account=oai&method=GET&path=/v1/files&phase=answered&timeout_ms=5000").status == 200
    assert sim.ledger("oai")["creates"]["files"] == 2


@check
def x7_switches_behave(sim, o):
    assert sim.control("POST", "switches", {"account": "oai", "set": {"nonsense": 1}}).status == 400
    assert sim.control("POST", "switches", {"account": "oai", "set": {"range": "maybe"}}).status == 400
    f = o.uploaded(b"0123456789")["id"]
    assert o.call("GET", f"/files/{f}/content", headers={"Range": "bytes=2-4"}).status == 200
    sim.switch("oai", range="honour")
    a = o.call("GET", f"/files/{f}/content", headers={"Range": "bytes=2-4"})
    assert a.status == 206 and a.body == b"234" and a.headers["content-range"] == "bytes 2-4/10"
    assert o.call("GET", f"/files/{f}/content", headers={"Range": "bytes=20-"}).status == 416
    a = o.call("HEAD", f"/files/{f}/content")
    assert a.status == 200 and a.headers["content-length"] == "10" and a.body == b""
    sim.switch("oai", head="405", trailing_slash="404", redirect_content="http://elsewhere.example/", batches_per_hour=1)
    assert o.call("HEAD", f"/files/{f}/content").status == 405
    assert o.call("GET", "/files/").status == 404
    a = o.call("GET", f"/files/{f}/content")
    assert a.status == 302 and a.headers["location"] == "http://elsewhere.example/"
    assert [o.create(f).status for _ in range(2)] == [200, 429]
    sim.switch("oai", output_pad_bytes=1000, file_visible_after_ms=1000)
    g = o.uploaded()["id"]
    assert o.create(g).status == 404
    sim.switch("az", v1_errors="openai", latency_ms=20)
    is_error(Azure(sim, None, v1=True).call("GET", "/files/x"), 404)


@check
def x8_large_files_stay_on_disk(sim, o):
    size = int(os.environ.get("CHECK_LARGE_MB", "48")) << 20
    sim.switch("oai", max_file_bytes=size * 2)
    one = line("@", "big", pad="x" * 4000).encode().split(b"@")
    n = size // (len(b"@".join(one)) + 9)
    def content():
        for i in range(n):
            yield one[0] + b"%08d" % i + one[1] + b"\n"
    prefix, ctype = multipart([text_part("purpose", "batch"), file_part(b"@@")])
    head, tail = prefix.split(b"@@")
    length = len(head) + len(tail) + sum(map(len, [one[0], one[1], b"00000000\n"])) * n
    digest = hashlib.sha256()
    def body():
        yield head
        buf = []
        for x in content():
            digest.update(x)
            buf.append(x)
            if len(buf) == 256:
                yield b"".join(buf)
                buf = []
        yield b"".join(buf) + tail
    sim.switch("oai", check_models=False, max_lines=10_000_000)
    a = request(sim.ports["oai"], "POST", "/v1/files", body(), {**o.auth, "Content-Type": ctype, "Content-Length": str(length)})
    assert a.status == 200, a
    sim.switch("oai", output_pad_bytes=500)
    b = o.create(a.json()["id"]).json()
    sim.advance(20000)
    b = o.batch(b)
    assert b["status"] == "completed" and b["request_counts"]["completed"] == n, b
    assert o.content(b["output_file_id"]).count(b"\n") == n
    got = hashlib.sha256()
    c = http.client.HTTPConnection("127.0.0.1", sim.ports["oai"], timeout=60)
    c.request("GET", f"/v1/files/{a.json()['id']}/content", headers=o.auth)
    r = c.getresponse()
    while True:
        piece = r.read(1 << 20)
        if not piece:
            break
        got.update(piece)
    c.close()
    assert got.hexdigest() == digest.hexdigest() == sim.ledger("oai")["files"][0]["sha256"]
    status = pathlib.Path(f"/proc/{sim.process.pid}/status").read_text()
    rss = int([x for x in status.splitlines() if x.startswith("VmHWM")][0].split()[1]) >> 10
    maps = pathlib.Path(f"/proc/{sim.process.pid}/maps").read_text()
    if "libasan" not in maps:
        assert rss < 64 + (n >> 13), f"{rss} MiB resident at the most"


@check
def x9_the_readme_has_the_table_of_switches(sim, o):
    table = subprocess.run([sim.process.args[0], "--switches"], capture_output=True, text=True, check=True).stdout
    assert table in (pathlib.Path(__file__).parent / "README.md").read_text(), "put the output of --switches into README.md"


def run(program, word):
    sim = Sim(program, CONFIG)
    o = Openai(sim)
    passed, failed = 0, 0
    for f in CHECKS:
        if word not in f.__name__:
            continue
        try:
            sim.reset()
            f(sim, o)
            passed += 1
        except Exception:
            failed += 1
            print(f"FAILED {f.__name__}", flush=True)
            traceback.print_exc()
    status, left = sim.stop()
    if status != 0 or left:
        print(f"FAILED: exit status {status}, left behind: {left}")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1] if len(sys.argv) > 1 else find_program(), sys.argv[2] if len(sys.argv) > 2 else ""))
