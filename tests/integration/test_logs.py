"""Logs whose reader stops, leaves or has no room: clients, workers and the master's signals do not wait for it, and what was lost
is counted."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import pytest
from harness import MASTER_KEY, PATIENCE, alive, balanced_config, find_binary, http_request, program_env, until

BATCH = "/v1/batches/batch_x"


def listening_port(pid):
    """Where a program listens whose log nobody reads. A number that was free a moment ago may be somebody else's now."""
    def found():
        sockets = set()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                sockets.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                return int(local.split(":")[1], 16)
        return None

    return until(found, "it listens")


class Unread:
    """A gateway both of whose streams go to one pipe, as `2>&1 | reader` makes it; the test is the reader."""

    def __init__(self, tmp_path, sim, workers=2, stdout=None, argv=()):
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps(balanced_config(sim, router_settings={"num_retries": 0, "disable_cooldowns": True})))
        self.read_fd = None
        if stdout is None:
            self.read_fd, stdout = os.pipe()
            fcntl.fcntl(self.read_fd, fcntl.F_SETPIPE_SZ, 4096)
        argv = list(argv) + [find_binary("tranche"), "--config", str(config), "--host", "127.0.0.1", "--port", "0",
                             "--num_workers", str(workers), "--debug"]
        self.popen = subprocess.Popen(argv, env=program_env(), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stdout,
                                      start_new_session=True)
        os.close(stdout)
        self.port = listening_port(self.popen.pid)
        until(self.is_up, "an answer")

    def is_up(self):
        try:
            return http_request(self.port, "GET", "/health/liveliness").status == 200
        except OSError:
            return False

    def poll(self):
        return http_request(self.port, "GET", BATCH, headers={"Authorization": f"Bearer {MASTER_KEY}"})

    def lost(self, stream):
        page = http_request(self.port, "GET", "/metrics", headers={"Authorization": f"Bearer {MASTER_KEY}"}).body.decode()
        return int(re.search(rf'^tranche_log_lines_dropped_total{{stream="{stream}"}} (\d+)$', page, re.M).group(1))

    def loses(self, least=1, stream="access"):
        """A line is written, or lost, a moment after the answer."""
        until(lambda: self.lost(stream) >= least, f"{least} lost lines of the {stream} log")

    def children(self):
        return [int(p) for p in pathlib.Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()]

    def start_reading(self):
        """From now on the reader reads; returns the list that fills."""
        got = []

        def read():
            with os.fdopen(self.read_fd, "rb") as pipe:
                got.extend(line for line in pipe)

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        self.read_fd = None
        return got

    def end(self, signum=signal.SIGTERM):
        children = self.children()
        self.popen.send_signal(signum)
        assert self.popen.wait(PATIENCE * 2) == 0
        assert not [pid for pid in children if alive(pid)]

    def close(self):
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        if self.read_fd is not None:
            os.close(self.read_fd)


@pytest.fixture
def unread(tmp_path, sim):
    made = []

    def make(**kw):
        made.append(Unread(tmp_path, sim, **kw))
        return made[-1]

    yield make
    for one in made:
        one.close()


def fail_polls(gateway, sim, count=150):
    """Each failing poll is worth lines of both logs."""
    sim.fault({"status": 500, "body": "{}"}, method="GET", times=100_000)
    for _ in range(count):
        assert gateway.poll().status >= 400


def test_failing_polls_go_on_when_nobody_reads_the_log(unread, sim):
    gateway = unread()
    fail_polls(gateway, sim)
    gateway.loses()
    gateway.end()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_gateway_when_nobody_reads_the_log(unread, sim, signum):
    gateway = unread(workers=1)
    fail_polls(gateway, sim)
    gateway.end(signum)


def test_a_reload_goes_on_when_nobody_reads_the_log(unread, sim):
    gateway = unread(workers=1)
    fail_polls(gateway, sim)
    before = gateway.children()
    gateway.popen.send_signal(signal.SIGHUP)
    until(lambda: not set(before) & set(gateway.children()), "the new generation serves alone", PATIENCE * 2)
    assert gateway.poll().status >= 400
    gateway.end()


def test_lines_that_were_lost_are_told_when_the_reader_is_back_and_the_others_are_whole(unread, sim):
    gateway = unread()
    fail_polls(gateway, sim)
    until(lambda: (gateway.poll(), gateway.lost("access") > 0 and gateway.lost("error") > 0)[1], "both lost something")
    got = gateway.start_reading()
    until(lambda: (gateway.poll(), [line for line in list(got) if b'"lines_lost":' in line])[1], "the access log tells")
    until(lambda: [line for line in list(got) if b"lines of this log were lost" in line], "the error log tells")
    gateway.end()
    gateway.reader.join(PATIENCE)
    told = sum(json.loads(line).get("lines_lost", 0) for line in got if line.startswith(b"{"))
    assert told > 0
    for line in got:
        assert line.endswith(b"\n")
        if line.startswith(b"{"):
            assert set(json.loads(line)) >= {"time", "request_id", "route", "status"}
        else:
            assert re.match(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug) \S.*\[\d+\]: ", line), line


def test_a_reader_that_was_stopped_with_sigstop_gets_on_where_it_was(tmp_path, unread, sim):
    """`2>&1 | logger` whose logger stops."""
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(read_fd, fcntl.F_SETPIPE_SZ, 8192)
    copy = tmp_path / "log"
    with copy.open("wb") as out:
        reader = subprocess.Popen(["cat"], stdin=read_fd, stdout=out)
    os.close(read_fd)
    try:
        gateway = unread(stdout=write_fd)
        until(lambda: b"generation 1 serves" in copy.read_bytes(), "the reader reads")
        reader.send_signal(signal.SIGSTOP)
        sim.fault({"status": 500, "body": "{}"}, method="GET", times=1_000_000)
        until(lambda: (gateway.poll(), gateway.lost("access") > 0)[1], "the pipe is full")
        reader.send_signal(signal.SIGCONT)
        until(lambda: (gateway.poll(), b'"lines_lost":' in copy.read_bytes())[1], "the reader is back")
        gateway.end()
        assert reader.wait(PATIENCE) == 0
    finally:
        reader.kill()
        reader.wait()


def test_a_reader_that_has_gone_ends_nothing(unread, sim):
    gateway = unread()
    os.close(gateway.read_fd)
    gateway.read_fd = None
    children = gateway.children()
    fail_polls(gateway, sim, 20)
    gateway.loses(20)
    assert set(children) <= set(gateway.children())
    gateway.end()


def test_a_full_disk_costs_the_log_alone(tmp_path, unread, sim):
    log = tmp_path / "log"
    gateway = unread(stdout=os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
                     argv=["prlimit", "--fsize=6000", "--"])
    children = gateway.children()
    fail_polls(gateway, sim, 60)
    gateway.loses()
    assert log.stat().st_size <= 6000
    assert set(children) <= set(gateway.children())
    gateway.end()


def test_a_pipe_that_others_write_to_stays_as_they_have_it(unread):
    """O_NONBLOCK belongs to the description that a shell shares with all that it started."""
    read_fd, write_fd = os.pipe()
    theirs = os.dup(write_fd)
    try:
        unread(stdout=write_fd).end()
        assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
    finally:
        os.close(theirs)
        os.close(read_fd)


def test_a_socket_as_a_service_manager_gives_it_holds_nobody_up(unread, sim):
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours:
        gateway = unread(stdout=theirs.detach())
        fail_polls(gateway, sim)
        gateway.loses()
        gateway.end()


def test_a_closed_standard_output_does_not_make_a_client_read_the_log(tmp_path, sim):
    """The next descriptor that is opened would be number 1."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(balanced_config(sim)))
    shell = 'exec "$0" --config "$1" --host 127.0.0.1 --port 0 --num_workers 1 >&- 2>&-'
    program = subprocess.Popen(["sh", "-c", shell, find_binary("tranche"), str(config)], env=program_env())
    try:
        port = listening_port(program.pid)
        def answer():
            try:
                return http_request(port, "GET", "/health/liveliness").status == 200
            except OSError:
                return False
        until(answer, "an answer")
        for fd in "0", "1", "2":
            assert not os.readlink(f"/proc/{program.pid}/fd/{fd}").startswith("socket:")
        assert os.readlink(f"/proc/{program.pid}/fd/1") == "/dev/null"
        program.send_signal(signal.SIGTERM)
        assert program.wait(PATIENCE) == 0
    finally:
        program.kill()
        program.wait()


def test_a_report_of_a_bad_configuration_is_whole_for_a_slow_reader(tmp_path):
    """More than a pipe holds, so that it has to be waited for."""
    config = tmp_path / "config.yaml"
    config.write_text("model_list:\n" + "".join(
        f"- model_name: m{n}\n  litellm_params:\n    model: azure/m\n    weight: {'w' * 100}\n" for n in range(1000)))
    program = subprocess.Popen([find_binary("tranche"), "--config", str(config)], env=program_env(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    fcntl.fcntl(program.stdout, fcntl.F_SETPIPE_SZ, 4096)
    text, _ = program.communicate(timeout=PATIENCE * 2)
    assert program.returncode == 1
    assert len(text) > 100_000 and b"model_list[999]" in text
