"""Clients that leave and answers that get lost: nobody else notices, nothing is made twice, nothing is claimed that is not known."""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess

import pytest
from harness import (MASTER_KEY, PATIENCE, balanced_config, envelope, find_binary, http_request, lines, multipart, program_env, sim_config,
                     until)

NATIVE = "file-0123456789abcdef0123456789abcdef"


def leave(s, rng):
    """As programs end: closed, or reset because of unread bytes or a kill."""
    if rng.random() < 0.5:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def raw(method, target, body=b"", content_type="application/json"):
    return (f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


# --- files that Azure still looks at ---

def test_a_create_right_after_the_upload_waits_until_azure_has_processed_the_file(gateway, sim):
    sim.control("POST", "/control/switches", {"time": {"pending_ms": 600}})
    answer = gateway.create(gateway.uploaded()["id"])
    assert answer.status == 200, answer
    assert sim.created("batches") == 1


def test_a_file_that_stays_pending_makes_no_batch_and_the_client_may_try_again(start, sim):
    gateway = start(balanced_config(sim, tranche_settings={"timeouts": {"json_total_ms": 3000}}), sim=sim)
    sim.control("POST", "/control/switches", {"time": {"pending_ms": 3_600_000}})
    answer = gateway.create(gateway.uploaded()["id"])
    envelope(answer, 503, code="file_not_processed", param="input_file_id")
    assert answer.headers["retry-after"] and "x-should-retry" not in answer.headers
    assert sim.created("batches") == 0


def test_a_client_that_leaves_while_its_file_is_pending_gets_no_batch_behind_its_back(gateway, sim):
    sim.control("POST", "/control/switches", {"time": {"pending_ms": 3_600_000}})
    file = gateway.uploaded()
    body = json.dumps({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port)) as s:
        s.sendall(raw("POST", "/v1/batches", body))
        account = next(a for a in ("eu", "us", "sw") if sim.created("files", [a]))
        sim.wait(account, "GET", "/openai/files/*")
    gateway.wait_line(r'"route":"batches.create".*"status":499')  # else a batch could be made for it yet
    sim.advance(3_600_000)
    assert gateway.stop() == 0
    assert "grace period is over" not in gateway.log
    assert sim.created("batches") == 0


# --- what is not known is not claimed ---

@pytest.mark.parametrize("account", ["eu", "us", "sw"])
def test_a_file_that_could_not_be_looked_for_everywhere_is_not_said_to_be_missing(gateway, sim, account):
    sim.fault({"status": 500}, account=account, method="GET", path="/openai/files/*", times=100)
    answer = gateway.create(NATIVE)
    envelope(answer)
    assert answer.status >= 500, answer
    assert sim.created("batches") == 0


def test_a_delete_that_was_refused_and_then_finds_nothing_is_a_404(direct, sim):
    sim.fault({"status": 503}, account="oai", method="DELETE", times=1)
    envelope(direct.delete(f"/v1/files/{NATIVE}"), 404)


def test_a_delete_whose_answer_was_lost_is_reported_as_done(direct, sim):
    file = direct.uploaded(fields={"custom_llm_provider": "openai"})
    sim.fault({"reset": "answer"}, account="oai", method="DELETE", times=1)
    answer = direct.delete(f"/v1/files/{file['id']}")
    assert answer.status == 200 and answer.json() == {"id": file["id"], "object": "file", "deleted": True}


@pytest.mark.parametrize("body", ["", "{}", "[]", "<html>", '{"id":null}'])
@pytest.mark.parametrize("target", [f"/v1/files/{NATIVE}", "/v1/batches/batch_x"])
def test_an_answer_that_is_no_object_with_an_id_is_a_bad_gateway(direct, sim, target, body):
    sim.fault({"status": 200, "body": body}, account="oai", method="GET", path=target)
    envelope(direct.get(target), 502)


def test_a_page_that_is_no_answer_to_a_delete_is_a_bad_gateway(direct, sim):
    sim.fault({"status": 200, "body": "<html>please log in</html>"}, account="oai", method="DELETE")
    envelope(direct.delete(f"/v1/files/{NATIVE}", headers={"custom-llm-provider": "openai"}), 502)


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500, "body": ""}, {"reset": "head"}, {"status": 429, "body": "{}"}])
def test_an_error_that_may_pass_says_when_to_come_back(direct, sim, fault):
    sim.control("POST", "/control/switches", {"account": "oai", "set": {"retry_after": False, "retry_after_ms": False}})
    sim.fault(fault, account="oai", method="GET", times=100)
    answer = direct.get("/v1/batches/batch_x")
    assert answer.status == 429 or answer.status >= 500
    assert 1 <= int(answer.headers["retry-after"]) <= 60 and 0 < int(answer.headers["retry-after-ms"]) <= 60_000


# --- a log that nobody reads ---

def test_a_log_that_nobody_reads_does_not_hold_clients_up(tmp_path, sim):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(balanced_config(sim)))
    errors = tmp_path / "errors"
    argv = [find_binary("tranche"), "--config", str(config), "--host", "127.0.0.1", "--port", "0", "--num_workers", "1"]
    with errors.open("w") as err:
        program = subprocess.Popen(argv, env=program_env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err)
    try:
        fcntl.fcntl(program.stdout, fcntl.F_SETPIPE_SZ, 4096)
        port = int(until(lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", errors.read_text()), "a port").group(1))
        for _ in range(60):
            assert http_request(port, "GET", "/health/liveliness").status == 200
        os.read(program.stdout.fileno(), 4096)
        assert http_request(port, "GET", "/health/liveliness").status == 200
        program.send_signal(signal.SIGTERM)
        assert '"lines_lost":' in program.stdout.read().decode()
        assert program.wait(PATIENCE) == 0
    finally:
        program.kill()
        program.wait()


# --- clients that leave ---

FAULTS = [{"hang": "answer", "ms": 60}, {"delay_ms": 30}, {"reset": "answer"}, {"close": "body"}, {"truncate": 40},
          {"trickle": {"bytes": 200, "interval_ms": 2}}, {"status": 503}, {"status": 200, "body": ""}]


def requests_of(gateway, file, batch, output, rng):
    form, form_type = multipart([("purpose", "batch"), ("file", None)], lines(count=rng.choice([3, 2000])))
    create = json.dumps({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h",
                         "metadata": {"token": f"{rng.random()}"}}).encode()
    return [raw("POST", "/v1/files", form, form_type), raw("POST", "/v1/batches", create), raw("GET", f"/v1/batches/{batch}"),
            raw("GET", f"/v1/files/{output}/content"), raw("GET", "/v1/batches?limit=5"), raw("GET", "/v1/files"),
            raw("POST", f"/v1/batches/{batch}/cancel"), raw("DELETE", f"/v1/files/{NATIVE}")]


def test_clients_that_leave_at_any_moment_harm_nobody_and_double_nothing(start, make_sim):
    sim = make_sim(sim_config(validate_ms=10, run_ms=10, finalize_ms=10))
    sim.control("POST", "/control/switches", {"set": {"output_pad_bytes": 300_000, "max_files": 0}})
    gateway = start(balanced_config(sim, router_settings={"allowed_fails": 1_000_000}), sim=sim)
    file = gateway.uploaded()["id"]
    batch = gateway.wait_batch(sim, gateway.created(file)["id"])

    def client(seed):
        rng = random.Random(seed)
        for _ in range(60):
            account = rng.choice(["eu", "us", "sw"])
            sim.fault(rng.choice(FAULTS), account=account, times=1)
            data = rng.choice(requests_of(gateway, file, batch["id"], batch["output_file_id"], rng))
            with socket.create_connection(("127.0.0.1", gateway.port)) as s:
                with contextlib.suppress(ConnectionError):  # answered before all of it was there
                    s.sendall(data if rng.random() < 0.7 else data[:rng.randrange(len(data))])
                s.settimeout(rng.choice([0.0005, 0.005, 0.05]))
                with contextlib.suppress(OSError):
                    s.recv(rng.choice([1, 5000]))
                leave(s, rng)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(client, range(6)))
    sim.clear_faults()
    assert gateway.get("/v1/batches?limit=1").status == 200
    assert gateway.stop() == 0
    assert "grace period is over" not in gateway.log  # nothing was left that a drain would wait for
    ledger = sim.control("GET", "/control/ledger").json()["accounts"]
    tokens = [b["metadata"]["token"] for n in ("eu", "us", "sw") for b in ledger[n]["batches"]
              if "token" in (b["metadata"] or {})]
    assert len(tokens) == len(set(tokens))


def test_a_key_in_the_query_of_a_wrong_url_is_not_repeated(gateway):
    answer = gateway.get("/v1/nothing?api_key=sk-secret-in-query")
    assert "sk-secret-in-query" not in answer.body.decode() and "/v1/nothing" in envelope(answer, 404)["message"]


def test_a_drain_waits_for_a_cancel_whose_client_has_left(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"], tranche_settings={"timeouts": {"shutdown_grace_ms": 600_000}}), sim=sim, workers=1)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault({"hang": "answer", "ms": 600_000}, account="eu", method="POST", path="*/cancel")
    with socket.create_connection(("127.0.0.1", gateway.port)) as s:
        s.sendall(raw("POST", f"/v1/batches/{batch['id']}/cancel"))
        sim.wait("eu", "POST", "*/cancel", phase="received")
    gateway.wait_line(r'"route":"batches.cancel".*"status":499')
    gateway.send(signal.SIGTERM)
    gateway.wait_line("draining: .*upstream calls")
    sim.release()
    assert gateway.wait() == 0
    cancel = [r for r in sim.requests("eu") if r["target"].partition("?")[0].endswith("/cancel")]
    assert [r["status"] for r in cancel] == [200]  # not cut off: the provider's answer was read


def test_an_endless_answer_to_a_small_question_is_not_kept(direct, sim):
    sim.fault({"oversize": 3_000_000}, account="oai", method="GET", path="/v1/batches/*", times=100)
    file = direct.uploaded(fields={"custom_llm_provider": "openai"})
    batch = direct.created(file["id"], custom_llm_provider="openai")
    envelope(direct.get(f"/v1/batches/{batch['id']}?provider=openai"), 502, code="upstream_too_large")
