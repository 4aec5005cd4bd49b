"""Checking a batch file without sending it: POST /v1/files/validate and `tranche check-file`."""

import subprocess

import pytest
from harness import GROUP, PATIENCE, envelope, find_binary, lines, multipart, program_env

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
