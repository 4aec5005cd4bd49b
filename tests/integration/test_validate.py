"""Checking a batch file without sending it: POST /v1/files/validate and `tranche check-file`."""

import json
import os
import pty
import random
import subprocess

import pytest
from harness import GROUP, PATIENCE, balanced_config, direct_config, envelope, find_binary, lines, multipart, program_env
from test_checker_properties import Checker, damage, template, written
from test_upload_abuse import MIB, Watch, no_sanitizer, send_big
from wire import make_door, wire_certificate  # noqa: F401

BAD = lines(count=3).replace(b'"request-2"', b'"request-1"').replace(b'"request-3", "method": "POST"', b'"request-3", "method": "GET"')


def test_a_good_file_is_reported_and_not_sent(gateway, sim):
    answer = gateway.upload(target="/v1/files/validate")
    assert answer.status == 200, answer
    report = answer.json()
    assert (report["valid"], report["lines"], report["bytes"], report["model"]) == (True, 3, len(lines()), GROUP)
    assert (report["url"], report["errors"]) == ("/v1/chat/completions", []) and report["estimated_tokens"] >= 3000
    assert sim.requests() == []


def test_a_bad_file_is_reported_with_all_its_errors(gateway, sim):
    report = gateway.upload(BAD, target="/v1/files/validate").json()
    assert not report["valid"] and [e["line"] for e in report["errors"]] == [2, 3]
    assert all(e["column"] >= 1 and e["code"] and e["message"] for e in report["errors"])
    assert sim.requests() == []


def test_validation_needs_the_key_too(gateway):
    envelope(gateway.upload(target="/v1/files/validate", key="sk-wrong"), 401)


@pytest.mark.parametrize("data, code", [(lines(), 0), (BAD, 1), (b"", 1), (b"\xef\xbb\xbf" + lines(), 1)],
                         ids=["good", "bad", "empty", "bom"])
def test_the_command_line_says_the_same(tmp_path, data, code):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(data)
    done = subprocess.run([find_binary("tranche"), "check-file", str(path)], env=program_env(), capture_output=True, text=True,
                          timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done
    assert str(path) in done.stdout
    if data is BAD:
        assert f"{path}:2:" in done.stdout and f"{path}:3:" in done.stdout


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    done = subprocess.run([find_binary("tranche"), "check-file", str(tmp_path / "nowhere")], env=program_env(),
                          capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert done.returncode > 0 and "nowhere" in done.stderr


# --- the endpoint ---

EVERYWHERE = ["/v1/files/validate", "/files/validate", "/v1/files/validate/", "/openai/v1/files/validate", "/azure/v1/files/validate"]


@pytest.mark.parametrize("target", EVERYWHERE)
def test_validation_has_every_spelling_of_the_other_routes(gateway, sim, target):
    answer = gateway.upload(target=target)
    assert answer.status == 200 and answer.headers["content-type"].startswith("application/json"), answer
    assert set(answer.json()) >= {"valid", "lines", "bytes", "model", "url", "estimated_tokens", "errors"}
    assert sim.requests() == []


def test_other_methods_are_405_and_nothing_to_validate_is_400(gateway, sim):
    for method in ("PUT", "PATCH"):
        assert gateway.request(method, "/v1/files/validate").status in (404, 405)
    envelope(gateway.post("/v1/files/validate"), 400)
    envelope(gateway.post("/v1/files/validate", b"{}", headers={"Content-Type": "application/json"}), 400)
    body, form = multipart([("purpose", "batch")])
    envelope(gateway.post("/v1/files/validate", body, headers={"Content-Type": form}), 400, param="file")
    body, form = multipart([("file", None)], lines())
    assert gateway.post("/v1/files/validate", body, headers={"Content-Type": form}).json()["valid"] is True  # no purpose is needed
    assert sim.requests() == []


def test_a_file_for_another_purpose_is_not_called_a_broken_batch(gateway):
    body, form = multipart([("purpose", "user_data"), ("file", None)], lines())
    answer = gateway.post("/v1/files/validate", body, headers={"Content-Type": form})
    if answer.status == 200:  # checked all the same
        assert answer.json()["valid"] is True and answer.json()["lines"] == 3, answer
    else:
        envelope(answer, 400, param="purpose")


def test_each_error_has_line_column_field_code_and_message(gateway):
    row = '{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-batch"}}'
    rows = [row % 1, "{", row % 1, (row % 4).replace("POST", "GET"), (row % 5).replace("gpt-4o-batch", "other"), row % 6,
            (row % 7).replace("chat/completions", "embeddings"), (row % 8).replace('"model":"gpt-4o-batch"', ""), "[]"]
    report = gateway.upload("\n".join(rows).encode(), target="/v1/files/validate").json()
    wanted = [(2, None, "invalid_json_line"), (3, "custom_id", "duplicate_custom_id"), (4, "method", "invalid_method"),
              (5, "body.model", "model_mismatch"), (7, "url", "url_mismatch"), (8, "body.model", "missing_required_parameter"),
              (9, None, "invalid_json_line")]
    assert [(e["line"], e["field"], e["code"]) for e in report["errors"]] == wanted, report
    assert all(set(e) == {"line", "column", "field", "code", "message"} and e["column"] >= 1 for e in report["errors"])
    assert (report["valid"], report["lines"], report["model"], report["url"]) == (False, 9, GROUP, "/v1/chat/completions")


@pytest.mark.parametrize("count", [49, 50, 51, 5000])
def test_fifty_errors_are_told_at_most(gateway, sim, count):
    data = b"oops\n" * count
    report = gateway.upload(data, target="/v1/files/validate").json()
    assert (report["valid"], len(report["errors"]), report["bytes"]) == (False, min(count, 50), len(data))
    assert [e["line"] for e in report["errors"]] == list(range(1, min(count, 50) + 1))
    body, form = multipart([("purpose", "batch"), ("file", None)], data)
    for target, told in (("/v1/files?validate=all", min(count, 50)), ("/v1/files?validate=first", 0), ("/v1/files", 0)):
        conn = Checker(gateway.port).conn
        conn.request("POST", target, {"Content-Type": form}, len(body))
        conn.send(body)
        answer = conn.answer()
        error = answer.json()["error"]
        assert answer.status == 400 and error["param"] == "file" and error["message"].startswith("Line 1, column 1"), answer
        assert error.get("errors", []) == report["errors"][:told]
        conn.close()
    assert sim.requests() == []


def test_all_errors_or_one_a_good_upload_is_an_upload(gateway, sim):
    assert gateway.upload(target="/v1/files?validate=all").status == 200
    assert sim.created("files") == 1


def test_no_model_and_no_url_are_null(start, sim):
    gateway = start(direct_config(sim), sim=sim)
    report = gateway.upload(b'{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":{"input":"x"}}',
                            target="/v1/files/validate").json()
    assert (report["model"], report["url"]) == (None, "/v1/embeddings")
    for data in (b"oops", b""):
        report = gateway.upload(data, target="/v1/files/validate").json()
        assert (report["valid"], report["model"], report["url"]) == (False, None, None)


def test_what_is_wrong_with_the_whole_file_has_no_line(start, sim):
    """A model that the router does not know; more lines than the provider takes."""
    config = balanced_config(sim, tranche_settings={"limits": {"max_lines": {"azure": 5, "openai": 100}}})
    gateway = start(config, sim=sim)
    for data, text in ((lines("nobody"), "nobody"), (lines(count=6), "5")):
        report = gateway.upload(data, target="/v1/files/validate").json()
        assert report["valid"] is False and len(report["errors"]) == 1, report
        (error,) = report["errors"]
        assert (error["line"], error["column"]) == (None, None) and text in error["message"], report
        refused = gateway.upload(data)
        assert envelope(refused, 400)["message"] == error["message"]
    assert gateway.upload(lines(count=5), target="/v1/files/validate").json()["valid"] is True
    assert sim.requests() == []


def test_the_estimate_follows_the_text_and_what_may_be_answered(gateway):
    def estimate(**body):
        row = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": GROUP, **body}}
        return gateway.upload(json.dumps(row).encode(), target="/v1/files/validate").json()["estimated_tokens"]

    def said(text):
        return [{"role": "user", "content": text}]

    base = estimate(messages=said("x" * 400))
    assert 90 <= base <= 130
    assert estimate(messages=said("x" * 4000)) - base == 900
    assert estimate(messages=said("x" * 400), max_tokens=1000) - base == 1000
    assert estimate(messages=said("x" * 400), max_completion_tokens=5, max_tokens=1000) - base == 1000
    assert estimate(messages=said([{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}])) < 1000
    assert estimate(messages=said("x" * 400), metadata={"note": "y" * 10_000}) == base


@no_sanitizer
def test_a_file_of_any_size_is_validated_without_room_for_it(make_door, sim):
    """Nothing is kept: neither in memory nor in the spool."""
    door = make_door("h1", balanced_config(sim, tranche_settings={"spool_limit": MIB}), workers=1)
    assert send_big(door, 100_000, "batch", "/v1/files/validate")[0].json()["valid"] is True
    watch = Watch(door.gateway)
    answer, size = send_big(door, 60_000_000, "batch", "/v1/files/validate")
    report = answer.json()
    assert (report["valid"], report["bytes"]) == (True, size), report
    assert watch.peak() <= 8 * MIB, watch.peak()
    assert sim.requests() == []


# --- the command ---

def check_file(*args, data=None, **kw):
    return subprocess.run([find_binary("tranche"), "check-file", *map(str, args)], env=program_env(), timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=kw.pop("stderr", subprocess.PIPE), input=data, **kw)


def test_command_and_endpoint_find_the_same(start, sim, tmp_path):
    gateway = start(balanced_config(sim), sim=sim)
    checker = Checker(gateway.port)
    rng = random.Random(5)
    path = tmp_path / "requests.jsonl"
    for number in range(40):
        data = written(rng, template(rng), GROUP)
        if number % 4:
            for _ in range(number % 4):
                data = damage(rng, data)
        path.write_bytes(data)
        report = checker.report(data)
        errors = [e for e in report["errors"] if e["line"] is not None]
        done = check_file(path)
        assert done.returncode == (1 if errors else 0), (done, report)
        told = done.stdout.decode().splitlines()
        assert [line.split(" ")[0] + " " + line.split(" ")[1].rstrip(":") for line in told if line.split(" ")[0] != f"{path}:"] == [
            f"{path}:{e['line']}:{e['column']}: {e['code']}" for e in errors], done.stdout
        for line, error in zip(told, errors):
            assert line.endswith(error["message"]), line
        for number in (report["lines"], report["bytes"], report["estimated_tokens"]):
            assert str(number) in told[-1], (told[-1], report)
        assert done.stderr == b""
    checker.conn.close()


def test_the_standard_input_is_a_file_too():
    done = check_file("-", data=lines())
    assert done.returncode == 0 and b"3 requests" in done.stdout, done
    assert check_file("-", data=b"oops").returncode == 1


@pytest.mark.parametrize("provider, code", [("openai", 1), ("azure", 0), (None, 0)])
def test_the_limits_are_those_of_the_provider(tmp_path, provider, code):
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(b'{"custom_id":"%d","method":"POST","url":"/v1/embeddings","body":{"model":"m"}}\n' % n for n in range(50_001)))
    done = check_file(*(["--provider", provider] if provider else []), path)
    assert done.returncode == code, done
    if code:
        assert b"too_many_tasks" in done.stdout and b"50000" in done.stdout


@pytest.mark.parametrize("args", [[], ["a", "b"], ["--provider", "cohere", "a"], ["--provider"], ["--nothing", "a"], ["a", "--provider"]],
                         ids=["none", "two", "unknown_provider", "no_provider", "unknown_flag", "late_flag"])
def test_wrong_usage_is_2_and_says_how(args):
    done = check_file(*args)
    assert done.returncode == 2 and b"check-file" in done.stderr and done.stdout == b"", done


def test_what_is_no_file_is_2(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        done = check_file(path)
        assert done.returncode == 2 and str(path).encode() in done.stderr, done


def test_the_progress_bar_is_for_terminals_only(tmp_path):
    path = tmp_path / "big.jsonl"
    path.write_bytes(lines(count=20_000, content="x" * 400))
    quiet = check_file(path)
    assert quiet.returncode == 0 and quiet.stderr == b"" and b"\r" not in quiet.stdout

    ours, theirs = pty.openpty()
    shown = check_file(path, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: everybody has closed the terminal
            break
        if not data:
            break
        seen += data
    os.close(ours)
    assert shown.returncode == 0 and shown.stdout == quiet.stdout
    assert seen.count(b"\r") > 10 and b"%" in seen and len(seen) < 60_000
    assert seen.rstrip(b" ").endswith(b"\r"), "the bar is still on the screen"
