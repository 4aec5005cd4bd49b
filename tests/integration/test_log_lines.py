"""What a line of the log says, where the lines go, and which there are."""

import json
import os
import re
import signal
import socket
import subprocess
import threading

from harness import (GROUP, MASTER_KEY, PATIENCE, balanced_config, find_binary, http_request, program_env, until)

DEBUG_LINE = r"debug worker \d+\[\d+\]: "


def line_of(gateway, answer):
    return json.loads(gateway.wait_line(r'^(?:<6>)?(\{.*"' + answer.headers["x-request-id"] + r'".*\})$').group(1))


def test_a_line_tells_who_what_where_and_how_long(gateway, sim):
    upload = gateway.upload()
    file = upload.json()["id"]
    created = gateway.create(file, headers={"Content-Type": "application/json"})
    batch = created.json()["id"]
    poll = gateway.get(f"/v1/batches/{batch}?secret=in-the-query")
    line = line_of(gateway, upload)
    assert (line["method"], line["path"], line["status"], line["id"], line["model"]) == ("POST", "/v1/files", 200, file, GROUP)
    assert line["client"] == "127.0.0.1" and line["bytes_in"] > 300 and line["bytes_out"] == len(upload.body)
    assert line["attempts"] == 1 and line["upstream_status"] in (200, 201)
    assert 0 <= line["queue_us"] <= line["duration_us"] and 0 < line["first_byte_us"] <= line["duration_us"] and line["connect_us"] >= 0
    assert line["deployment"] == upload.headers["x-litellm-model-id"]
    line = line_of(gateway, created)
    assert (line["path"], line["id"], line["attempts"]) == ("/v1/batches", batch, 1) and line["upstream_request_id"]
    line = line_of(gateway, poll)
    assert (line["path"], line["id"], line["bytes_in"], line["model"]) == ("/v1/batches/{id}", batch, 0, GROUP)
    sim.fault({"status": 503}, method="GET", path="/openai/batches/*", times=1)
    again = gateway.get(f"/v1/batches/{batch}")
    line = line_of(gateway, again)
    assert again.status == 200 and (line["attempts"], line["upstream_status"]) == (2, 200)
    line = line_of(gateway, gateway.get("/nowhere/" + MASTER_KEY, key=None))
    assert (line["route"], line["path"]) == ("none", "*") and "attempts" not in line
    assert "in-the-query" not in gateway.log and MASTER_KEY not in gateway.log


def test_a_request_that_the_end_cuts_off_has_a_line(start, sim):
    """Once by the end of the grace, once by a second signal."""
    for grace_ms, signals in ((100, 1), (60_000, 2)):
        sim.reset()
        gateway = start(balanced_config(sim, tranche_settings={"timeouts": {"shutdown_grace_ms": grace_ms}}), sim=None, workers=1)
        batch = gateway.created(gateway.uploaded()["id"])["id"]
        sim.fault({"hang": "answer", "ms": 120_000}, method="GET", path="/openai/batches/*", times=100)
        seen = len(sim.requests())

        def ask():
            try:
                http_request(gateway.port, "GET", f"/v1/batches/{batch}", headers={"Authorization": f"Bearer {MASTER_KEY}"})
            except OSError:
                pass

        client = threading.Thread(target=ask, daemon=True)
        client.start()
        until(lambda: len(sim.requests()) > seen, "it is under way")
        gateway.deaths_expected = True
        gateway.send(signal.SIGTERM)
        gateway.wait_line("draining: ")
        if signals == 2:  # one that comes within a second is the first one
            until(lambda: (gateway.send(signal.SIGTERM), gateway.popen.poll() is not None)[1], "the end")
        gateway.wait()
        gateway.wait_output_end()
        line = json.loads(gateway.wait_line(r'^\{.*"cut_off":true.*\}$').group(0))
        assert (line["status"], line["path"], line["id"], line["attempts"]) == (499, "/v1/batches/{id}", batch, 1), line
        client.join(PATIENCE)


def test_logs_go_to_files_that_are_opened_again_and_the_level_changes_at_run_time(start, sim, tmp_path):
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    config = balanced_config(sim, tranche_settings={"access_log": str(access), "error_log": "error.log", "log_priority": True},
                             router_settings={"num_retries": 1, "disable_cooldowns": True})
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    program = subprocess.Popen([find_binary("tranche"), "--config", str(path), "--host", "127.0.0.1", "--port", "0", "--num_workers", "2"],
                               env=program_env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def text(file):
        return file.read_text() if file.exists() else ""

    def wait_for(pattern, file):
        return until(lambda: re.search(pattern, text(file), re.M), f"{pattern} in {file}")

    try:
        port = int(wait_for(r"^<6>\S+ info master\[\d+\]: listening on 127\.0\.0\.1:(\d+)", error).group(1))

        def get(target="/v1/batches/batch_x"):
            return http_request(port, "GET", target, headers={"Authorization": f"Bearer {MASTER_KEY}"})

        sim.fault({"status": 500, "body": "{}"}, method="GET", path="/openai/batches/*", times=100_000)
        until(lambda: (get(), re.search(r"^<4>\S+ warn worker \d+\[\d+\]: ", text(error), re.M))[1], "a worker's line in the same file")
        first = get().headers["x-request-id"]
        wait_for(r'^<6>\{.*"' + first + r'".*\}$', access)
        assert " debug " not in text(error)
        program.send_signal(signal.SIGRTMIN + 22)
        until(lambda: (get(), re.search(r"^<7>\S+ " + DEBUG_LINE, text(error), re.M))[1], "what is for debugging")
        program.send_signal(signal.SIGRTMIN + 23)
        wait_for("log level: info", error)
        # Moved away and opened again, by all processes.
        access.rename(tmp_path / "access.1"), error.rename(tmp_path / "error.1")
        second = get().headers["x-request-id"]
        wait_for(second, tmp_path / "access.1")
        program.send_signal(signal.SIGUSR1)
        wait_for("SIGUSR1: logs are opened again", error)
        third = get().headers["x-request-id"]
        wait_for(third, access)
        assert third not in text(tmp_path / "access.1") and " debug " not in text(error)
        program.send_signal(signal.SIGTERM)
        out, _ = program.communicate(timeout=PATIENCE)
        assert program.returncode == 0 and b'"request_id"' not in out, out
        wait_for("stopped", error)
    finally:
        program.kill()
        program.wait()


def test_lines_to_the_journal_begin_with_a_priority(tmp_path, sim):
    """As systemd starts a service: both streams are one socket, which JOURNAL_STREAM names."""
    ours, theirs = socket.socketpair()
    stat = os.fstat(theirs.fileno())
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(balanced_config(sim)))
    program = subprocess.Popen([find_binary("tranche"), "--config", str(path), "--host", "127.0.0.1", "--port", "0", "--num_workers", "1"],
                               env=program_env({"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}), stdin=subprocess.DEVNULL,
                               stdout=theirs, stderr=theirs)
    theirs.close()
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(ours.makefile().readline, "")), daemon=True)
    reader.start()
    try:
        port = int(until(lambda: next((m for m in (re.search(r"listening on 127\.0\.0\.1:(\d+)", x) for x in list(lines)) if m), None),
                         "it listens").group(1))
        until(lambda: http_request(port, "GET", "/health/liveliness").status == 200, "an answer")
        until(lambda: any(x.startswith('<6>{"time"') for x in list(lines)), "a line of the access log")
        program.send_signal(signal.SIGTERM)
        assert program.wait(PATIENCE) == 0
        reader.join(PATIENCE)
        assert lines and all(re.match(r"<[3467]>[{\d]", x) for x in lines), [x for x in lines if not re.match(r"<[3467]>[{\d]", x)]
    finally:
        program.kill()
        program.wait()
        ours.close()
