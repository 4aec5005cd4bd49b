"""Master and workers: who dies, who goes on, and what a client notices of it."""

import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import (GROUP, MASTER_KEY, PATIENCE, Process, alive, azure_deployment, balanced_config, envelope, find_binary, kill_child,
                     lines, program_env, until, worker_pids)
from wire import only_plain


def children(gateway):
    return sorted(gateway.workers())


class Load:
    """Clients that go on asking until told to stop; each one remembers what it saw."""

    def __init__(self, gateway, clients=4, work=None):
        self.gateway, self.stop_now = gateway, threading.Event()
        self.statuses, self.broken, self.problems = [], [], []
        self.work = work or self.poll
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]
        for t in self.threads:
            t.start()

    def poll(self):
        return self.gateway.get("/v1/batches?limit=1").status

    def run(self):
        while not self.stop_now.is_set():
            try:
                self.statuses.append(self.work())
            except (ConnectionError, http.client.HTTPException, TimeoutError) as gone:
                self.broken.append(gone)
            except Exception as problem:  # told by end()
                self.problems.append(problem)
                return

    def seen(self, more):
        wanted = len(self.statuses) + more
        until(lambda: len(self.statuses) >= wanted, f"{more} more answers")

    def end(self):
        self.stop_now.set()
        for t in self.threads:
            t.join(PATIENCE)
            assert not t.is_alive()
        assert not self.problems, self.problems


@only_plain("a hundred processes of a sanitizer are gigabytes")
def test_a_host_of_96_cpus_gets_96_workers_and_keeps_serving_over_a_reload(start, sim):
    """It had rows for 63, took 512 and said 128."""
    gateway = start(balanced_config(sim), sim=sim, workers=96)
    before = set(worker_pids(gateway, 96))
    gateway.send(signal.SIGHUP)
    until(lambda: len(pids := set(worker_pids(gateway))) == 96 and not before & pids, "96 others")
    assert gateway.get("/v1/batches").status == 200


@pytest.mark.parametrize("number", ["129", "512"])
def test_more_workers_than_a_gateway_has_rows_for_are_refused_in_so_many_words(tmp_path, number):
    config = tmp_path / "config.yaml"
    config.write_text(f"tranche_settings:\n  num_workers: {number}\n")
    for args, env in ((["--config", str(config)], {}), ([], {"NUM_WORKERS": number})):
        done = subprocess.run([find_binary("tranche"), "check", *args], env=program_env({"OPENAI_API_KEY": "sk-x", **env}),
                              capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        assert done.returncode != 0 and "128" in done.stdout + done.stderr, done


@pytest.mark.database
def test_a_killed_worker_is_replaced_at_once_and_the_others_serve(start, sim):
    gateway = start(balanced_config(sim), sim=sim, workers=3)
    gateway.deaths_expected = True
    load = Load(gateway, clients=3)
    load.seen(20)
    before = worker_pids(gateway, 3)
    victim = before[0]
    os.kill(victim, signal.SIGKILL)
    gateway.wait_line(r"ended: .*signal 9.* next one in 0 ms")
    until(lambda: len(pids := worker_pids(gateway)) == len(before) and victim not in pids, "a new worker")
    load.seen(50)
    load.end()
    assert set(load.statuses) == {200}
    assert len(load.broken) <= 3, "more than the victim's own connections broke"
    assert set(before) - {victim} <= set(worker_pids(gateway)), "another worker went away too"


@pytest.mark.database
def test_killing_workers_under_load_doubles_no_batch(start, sim):
    gateway = start(balanced_config(sim), sim=sim, workers=2)
    gateway.deaths_expected = True
    file = gateway.uploaded()
    asked = []

    def create():
        name = f"{threading.get_ident()}-{len(asked)}"
        asked.append(name)
        return gateway.create(file["id"], metadata={"name": name}).status

    load = Load(gateway, clients=4, work=create)
    for _ in range(4):
        load.seen(10)
        kill_child(worker_pids(gateway, 2)[0])
    load.seen(10)
    load.end()
    assert set(load.statuses) == {200}, set(load.statuses)
    made = [b["metadata"]["name"] for a in ("eu", "us", "sw") for b in sim.ledger(a)["batches"]]
    assert len(made) == len(set(made)), "a batch was made twice"
    assert load.statuses.count(200) <= len(made) <= len(asked)


def test_all_workers_killed_at_once_come_back(start, sim):
    gateway = start(balanced_config(sim), sim=sim, workers=2)
    gateway.deaths_expected = True
    gateway.wait_line("generation 1 serves")  # all were started
    for pid in children(gateway):
        os.kill(pid, signal.SIGKILL)

    def served():
        try:
            return gateway.get("/v1/batches").status == 200
        except (ConnectionError, http.client.HTTPException):
            return False

    until(served, "an answer after all workers were killed")


def hold_a_request(gateway, sim, account="eu"):
    """A retrieve that is in flight upstream until sim.release(); its answer arrives in the list."""
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault({"hang": "answer", "ms": int(10_000 * PATIENCE)}, account=account, method="GET", path="/openai/batches/*", times=1)
    got = []

    def ask():
        try:
            got.append(gateway.get(f"/v1/batches/{batch['id']}"))
        except Exception as problem:  # the test says what it expects
            got.append(problem)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    sim.wait(account, "GET", "/openai/batches/*", phase="received")
    return thread, got


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_drain_finishes_what_is_in_flight_and_takes_nothing_new(start, sim, signum):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    thread, got = hold_a_request(gateway, sim)
    gateway.send(signum)
    gateway.wait_line("draining: .*upstream calls")
    sim.release()
    thread.join(PATIENCE)
    assert got and getattr(got[0], "status", None) == 200, got
    assert gateway.wait() == 0

    def refused():
        try:
            socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE).close()
        except ConnectionError:
            return True

    until(refused, "nobody is at its port")  # unless it is somebody else's by now


def test_idle_connections_do_not_hold_up_a_drain(start, sim):
    grace_ms = 10_000 * PATIENCE  # nobody waits for its end
    gateway = start(balanced_config(sim, accounts=["eu"], tranche_settings={"timeouts": {"shutdown_grace_ms": int(grace_ms)}}),
                    sim=sim)
    idle = [http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE) for _ in range(8)]
    for conn in idle:
        conn.request("GET", "/health/liveliness")
        assert conn.getresponse().read() is not None
    silent = socket.create_connection(("127.0.0.1", gateway.port))
    gateway.send(signal.SIGTERM)
    assert gateway.wait() == 0
    silent.close()
    for conn in idle:
        conn.close()


def test_another_sigterm_a_second_later_ends_at_once(start, sim):
    """The first one is sent again and again: what comes within a second is the same one, what comes later is another."""
    gateway = start(balanced_config(sim, accounts=["eu"], tranche_settings={"timeouts": {"shutdown_grace_ms": 600_000}}), sim=sim)
    gateway.deaths_expected = True
    thread, got = hold_a_request(gateway, sim)

    def told_to_end():
        gateway.send(signal.SIGTERM)
        return gateway.popen.poll() is not None

    until(told_to_end, "the end of a gateway that gets SIGTERM for more than a second")
    gateway.wait_line(r"SIGTERM again: ending now")
    thread.join(PATIENCE)
    assert not hasattr(got[0], "status") or got[0].status >= 500


def to_the_program_and_its_group(gateway, signum):
    """What timeout(1) does."""
    gateway.send(signum)
    os.killpg(gateway.pid, signum)


def as_ctrl_c(gateway, signum):
    """What a shell does, and a wrapper that passes on what it got itself."""
    os.killpg(gateway.pid, signal.SIGINT)
    gateway.send(signum)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=["SIGTERM", "SIGINT", "SIGQUIT"])
@pytest.mark.parametrize("tell", [to_the_program_and_its_group, as_ctrl_c])
def test_what_is_in_flight_is_finished_although_everybody_is_told_twice_to_end(start, sim, tell, signum):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    thread, got = hold_a_request(gateway, sim)
    tell(gateway, signum)
    gateway.wait_line("draining: .*upstream calls")
    sim.release()
    thread.join(PATIENCE)
    assert got and getattr(got[0], "status", None) == 200, got
    assert gateway.wait() == 0


class StartingGateway(Process):
    """One that reads its configuration from a pipe: it stays in its start until the test writes one."""

    def __init__(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        self.pipe = directory / "config.yaml"
        os.mkfifo(self.pipe)
        super().__init__([find_binary("tranche"), "--config", str(self.pipe), "--host", "127.0.0.1", "--port", "0",
                          "--num_workers", "1"])

    def write_config(self, config, takes_s=0):
        """Returns when somebody has read it, which takes so long: all before that came during a start."""
        def opened():
            try:
                return os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno == errno.ENXIO, error  # nobody reads yet
                return None

        with os.fdopen(until(opened, "somebody reads the configuration"), "wb") as pipe:
            ends = time.monotonic() + takes_s
            until(lambda: time.monotonic() >= ends, "it has taken its time", timeout=takes_s + PATIENCE)
            pipe.write(json.dumps(config).encode())

    def told(self, signum):
        """The signal is there, and waits: the program has come as far as to block it."""
        def is_blocked():
            status = dict(line.split(":", 1) for line in open(f"/proc/{self.pid}/status"))
            return int(status["SigBlk"], 16) >> (signum - 1) & 1

        until(is_blocked, "signals wait")
        self.send(signum)


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR2], ids=["SIGHUP", "SIGUSR2"])
def test_a_signal_that_comes_during_the_start_is_carried_out_after_it(sim, tmp_path, signum):
    config = balanced_config(sim, accounts=["eu"])
    gateway = StartingGateway(tmp_path)
    successor = None
    try:
        gateway.told(signum)
        gateway.write_config(config)
        gateway.wait_line(r"generation 1 serves")
        gateway.write_config(config)  # it is read again: the signal was not dropped
        if signum == signal.SIGHUP:
            gateway.wait_line(r"generation 2 serves")
            assert gateway.stop() == 0
        else:
            successor = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
            assert gateway.wait() == 0
    finally:
        if successor is not None:
            os.kill(successor, signal.SIGTERM)
        elif gateway.popen.poll() is None:
            gateway.popen.kill()
    assert gateway.wait_output_end()


@pytest.mark.long
def test_a_reload_on_a_slow_machine_is_not_refused_for_the_time_that_its_configuration_took(sim, tmp_path):
    """Its workers were refused as not ready in time before any of them had begun."""
    config = balanced_config(sim, accounts=["eu"])
    gateway = StartingGateway(tmp_path)
    try:
        gateway.write_config(config)
        gateway.wait_line(r"generation 1 serves")
        gateway.send(signal.SIGHUP)
        gateway.write_config(config, takes_s=11)  # workers have ten seconds
        gateway.wait_line(r"generation 2 (serves|is refused)")
        assert "is refused" not in gateway.log, gateway.log
        assert gateway.stop() == 0
    finally:
        if gateway.popen.poll() is None:
            gateway.popen.kill()
    assert gateway.wait_output_end()


def test_a_drain_is_bounded_by_its_grace(start, sim):
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"timeouts": {"shutdown_grace_ms": 500}})
    gateway = start(config, sim=sim)
    gateway.deaths_expected = True
    thread, _ = hold_a_request(gateway, sim)  # nobody waits for its answer
    gateway.send(signal.SIGTERM)
    gateway.wait_line(r"draining: .*upstream calls")
    gateway.wait_line(r"grace period is over")
    gateway.wait()
    thread.join(PATIENCE)


def test_a_killed_master_leaves_no_orphans(start, sim):
    gateway = start(balanced_config(sim), sim=sim, workers=3)
    gateway.deaths_expected = True
    gateway.wait_line("generation 1 serves")  # all were started
    pids = children(gateway)
    assert len(pids) >= 4
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.wait()
    until(lambda: not [p for p in pids if alive(p)], "the end of the workers of a killed master")
    assert gateway.wait_output_end()


def test_sighup_serves_the_new_configuration_without_losing_a_request(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    load = Load(gateway, clients=3)
    load.seen(20)
    config = balanced_config(sim, accounts=["us"])
    config["model_list"].append(azure_deployment(sim, "eu", group="old"))
    gateway.write_config(config)
    old = worker_pids(gateway)
    gateway.send(signal.SIGHUP)
    until(lambda: not set(old) & set(worker_pids(gateway)), "the end of the old workers")
    load.seen(20)
    load.end()
    assert set(load.statuses) == {200} and not load.broken, load.broken
    assert gateway.get(f"/v1/files/{file['id']}").status == 200  # ids live on
    gateway.uploaded()
    assert (sim.ledger("eu")["creates"]["files"], sim.ledger("us")["creates"]["files"]) == (1, 1)


def test_sighup_with_a_bad_file_keeps_the_old_configuration_and_says_why(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    seen = len(gateway.lines)
    gateway.write_config("model_list: [\n  oops")
    gateway.send(signal.SIGHUP)
    gateway.wait_line(rf" error master\[\d+\]: {re.escape(str(gateway.config_path))}:\d+: not YAML: ", start=seen)
    assert gateway.get("/v1/batches").status == 200
    until(lambda: gateway.get("/health").json()["reload_failed"] is True, "health tells that the reload failed")
    gateway.write_config({**balanced_config(sim, accounts=["eu"]), "model_list": [{"model_name": GROUP}]})
    seen = len(gateway.lines)
    gateway.send(signal.SIGHUP)
    gateway.wait_line(r"model_list", start=seen)
    gateway.config_path.unlink()
    seen = len(gateway.lines)
    gateway.send(signal.SIGHUP)
    gateway.wait_line(rf" error master\[\d+\]: {re.escape(str(gateway.config_path))}: cannot read: ", start=seen)
    assert gateway.uploaded()


def test_sigusr2_starts_the_program_anew_on_the_same_socket(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    file = gateway.uploaded()
    load = Load(gateway, clients=3)
    load.seen(20)
    gateway.send(signal.SIGUSR2)
    successor = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    try:
        assert gateway.wait() == 0  # the old master drained and left
        load.seen(20)
        load.end()
        assert set(load.statuses) == {200} and not load.broken, load.broken
        assert gateway.get(f"/v1/files/{file['id']}").status == 200
    finally:
        os.kill(successor, signal.SIGTERM)
    assert gateway.wait_output_end(), "the successor did not end"


def test_a_new_master_key_takes_effect_on_sighup(start, sim):
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    gateway.write_config(balanced_config(sim, accounts=["eu"], general_settings={"master_key": "sk-new-master"}))
    gateway.send(signal.SIGHUP)
    until(lambda: gateway.get("/v1/batches", key="sk-new-master").status == 200, "the new key works")
    until(lambda: gateway.get("/v1/batches").status == 401, "the old key no longer works")


def test_two_gateways_cannot_share_a_port_by_accident(start, sim, tmp_path):
    import subprocess
    from harness import find_binary, program_env
    gateway = start(balanced_config(sim), sim=sim)
    done = subprocess.run([find_binary("tranche"), "--config", str(gateway.config_path), "--host", "127.0.0.1", "--port",
                           str(gateway.port)], env=program_env(), capture_output=True, text=True, timeout=PATIENCE,
                          stdin=subprocess.DEVNULL)
    assert done.returncode != 0
    assert str(gateway.port) in done.stderr
