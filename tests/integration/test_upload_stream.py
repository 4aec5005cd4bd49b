"""Uploads on the wire: answers before the body, 100-continue, every framing, every form that clients write."""

import hashlib
import json
import random

import pytest
from harness import GROUP, MASTER_KEY, balanced_config, direct_config, envelope, lines, multipart, renamed, DEPLOYMENTS
from wire import H1, H2, SLICE, cut, every_kind, make_door, stored, wire_certificate  # noqa: F401

FORM = "multipart/form-data; boundary=b"
SMALL = {"max_file_bytes": {"openai": 1_000_000, "azure": 1_000_000}, "max_other_file_bytes": 1_000_000, "max_json_bytes": 10_000}
HUGE = 30_000_000
# what is wrong: method, target, content type, key, status
EARLY = {
    "no_key": ("POST", "/v1/files", FORM, None, 401),
    "wrong_key": ("POST", "/v1/files", FORM, "sk-wrong", 401),
    "wrong_key_validate": ("POST", "/v1/files/validate", FORM, "sk-wrong", 401),
    "wrong_key_create": ("POST", "/v1/batches", "application/json", "sk-wrong", 401),
    "unknown_route": ("POST", "/v1/nothing", FORM, MASTER_KEY, 404),
    "wrong_method": ("PUT", "/v1/files", FORM, MASTER_KEY, 405),
    "no_form": ("POST", "/v1/files", "text/plain", MASTER_KEY, 400),
    "no_boundary": ("POST", "/v1/files", "multipart/form-data", MASTER_KEY, 400),
}


def good_form(count=3):
    data = lines(count=count)
    body, form = multipart([("purpose", "batch"), ("file", None)], data)
    return data, body, form


def check_early(door, answer, status):
    door.gateway.check(answer)
    envelope(answer, status)
    assert answer.interim == [], answer
    assert door.sim.requests() == [] and stored(door.sim) == []


@every_kind
@pytest.mark.parametrize("case", EARLY)
def test_an_answer_comes_without_a_byte_of_the_body(make_door, kind, case):
    method, target, form, key, status = EARLY[case]
    door = make_door(kind, workers=1)
    for length in (HUGE, "chunked"):
        with door.call(method, target, {"Content-Type": form}, length, key) as call:
            check_early(door, call.answer(), status)


@every_kind
@pytest.mark.parametrize("target, form", [("/v1/files", FORM), ("/v1/files/validate", FORM), ("/v1/batches", "application/json")])
def test_an_announced_size_above_the_limit_is_413_at_once(make_door, sim, kind, target, form):
    door = make_door(kind, balanced_config(sim, tranche_settings={"limits": SMALL}), workers=1)
    with door.call("POST", target, {"Content-Type": form}, HUGE) as call:
        check_early(door, call.answer(), 413)


@every_kind
def test_a_size_that_was_not_announced_is_413_as_soon_as_it_is_known(make_door, sim, kind):
    door = make_door(kind, balanced_config(sim, tranche_settings={"limits": SMALL}), workers=1)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with door.call("POST", "/v1/files", {"Content-Type": FORM}, "chunked") as call:
        call.send(head)
        for _ in range(40):
            call.send(b"\n" * SLICE)  # no end: the answer has to come all the same
        check_early(door, call.answer(), 413)


@every_kind
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("case", ["wrong_key", "unknown_route", "no_form"])
def test_a_client_that_sends_30_megabytes_first_still_reads_the_status(make_door, kind, framing, case):
    method, target, form, key, status = EARLY[case]
    door = make_door(kind, workers=1)
    block = bytes(SLICE)
    with door.call(method, target, {"Content-Type": form}, HUGE if framing == "length" else "chunked", key) as call:
        for at in range(0, HUGE, SLICE):
            call.send(block[:HUGE - at])
        call.finish()
        check_early(door, call.answer(), status)


@every_kind
def test_a_bad_first_line_is_answered_while_the_client_is_still_sending(make_door, kind):
    door = make_door(kind, workers=1)
    _, body, form = good_form()
    head = body[:body.index(b'{"custom_id"')]
    with door.call("POST", "/v1/files", {"Content-Type": form}, HUGE) as call:
        call.send(head + b"{oops}\n")
        answer = call.answer()
        check_early(door, answer, 400)
        assert "line 1, column 2" in answer.json()["error"]["message"].lower(), answer


@pytest.mark.parametrize("kind", ["h1", "h1_tls"])
@pytest.mark.parametrize("case", EARLY)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_who_asks_before_sending_gets_the_final_status_instead_of_100(make_door, kind, case, framing):
    method, target, form, key, status = EARLY[case]
    door = make_door(kind, workers=1)
    length = 1000 if framing == "length" else "chunked"
    with door.call(method, target, {"Content-Type": form, "Expect": "100-continue"}, length, key) as call:
        check_early(door, call.answer(), status)
        if kind == "h1" or case == "no_key":
            assert call.at_end(), "nobody knows whether the body will still come: the connection has to end"


@pytest.mark.parametrize("kind", ["h1", "h1_tls"])
def test_who_asks_before_sending_too_much_gets_413_instead_of_100(make_door, sim, kind):
    door = make_door(kind, balanced_config(sim, tranche_settings={"limits": SMALL}), workers=1)
    with door.call("POST", "/v1/files", {"Content-Type": FORM, "Expect": "100-continue"}, HUGE) as call:
        check_early(door, call.answer(), 413)


@pytest.mark.parametrize("kind", ["h1", "h1_tls"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_who_may_send_gets_100_before_the_body_and_once(make_door, sim, kind, framing):
    door = make_door(kind, workers=1)
    data, body, form = good_form()
    length = len(body) if framing == "length" else "chunked"
    with door.call("POST", "/v1/files", {"Content-Type": form, "Expect": "100-continue"}, length) as call:
        assert call.head() == (100, {})
        call.send(body)
        call.finish()
        answer = call.answer()
        assert answer.status == 200 and answer.interim == [], answer
        call.request("GET", "/health/liveliness")  # and the connection lives on
        assert call.answer().status == 200
    assert len(stored(sim)) == 1


@every_kind
def test_who_asks_and_does_not_wait_is_served_too(make_door, sim, kind):
    door = make_door(kind, workers=1)
    data, body, form = good_form()
    for expect in ("100-continue", "100-Continue"):
        answer = door.upload(body, form, headers={"Expect": expect})
        assert answer.status == 200 and answer.interim in ([], [100]), answer
    assert len(stored(sim)) == 2


def test_an_unknown_expectation_is_417(make_door, sim):
    door = make_door("h1", workers=1)
    with door.call("POST", "/v1/files", {"Content-Type": FORM, "Expect": "the-unexpected"}, 1000) as call:
        assert call.answer().status == 417
    assert sim.requests() == []


def test_a_rejected_body_is_no_request(make_door, sim):
    """What a refused client sends as a body must never be taken for its next request."""
    door = make_door("h1", workers=1)
    smuggled = b"DELETE /v1/files/file-x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-master-1234\r\n\r\n"
    for target, key, status in (("/v1/files", "sk-wrong", 401), ("/v1/nothing", MASTER_KEY, 404)):
        for length in (len(smuggled), "chunked"):
            with door.call("POST", target, {"Content-Type": FORM}, length, key) as call:
                call.send(smuggled)
                call.finish()
                assert call.answer().status == status
                try:
                    call.request("GET", "/health/liveliness")
                    again = call.answer()
                except Exception:  # closed instead: as good
                    continue
                assert again.status == 200 and b"alive" in again.body.lower(), again
    assert sim.requests() == []


def test_requests_in_one_segment_are_answered_in_order(make_door, sim):
    door = make_door("h1", workers=1)
    data, body, form = good_form()
    head = (f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\nContent-Type: {form}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()
    chunked = (f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\nContent-Type: {form}\r\n"
               "Transfer-Encoding: chunked\r\n\r\n").encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with H1(door.gateway.port) as conn:
        conn.method = "POST"
        conn.raw(head + body + b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n" + chunked + head + body)
        assert [conn.answer().status for _ in range(4)] == [200, 404, 200, 200]
    assert len(stored(sim)) == 3


@every_kind
def test_pieces_of_any_size_make_the_same_file(make_door, sim, kind):
    # Byte by byte a busy machine is slower than the rate that clients have to keep.
    door = make_door(kind, direct_config(sim, tranche_settings={"limits": {"body_grace_ms": 600_000}}), workers=1)
    data = lines("gpt-4o-mini", count=20)
    body, form = multipart([("purpose", "batch"), ("file", None)], data)
    rng = random.Random(7)
    cuts = [[1], [2], [3], [7], [16384], [rng.randrange(1, 60) for _ in range(2000)],
            [body.index(b"\r\n\r\n") + 1, 1, 1, 1, 1000], [len(body) - len(body.splitlines()[-1]) - 3, 1, 1, 1, 1, 1]]
    for number, pieces in enumerate(cuts):
        for framing in ("length", "chunked"):
            answer = door.upload(body, form, framing=framing, pieces=pieces)
            assert answer.status == 200, (number, framing, answer)
    files = stored(sim)
    assert len(files) == 2 * len(cuts)
    assert {f["sha256"] for _, f in files} == {hashlib.sha256(data).hexdigest()}


def test_chunk_extensions_and_trailers_are_taken(make_door, sim):
    door = make_door("h1", direct_config(sim), workers=1)
    data = lines("gpt-4o-mini")
    body, form = multipart([("purpose", "batch"), ("file", None)], data)
    for piece, end in ((b"%x;name=value\r\n%s\r\n", b"0\r\n\r\n"), (b"%X\r\n%s\r\n", b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
                       (b"000%x\r\n%s\r\n", b"0;last\r\n\r\n")):
        with door.call("POST", "/v1/files", {"Content-Type": form}, "chunked") as call:
            for part in cut(body, [100]):
                call.raw(piece % (len(part), part))
            call.raw(end)
            assert call.answer().status == 200
            call.request("GET", "/health/liveliness")
            assert call.answer().status == 200
    assert {f["sha256"] for _, f in stored(sim)} == {hashlib.sha256(data).hexdigest()} and len(stored(sim)) == 3


@pytest.mark.parametrize("bad", [b"g\r\nx\r\n", b"-1\r\nx\r\n", b"2\r\nxyz\r\n", b"1\nx\n", b"fffffffffffffffff\r\nx", b" 1\r\nx\r\n", b"\r\n"],
                         ids=["no_hex", "negative", "longer", "bare_lf", "overflow", "blank", "empty"])
def test_a_bad_chunk_ends_the_request_and_the_connection(make_door, sim, bad):
    door = make_door("h1", workers=1)
    _, body, form = good_form()
    with door.call("POST", "/v1/files", {"Content-Type": form}, "chunked") as call:
        call.send(body[:50])
        call.raw(bad + b"5\r\naaaaa\r\n")
        answer = call.answer()
        envelope(answer, 400)
        assert call.at_end()
    assert sim.requests() == []


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_uploads_share_a_connection_and_nobody_waits_for_them(make_door, sim, tls):
    door = make_door("h2_tls" if tls else "h2", direct_config(sim), workers=1)
    files = [lines("gpt-4o-mini", count=400, content=f"file {n} " + "x" * 400) for n in range(6)]
    bodies = [multipart([("purpose", "batch"), ("file", None)], data, filename=f"{n}.jsonl") for n, data in enumerate(files)]
    with H2(door.gateway.port, tls) as conn:
        streams = [conn.request("POST", "/v1/files", {"Content-Type": form}, end=False) for _, form in bodies]
        for at in range(0, max(len(body) for body, _ in bodies), 10_000):
            for stream, (body, _) in zip(streams, bodies):
                assert conn.send(stream, body[at:at + 10_000])
            if at == 100_000:  # in the middle of all of them
                assert conn.answer(conn.request("GET", "/health/liveliness")).status == 200
                assert conn.answer(conn.request("GET", "/v1/files")).status == 200
        for stream in streams:
            conn.finish(stream)
        answers = [conn.answer(stream) for stream in streams]
    assert [a.status for a in answers] == [200] * 6, answers
    assert {f["filename"]: f["sha256"] for _, f in stored(sim)} == {
        f"{n}.jsonl": hashlib.sha256(data).hexdigest() for n, data in enumerate(files)}


@pytest.mark.parametrize("off", [-1, 1, -1000])
def test_a_length_that_is_not_kept_sends_nothing_upstream(make_door, sim, off):
    door = make_door("h2", workers=1)
    _, body, form = good_form(50)
    with H2(door.gateway.port) as conn:
        stream = conn.request("POST", "/v1/files", {"Content-Type": form, "Content-Length": len(body) + off}, end=False)
        conn.send(stream, body)
        conn.finish(stream)
        try:
            assert conn.answer(stream).status == 400
        except Exception as broken:  # RST_STREAM(PROTOCOL_ERROR): RFC 9113, 8.1.1
            assert "RST_STREAM" in str(broken), broken
        assert conn.answer(conn.request("GET", "/health/liveliness")).status == 200
    assert sim.requests() == []


def test_trailers_end_an_upload(make_door, sim):
    door = make_door("h2", workers=1)
    _, body, form = good_form()
    with H2(door.gateway.port) as conn:
        stream = conn.request("POST", "/v1/files", {"Content-Type": form}, end=False)
        conn.send(stream, body)
        conn.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
        conn.flush()
        assert conn.answer(stream).status == 200
    assert len(stored(sim)) == 1


# --- forms ---

DATA = lines()


def part(name, value, more=b""):
    return b'--b\r\nContent-Disposition: form-data; name="' + name + b'"\r\n' + more + b"\r\n" + value + b"\r\n"


def file_part(data=DATA, head=b'Content-Disposition: form-data; name="file"; filename="requests.jsonl"',
              content_type=b"Content-Type: application/octet-stream\r\n"):
    return b"--b\r\n" + head + b"\r\n" + content_type + b"\r\n" + data + b"\r\n"


PURPOSE = part(b"purpose", b"batch")
END = b"--b--\r\n"
FORMS = {
    "purpose_first": PURPOSE + file_part() + END,
    "file_first": file_part() + PURPOSE + END,
    "between": part(b"x", b"1") + file_part() + part(b"y", b"2") + PURPOSE + END,
    "no_last_line_end": PURPOSE + file_part() + b"--b--",
    "epilogue": PURPOSE + file_part() + END + b"--b\r\nanything\r\n--b--\r\n" + bytes(range(256)),
    "preamble": b"a preamble\r\nof two lines -- and --bogus\r\n" + PURPOSE + file_part() + END,
    "empty_preamble_line": b"\r\n" + PURPOSE + file_part() + END,
    "blanks_behind_boundaries": PURPOSE.replace(b"--b\r\n", b"--b \t\r\n") + file_part().replace(b"--b\r\n", b"--b  \r\n", 1) + b"--b-- \r\n",
    "no_part_type": PURPOSE + file_part(content_type=b"") + END,
    "part_type_jsonl": PURPOSE + file_part(content_type=b"Content-Type: application/jsonl; charset=utf-8\r\n") + END,
    "typed_fields": part(b"purpose", b"batch", b"Content-Type: text/plain; charset=utf-8\r\n") + file_part() + END,
    "part_length": PURPOSE + file_part(content_type=b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % len(DATA)) + END,
    "binary_encoding": PURPOSE + file_part(content_type=b"Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n") + END,
    "head_names_in_any_case": PURPOSE.replace(b"Content-Disposition: form-data; name", b"content-DISPOSITION:Form-Data;NAME") + file_part() + END,
    "token_names": file_part(head=b"Content-Disposition: form-data; name=file; filename=requests.jsonl")
    + b"--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n" + END,
    "unknown_fields": PURPOSE + part(b"nobody", b"knows") + part(b"", b"") + part(b"file2", b"x") + file_part() + END,
    "repeated_fields": PURPOSE + PURPOSE + part(b"target_model_names[]", GROUP.encode()) + part(b"target_model_names[]", GROUP.encode()) + file_part() + END,
    "litellm_fields": PURPOSE + part(b"target_model_names", GROUP.encode()) + part(b"litellm_metadata", b"{}") + file_part() + END,
    "folded_head": PURPOSE + file_part(head=b'Content-Disposition: form-data;\r\n name="file";\r\n\tfilename="requests.jsonl"') + END,
}


@pytest.fixture
def forms(make_door):
    return make_door("h1", workers=1)


@pytest.mark.parametrize("kind, framing", [("h1", "length"), ("h1", "chunked"), ("h2", "length")])
def test_forms_of_all_kinds_carry_the_same_file(make_door, sim, kind, framing):
    door = make_door(kind, workers=1)
    for name, body in FORMS.items():
        for pieces in ([SLICE], [3]):
            answer = door.upload(body, FORM, framing=framing, pieces=pieces)
            assert answer.status == 200, (name, pieces, answer)
    files = stored(sim)
    assert len(files) == 2 * len(FORMS)
    for account, file in files:
        assert file["filename"] == "requests.jsonl" and file["purpose"] == "batch"
        assert file["sha256"] == hashlib.sha256(renamed(DATA, DEPLOYMENTS[account])).hexdigest()


BOUNDARIES = ["b", "0", "-", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "--------------------------1234567890abcdef",
              "a'()+_,-./:=?" + "x" * 57, "x" * 70, "==", "a b", "--"]


def test_every_legal_boundary_works(forms, sim):
    for boundary in BOUNDARIES:
        body, _ = multipart([("purpose", "batch"), ("file", None)], DATA, boundary=boundary)
        spellings = [f'multipart/form-data; boundary="{boundary}"', f'Multipart/Form-Data; charset=utf-8; Boundary="{boundary}"']
        if all(c.isalnum() or c in "'+_-." for c in boundary):
            spellings += [f"multipart/form-data; boundary={boundary}", f"multipart/form-data;boundary={boundary};charset=utf-8"]
        for form in spellings:
            answer = forms.upload(body, form)
            assert answer.status == 200, (form, answer)


@pytest.mark.parametrize("form", [
    "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""', "multipart/form-data; boundary=" + "x" * 71,
    'multipart/form-data; boundary="b', 'multipart/form-data; boundary="b "', "multipart/form-data; boundary=b\x01", "multipart/mixed; boundary=b",
    "multipart/form-data; boundary=\u00e9", "application/json", ""])
def test_a_boundary_against_the_rules_is_400_before_the_body(forms, sim, form):
    with forms.call("POST", "/v1/files", {"Content-Type": form}, HUGE) as call:
        envelope(call.answer(), 400)
    assert sim.requests() == []


NAMES = [
    (b'filename="nightly.jsonl"', "nightly.jsonl"),
    (b"filename=nightly.jsonl", "nightly.jsonl"),
    ('filename="n\u00e4chtlich \u65e5\u672c \U0001f600.jsonl"'.encode(), "n\u00e4chtlich \u65e5\u672c \U0001f600.jsonl"),
    (b"filename*=UTF-8''n%C3%A4chtlich.jsonl", "n\u00e4chtlich.jsonl"),
    (b"filename*=iso-8859-1'de'n%E4chtlich.jsonl", "n\u00e4chtlich.jsonl"),
    (b"filename=\"fallback.jsonl\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.jsonl", "\u65e5\u672c.jsonl"),
    (b"filename*=UTF-8''%E6%97%A5%E6%9C%AC.jsonl; filename=\"fallback.jsonl\"", "\u65e5\u672c.jsonl"),
    (b'filename="a \\"quoted\\" name.jsonl"', 'a "quoted" name.jsonl'),
    (b'filename="a %22quoted%22 name.jsonl"', 'a "quoted" name.jsonl'),
    (b'filename="50%25 of r%C3%A9sum.jsonl"', "50%25 of r%C3%A9sum.jsonl"),
    (b'filename="semi;colon = sign.jsonl"', "semi;colon = sign.jsonl"),
    (b'filename="/home/me/dir/nightly.jsonl"', "nightly.jsonl"),
    (b'filename="C:\\\\data\\\\nightly.jsonl"', "nightly.jsonl"),
    (b'filename="../../etc/nightly.jsonl"', "nightly.jsonl"),
]


@pytest.mark.parametrize("spelled, name", NAMES, ids=[str(n) for n in range(len(NAMES))])
def test_the_clients_file_name_is_kept(forms, sim, spelled, name):
    body = PURPOSE + file_part(head=b'Content-Disposition: form-data; name="file"; ' + spelled) + END
    answer = forms.upload(body, FORM)
    assert answer.status == 200, answer
    assert [f["filename"] for _, f in stored(sim)] == [name]
    assert answer.json()["filename"] == name


@pytest.mark.parametrize("spelled", [b'; filename="a\x00b.jsonl"', b"; filename*=utf-16''x.jsonl",
                                     b"; filename*=UTF-8''%zz", b'; filename="a"; filename="b"', b'; name="file"', b'; filename="a\rb"'])
def test_a_file_name_against_the_rules_is_400(forms, sim, spelled):
    body = PURPOSE + file_part(head=b'Content-Disposition: form-data; name="file"' + spelled) + END
    envelope(forms.upload(body, FORM), 400)
    assert sim.requests() == []


@pytest.mark.parametrize("body, why", [
    (PURPOSE + file_part(), "no end"), (PURPOSE + file_part() + b"--b-", "half an end"), (b"", "nothing"), (END, "no part"),
    (b"hello world", "no form at all"), (PURPOSE.replace(b"\r\n", b"\n") + file_part().replace(b"\r\n", b"\n") + b"--b--\n", "bare LF"),
    (b"--b\r\nno colon\r\n\r\nx\r\n" + file_part() + END, "a head line without colon"),
    (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n" + file_part() + END, "no disposition"),
    (b"--b\r\nContent-Disposition: attachment; name=\"purpose\"\r\n\r\nbatch\r\n" + file_part() + END, "not form-data"),
    (b"--b\r\nContent-Disposition: form-data\r\n\r\nbatch\r\n" + file_part() + END, "no name"),
    (PURPOSE + file_part(content_type=b"Content-Transfer-Encoding: base64\r\n") + END, "base64"),
    (PURPOSE + file_part() + file_part() + END, "two files"),
    (PURPOSE + part(b"x", b"y") * 200 + file_part() + END, "200 parts"),
    (PURPOSE + part(b"x", b"y", b"X-Long: " + b"x" * 20000 + b"\r\n") + file_part() + END, "a long head"),
    (part(b"purpose", b"x" * 10000) + file_part() + END, "a long purpose"),
    (PURPOSE + END, "no file"), (file_part() + END, "no purpose"), (part(b"purpose", b"") + file_part() + END, "an empty purpose")])
def test_a_form_against_the_rules_is_400_and_goes_nowhere(forms, sim, body, why):
    for framing in ("length", "chunked"):
        for pieces in ([SLICE], [5]):
            envelope(forms.upload(body, FORM, framing=framing, pieces=pieces), 400)
    assert sim.requests() == []


def test_an_empty_batch_file_is_400(forms, sim):
    for data in (b"", b"\n", b"\r\n\r\n"):
        error = envelope(forms.upload(PURPOSE + file_part(data) + END, FORM), 400, param="file")
        assert error["code"] == "empty_file", error
    assert sim.requests() == []


def test_expiry_fields_reach_the_provider(forms, sim):
    for anchor, seconds in ((b"expires_after[anchor]", b"expires_after[seconds]"), (b"expires_after.anchor", b"expires_after.seconds")):
        answer = forms.upload(part(anchor, b"created_at") + file_part() + part(seconds, b"1300000") + PURPOSE + END, FORM)
        assert answer.status == 200, answer
        file = answer.json()
        assert file["expires_at"] - file["created_at"] == 1300000, file


@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_what_is_no_batch_file_arrives_byte_for_byte(make_door, sim, kind):
    """Bytes of every kind, line ends of every kind, and everything that nearly is a boundary."""
    door = make_door(kind, direct_config(sim), workers=1)
    rng = random.Random(11)
    near = [b"\r\n--", b"\r\n--b0", b"\r\n--bb", b"\n--b--\n", b"\n--b\r\n", b"\r--b\r\n", b"--b--\r\n", b"\r\n-", b"\r\n\r\n--c--", b"\r\n-b\r\n", b"\r\n--b x\r\n"]
    files = [b"~".join(near), bytes(range(256)) * 300, b"\r\n", b"\r\n\r\n\r\n", b"-", b"--c", rng.randbytes(200_000),
             b"~".join(rng.choice(near + [b"x", b"\r", b"\n", b"-", b"\r\n"]) for _ in range(20_000))]
    for data in files:
        body = part(b"purpose", b"user_data") + file_part(data, b'Content-Disposition: form-data; name="file"; filename="a.bin"') + END
        for pieces in ([SLICE], [rng.randrange(1, 5000) for _ in range(50)]):
            sim.reset()
            answer = door.upload(body, FORM, pieces=pieces)
            assert answer.status == 200, answer
            (_, file), = stored(sim)
            assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_line_ends_of_a_batch_file_are_kept(make_door, sim):
    door = make_door("h1", direct_config(sim), workers=1)
    rows = lines("gpt-4o-mini").splitlines()
    for data in (b"\r\n".join(rows) + b"\r\n", b"\n".join(rows), b"\r\n".join(rows[:2]) + b"\n" + rows[2] + b"\n\r\n\n"):
        sim.reset()
        for form in (PURPOSE + file_part(data) + END, file_part(data) + PURPOSE + END):
            assert door.upload(form, FORM).status == 200
        assert {f["sha256"] for _, f in stored(sim)} == {hashlib.sha256(data).hexdigest()}


def test_the_answer_names_what_the_provider_has(make_door, sim):
    door = make_door("h1", direct_config(sim), workers=1)
    data = lines("gpt-4o-mini", count=100)
    body, form = multipart([("purpose", "batch"), ("file", None)], data, filename="mine.jsonl")
    file = door.upload(body, form).json()
    (_, kept), = stored(sim)
    assert (file["bytes"], file["filename"], file["purpose"]) == (len(data), "mine.jsonl", "batch") == (
        kept["bytes"], kept["filename"], kept["purpose"])
    assert json.loads(door.gateway.get(f"/v1/files/{file['id']}").body)["id"] == file["id"]
