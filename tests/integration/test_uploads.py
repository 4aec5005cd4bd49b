"""Uploads: broken lines cost nothing upstream, only body.model changes, and a refusing deployment is passed over."""

import json

import pytest
from harness import (DEPLOYMENTS, GROUP, PATIENCE, PROVIDER_KEYS, balanced_config, direct_config, envelope, http_request, lines, multipart,
                     worker_pids)
from wire import sanitized

GOOD = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-batch","messages":[]}}'


def with_line(n, line):
    """Five lines of which line `n` is `line`."""
    rows = [GOOD.replace(b'"a"', b'"row-%d"' % i) for i in range(1, 6)]
    rows[n - 1] = line
    return b"\n".join(rows) + b"\n"


@pytest.mark.parametrize("line, data", [
    (2, with_line(2, b'{"custom_id": oops}')), (5, with_line(5, GOOD[:-1])), (1, with_line(1, b"[1,2]")),
    (3, with_line(3, b'"text"')), (3, with_line(3, GOOD.replace(b'"POST"', b'"GET"'))),
    (4, with_line(4, GOOD.replace(b'"model":"gpt-4o-batch",', b""))), (2, with_line(2, GOOD.replace(b"gpt-4o-batch", b"other"))),
    (2, with_line(2, GOOD.replace(b'"a"', b'"row-1"'))), (3, with_line(3, GOOD.replace(b'"custom_id":"a",', b""))),
    (3, with_line(3, GOOD.replace(b"/v1/chat/completions", b"/v1/embeddings"))), (1, b"\xef\xbb\xbf" + with_line(1, GOOD)),
    (2, with_line(2, GOOD.replace(b'"a"', b'"\xff"'))), (2, with_line(2, b"")), (1, with_line(1, b'{"a":' * 300)),
    (3, with_line(3, GOOD.replace(b'"body":{', b'"body":[{').replace(b"}}", b"}]}"))),
    (3, with_line(3, GOOD.replace(b'"model":"gpt-4o-batch"', b'"model":"gpt-4o-batch","model":"gpt-4o-batch"')))],
    ids=["bare_word", "cut", "array", "string", "method", "no_model", "other_model", "duplicate_id", "no_id", "other_url", "bom",
         "utf8", "blank", "deep", "body_array", "two_models"])
def test_a_broken_line_is_400_with_its_place_and_nothing_is_uploaded(gateway, sim, line, data):
    error = envelope(gateway.upload(data), 400, param="file")
    assert f"line {line}," in error["message"].lower() and "column" in error["message"], error
    assert sim.created("files") == 0 and sim.requests() == []


def test_an_empty_file_is_400(gateway, sim):
    envelope(gateway.upload(b""), 400, param="file")
    assert sim.created("files") == 0


@pytest.mark.parametrize("data", [
    lines() + b"\n\n", lines().replace(b"\n", b"\r\n"), lines()[:-1], lines() + b"\r\n"],
    ids=["blank_tail", "crlf", "no_last_newline", "crlf_tail"])
def test_harmless_line_ends_are_accepted_and_kept(gateway, sim, data):
    file = gateway.uploaded(data)
    got = gateway.get(f"/v1/files/{file['id']}/content").body
    deployment = json.loads(got.splitlines()[0])["body"]["model"]
    assert got == data.replace(GROUP.encode() + b'"', deployment.encode() + b'"')


TRICKY = (
    b'{ "custom_id" : "r\\u00e9sum\\u00e9-1" , "method":"POST","url":"/v1/chat/completions", "body" : {"temperature":1.0e+00,'
    b'"big":123456789012345678901234567890,"neg":-0.0,"model" : "gpt-4o-batch" , "messages":[{"role":"user",'
    b'"content":"the \\"model\\":\\"gpt-4o-batch\\" stays, \xf0\x9f\x98\x80 \\ud83d\\ude00 \\/ "}],"a":1,"a":2}}\n'
    b'{"body":{"messages":[{"model":"gpt-4o-batch"}],"nested":{"model":"gpt-4o-batch"},"model":"gpt-4o\\u002dbatch"},'
    b'"url":"/v1/chat/completions","custom_id":"two","method":"POST"}\r\n'
    b'{"custom_id":"three","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-batch"},"extra":null}'
)


def test_only_the_value_of_body_model_changes(gateway, sim):
    file = gateway.uploaded(TRICKY)
    (account,) = [a for a in DEPLOYMENTS if sim.ledger(a)["files"]]
    (kept,) = sim.ledger(account)["files"]
    got = http_request(sim.ports[account], "GET", f"/openai/files/{kept['id']}/content?api-version=2024-10-21",
                       headers={"api-key": PROVIDER_KEYS[account]}).body
    name = DEPLOYMENTS[account].encode()
    wanted = TRICKY.replace(b'"model" : "gpt-4o-batch"', b'"model" : "' + name + b'"')
    wanted = wanted.replace(b'"model":"gpt-4o\\u002dbatch"', b'"model":"' + name + b'"')
    wanted = wanted.replace(b'"body":{"model":"gpt-4o-batch"}', b'"body":{"model":"' + name + b'"}')
    assert got == wanted
    assert kept["bytes"] == len(wanted)
    assert gateway.get(f"/v1/files/{file['id']}/content").body == wanted


def test_without_balancing_not_a_byte_changes(direct, sim):
    data = TRICKY.replace(b"gpt-4o-batch", b"gpt-4o-mini").replace(b"gpt-4o\\u002dbatch", b"gpt-4o\\u002dmini")
    file = direct.uploaded(data)
    (kept,) = sim.ledger("oai")["files"]
    assert kept["bytes"] == len(data)
    assert direct.get(f"/v1/files/{file['id']}/content").body == data


def test_the_form_may_come_in_any_order_and_chunked(gateway):
    data = lines()
    for pairs in ([("file", None), ("purpose", "batch")], [("purpose", "batch"), ("file", None)],
                  [("unknown", "x"), ("file", None), ("purpose", "batch"), ("target_model_names", GROUP)]):
        body, form = multipart(pairs, data)
        whole = gateway.post("/v1/files", body, headers={"Content-Type": form})
        assert whole.status == 200, whole
        pieces = [body[n:n + 7] for n in range(0, len(body), 7)]
        chunked = gateway.post("/v1/files", iter(pieces), headers={"Content-Type": form, "Transfer-Encoding": "chunked"})
        assert chunked.status == 200, chunked
        assert chunked.json()["bytes"] == whole.json()["bytes"]


def test_boundaries_preambles_and_quoting_of_all_legal_kinds_work(gateway):
    for boundary in ("b", "--------------------------1234567890abcdef", "a'()+_,-./:=?" + "x" * 50):
        body, form = multipart([("purpose", "batch"), ("file", None)], lines(), boundary=boundary)
        quoted = f'multipart/form-data; boundary="{boundary}"; charset=utf-8'
        answer = gateway.post("/v1/files", b"a preamble\r\n" + body + b"an epilogue", headers={"Content-Type": quoted})
        assert answer.status == 200, (boundary, answer)


def test_the_file_name_reaches_the_provider(gateway, sim):
    gateway.uploaded(filename="nightly r%C3%A9sum.jsonl")
    (account,) = [a for a in DEPLOYMENTS if sim.ledger(a)["files"]]
    assert sim.ledger(account)["files"][0]["filename"] == "nightly r%C3%A9sum.jsonl"


@pytest.mark.parametrize("fields, param", [([("file", None)], "purpose"), ([("purpose", "batch")], "file"),
                                           ([("purpose", ""), ("file", None)], "purpose")],
                         ids=["no_purpose", "no_file", "empty_purpose"])
def test_a_missing_field_is_named(gateway, sim, fields, param):
    body, form = multipart(fields, lines())
    envelope(gateway.post("/v1/files", body, headers={"Content-Type": form}), 400, param=param)
    assert sim.created("files") == 0


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "multipart/form-data",
                                          "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300])
def test_a_body_that_is_no_form_is_400(gateway, sim, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = gateway.post("/v1/files", b"hello", headers=headers)
    assert answer.status in (400, 415), answer
    assert sim.created("files") == 0


def test_a_form_that_ends_too_early_is_400(gateway, sim):
    body, form = multipart([("purpose", "batch"), ("file", None)], lines())
    answer = gateway.post("/v1/files", body[:-20], headers={"Content-Type": form})
    envelope(answer, 400)
    assert sim.created("files") == 0


def test_a_refusing_deployment_is_passed_over(gateway, sim):
    sim.fault({"status": 503, "body": {"error": {"code": "serviceUnavailable", "message": "busy"}}}, account="eu", method="POST",
              path="/openai/files*", times=-1)
    sim.fault({"status": 429, "headers": {"retry-after": "30"}, "body": {"error": {"code": "429", "message": "slow"}}},
              account="us", method="POST", path="/openai/files*", times=-1)
    for _ in range(4):
        gateway.uploaded()
    assert [sim.ledger(a)["creates"]["files"] for a in ("eu", "us", "sw")] == [0, 0, 4]


def test_a_deployment_that_is_not_there_is_passed_over(start, sim):
    from harness import azure_deployment, free_port
    config = balanced_config(sim, accounts=["us"])
    config["model_list"].insert(0, azure_deployment(sim, "eu", api_base=f"http://127.0.0.1:{free_port()}", weight=1000))
    gateway = start(config, sim=sim)
    for _ in range(4):
        gateway.uploaded()
    assert sim.ledger("us")["creates"]["files"] == 4


def test_a_full_resource_is_passed_over(make_sim, start):
    from harness import azure_account, sim_config
    own = make_sim(sim_config([azure_account("eu", switches={"max_files": 1}), azure_account("us")]))
    gateway = start(balanced_config(own, accounts=["eu", "us"]), sim=own)
    for _ in range(24):  # drawn by lot: that none goes to the small one happens once in ten million runs
        gateway.uploaded()
    assert own.ledger("eu")["creates"]["files"] == 1 and own.ledger("us")["creates"]["files"] == 23


def test_weights_decide_who_gets_how_much(start, sim):
    config = balanced_config(sim, accounts=["eu", "us"])
    config["model_list"][0]["litellm_params"]["weight"] = 9
    config["model_list"][1]["litellm_params"]["weight"] = 1
    gateway = start(config, sim=sim, workers=1)
    for _ in range(160):
        gateway.uploaded()
    eu, us = (sim.ledger(a)["creates"]["files"] for a in ("eu", "us"))
    assert eu + us == 160 and eu > us and us >= 1, (eu, us)


def test_a_slow_and_a_gone_client_leave_nothing_behind(gateway, sim):
    import socket
    body, form = multipart([("purpose", "batch"), ("file", None)], lines(count=5000))
    head = (f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-master-1234\r\nContent-Type: {form}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()
    for cut in (0, 1, 200, len(body) // 2, len(body) - 1):
        with socket.create_connection(("127.0.0.1", gateway.port)) as s:
            s.sendall(head + body[:cut])
    assert gateway.uploaded(lines())["id"]
    assert sim.created("files") == 1


def big_file(path, size):
    """A file of `size` bytes of valid lines, written without holding it."""
    text = "x" * 4000
    with open(path, "wb") as out:
        n, at = 0, 0
        while at < size:
            n += 1
            at += out.write(b'{"custom_id":"row-%d","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-batch",'
                            b'"messages":[{"role":"user","content":"%s"}]}}\n' % (n, text.encode()))
    return n


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    return 0


@pytest.mark.plain
@pytest.mark.timeout(1500)
def test_a_file_of_almost_200_megabytes_goes_up_and_comes_back(gateway, sim, tmp_path):
    import hashlib
    import subprocess
    path = tmp_path / "big.jsonl"
    big_file(path, 199_000_000)
    gateway.wait_line("generation 1 serves")  # what is made once is made
    before = {pid: resident_kb(pid) for pid in worker_pids(gateway, 2)}
    done = subprocess.run(["curl", "-sS", "--fail-with-body", f"{gateway.url}/v1/files", "-H", "Authorization: Bearer sk-master-1234",
                           "-F", "purpose=batch", "-F", f"file=@{path}"], capture_output=True, timeout=PATIENCE * 10, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (done.stdout, done.stderr)
    file = json.loads(done.stdout)
    (account,) = [a for a in DEPLOYMENTS if sim.ledger(a)["files"]]
    (kept,) = sim.ledger(account)["files"]
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as data:
        for line in data:
            line = line.replace(b'"model":"gpt-4o-batch"', b'"model":"' + DEPLOYMENTS[account].encode() + b'"')
            digest.update(line)
            size += len(line)
    assert (kept["bytes"], kept["sha256"]) == (size, digest.hexdigest())
    got = tmp_path / "got.jsonl"
    subprocess.run(["curl", "-sS", "--fail", "-o", str(got), f"{gateway.url}/v1/files/{file['id']}/content", "-H",
                    "Authorization: Bearer sk-master-1234"], check=True, timeout=PATIENCE * 10, stdin=subprocess.DEVNULL)
    assert hashlib.sha256(got.read_bytes()).hexdigest() == digest.hexdigest()
    if not sanitized():
        grown = max(resident_kb(pid) - was for pid, was in before.items())
        assert grown < 8 * 1024, f"a worker grew by {grown} KiB"


def test_a_file_above_the_limit_is_413_or_400_and_not_sent(start, sim):
    config = balanced_config(sim)
    config["tranche_settings"] = {"limits": {"max_file_bytes": {"azure": 100_000}}}
    gateway = start(config, sim=sim)
    answer = gateway.upload(lines(count=2000))
    assert answer.status in (400, 413), answer
    envelope(answer)
    assert sim.created("files") == 0
    gateway.uploaded(lines(count=10))
