"""Providers statements 1 to 43: OpenAI's files and batches."""

import gzip
import hashlib
import http.client
import json
import time

from check_kit import CHAT, DAY, check, file_part, is_error, jsonl, line, request, text_part


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
    # Each status lasts long enough that a busy machine does not pass over it between two looks.
    sim.switch("oai", time={"validate_ms": 60_000, "run_ms": 600_000, "finalize_ms": 60_000})
    b = o.created()
    t = b["created_at"]
    seen, times = ["validating"], {}
    for _ in range(130):
        sim.advance(6000)
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
    sim.switch("oai", time={"run_ms": 100_000})
    b = o.created(jsonl(*[line(f"r{n}") for n in range(8)]))
    sim.advance(1000 + 52_000)
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
    assert o.call("GET", f"/files/{f}").status == 200 and time.monotonic() - start >= 0.078  # of two clocks
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
