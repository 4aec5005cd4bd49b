"""A gateway that is started again: what the one before may still have under way at a provider is not made a second time.

Each test has a directory for the records, and an address that it keeps. The simulator's ledger says what was really made.
"""

import http.client
import os
import signal
import threading

import pytest
from harness import (Gateway, PATIENCE, alive, azure_account, azure_deployment, balanced_config, envelope, free_port, lines, sim_config,
                     until, worker_pids)
from test_place import is_unlocked

CREATES = "/openai/batches*"
LATE = 4000  # ms; longer than a search for a lost create goes on looking (2.6 s)
HELD = 600_000  # ms; until the test says sim.release()


class Site:
    """One address and one directory, and the gateways that are started there one after the other."""

    def __init__(self, directory, sim, config=None, **settings):
        self.directory, self.sim, self.state = directory, sim, directory / "state"
        self.state.mkdir()
        self.port = free_port()
        self.config = config or balanced_config(sim, accounts=["eu"])
        self.config["tranche_settings"] = {"state_dir": str(self.state), **settings}
        self.made = []

    def start(self, **more):
        gateway = Gateway(self.directory, self.config, host_port=False,
                          args=["--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1"], **more)
        self.made.append(gateway)
        gateway.wait_line("generation 1 serves")
        return gateway

    def record(self):
        (path,) = self.state.glob("*.run")
        return path

    def forget(self):
        """As a container does."""
        for path in self.state.iterdir():
            path.unlink()

    def end(self):
        for gateway in self.made:
            gateway.finish(self.sim)


@pytest.fixture
def site(tmp_path, sim):
    made = []

    def make(**more):
        made.append(Site(tmp_path, more.pop("sim", sim), **more))
        return made[-1]

    yield make
    for one in made:
        one.end()


def keyed(gateway, file_id, key="key-1", **more):
    return gateway.create(file_id, headers={"Idempotency-Key": key}, **more)


def announced(gateway, file_id):
    return gateway.create(file_id, headers={"x-stainless-retry-count": "1"})


def plain(gateway, file_id):
    return gateway.create(file_id)


def in_the_background(work):
    def run():
        try:
            work()
        except (OSError, http.client.HTTPException):
            pass  # who asks is killed

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def kill(gateway):
    """All of it, as a machine that loses its power."""
    gateway.deaths_expected = True
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait()


def killed_in_a_create(site, action, ask=keyed):
    gateway = site.start()
    file = gateway.uploaded()
    site.sim.fault(action, account="eu", method="POST", path=CREATES)
    thread = in_the_background(lambda: ask(gateway, file["id"]))
    site.sim.wait("eu", "POST", CREATES, phase="received")
    kill(gateway)
    thread.join(PATIENCE)
    return file


def made_a_minute_ago(sim, make):
    """What the account lists as older than the next start: its clock is behind for as long as it is made."""
    sim.control("POST", "/control/switches", {"account": "eu", "set": {"clock_skew_s": -60}})
    answer = make()
    sim.control("POST", "/control/switches", {"account": "eu", "set": {"clock_skew_s": 0}})
    assert answer.status == 200, answer
    return answer


def refused_for_now(answer):
    envelope(answer, 503, code="repeat_unknown")
    assert 1 <= int(answer.headers["retry-after"]) <= 60, answer
    assert answer.headers.get("x-should-retry") != "false", answer


# --- after a crash ---


@pytest.mark.parametrize("first, again", [(keyed, keyed), (plain, announced)], ids=["key", "retry"])
def test_a_create_that_the_provider_carries_out_late_is_not_made_again_after_a_crash(site, sim, first, again):
    """It is listed nowhere when the next gateway is asked: that proves nothing."""
    here = site()
    file = killed_in_a_create(here, {"hang": "head", "ms": HELD}, first)
    gateway = here.start()
    gateway.wait_line(r"previous gateway on 127\.0\.0\.1:\d+: it did not end cleanly. For 6\d s, ")
    refused_for_now(again(gateway, file["id"]))
    sim.release()
    sim.wait("eu", "POST", CREATES)
    found = again(gateway, file["id"])
    assert found.status == 200 and found.headers["idempotent-replayed"] == "true", found
    assert sim.created("batches") == 1


PHASES = {"being_carried_out": {"hang": "body", "ms": LATE}, "sent": {"hang": "head", "ms": LATE},
          "carried_out": {"hang": "answer", "ms": LATE}, "half_answered": {"trickle": {"bytes": 40, "interval_ms": 200}},
          "carried_out_and_denied": {"status": 502, "late": True, "delay_ms": LATE}}


@pytest.mark.parametrize("phase", PHASES)
def test_at_every_phase_of_a_create_a_crash_leaves_one_batch(site, sim, phase):
    """A client that goes on asking gets the one batch in the end."""
    here = site()
    file = killed_in_a_create(here, PHASES[phase])
    gateway = here.start()
    answers = []

    def made():
        answers.append(keyed(gateway, file["id"]))
        return answers[-1].status == 200

    until(made, "the client has its batch")
    for answer in answers[:-1]:
        refused_for_now(answer)
    assert sim.created("batches") == 1


def test_a_crash_while_a_file_is_copied_to_where_there_is_room_leaves_one_batch(site, make_sim):
    sim = make_sim(sim_config([azure_account(n, deployments=[{
        "name": f"gpt-4o-batch-{n}", "model": "gpt-4o", "sku": "GlobalBatch", "refusal": "fast",
        "enqueued_token_limit": 600 if n == "eu" else 0}]) for n in ("eu", "us")]))
    rows = [azure_deployment(sim, n, order=i) for i, n in enumerate(("eu", "us"), 1)]
    here = site(sim=sim, config=balanced_config(sim, accounts=(), model_list=rows), timeouts={"json_total_ms": 1000})
    gateway = here.start()
    file = gateway.uploaded(lines(count=20))
    sim.fault({"hang": "answer", "ms": LATE}, account="us", method="POST", path="/openai/files*")
    thread = in_the_background(lambda: keyed(gateway, file["id"]))
    sim.wait("us", "POST", "/openai/files*", phase="received")
    kill(gateway)
    thread.join(PATIENCE)
    gateway = here.start()
    until(lambda: keyed(gateway, file["id"]).status == 200, "the client has its batch")
    assert sim.created("batches") == 1


def test_what_the_provider_never_carried_out_is_made_when_it_could_not_be_under_way_any_more(site, sim):
    """The wait ends: it is as long as a create may take, and no longer."""
    here = site(timeouts={"json_total_ms": 1000})
    file = killed_in_a_create(here, {"close": "body"})
    gateway = here.start()
    answers = []

    def made():
        answers.append(keyed(gateway, file["id"]))
        return answers[-1].status == 200

    until(made, "the client has its batch")
    assert len(answers) > 1
    for answer in answers[:-1]:
        refused_for_now(answer)
    assert sim.created("batches") == 1 and keyed(gateway, file["id"]).body == answers[-1].body


def test_after_a_crash_other_creates_are_made_at_once(site, sim):
    here = site()
    file = killed_in_a_create(here, {"close": "body"})
    gateway = here.start()
    assert 0 < gateway.get("/health").json()["repeats_unknown_for_s"] <= 65
    assert plain(gateway, file["id"]).status == 200 and sim.created("batches") == 1
    refused_for_now(keyed(gateway, file["id"], "another key"))
    assert sim.created("batches") == 1


def test_a_clean_end_soon_after_a_crash_does_not_hide_the_crash(site, sim):
    here = site()
    file = killed_in_a_create(here, {"close": "body"})
    between = here.start()
    assert between.stop() == 0
    refused_for_now(keyed(here.start(), file["id"]))
    assert sim.created("batches") == 0


def test_a_worker_that_is_killed_in_a_create_shows_at_the_next_start(site, sim):
    here = site()
    gateway = here.start()
    gateway.deaths_expected = True
    file = gateway.uploaded()
    sim.fault({"close": "body"}, account="eu", method="POST", path=CREATES)
    sim.fault({"hang": "head"}, account="eu", method="POST", path=CREATES)
    (worker,) = worker_pids(gateway, 1)
    thread = in_the_background(lambda: keyed(gateway, file["id"]))
    sim.wait("eu", "POST", CREATES, phase="received")
    os.kill(worker, signal.SIGKILL)
    thread.join(PATIENCE)
    gateway.wait_line("died with 1 idempotent requests unanswered")
    assert gateway.stop() == 0
    next_one = here.start()
    next_one.wait_line("it ended with creates of unknown outcome")
    refused_for_now(keyed(next_one, file["id"]))


def test_a_drain_that_is_cut_off_in_a_create_shows_at_the_next_start(site, sim):
    here = site(timeouts={"shutdown_grace_ms": 100})
    gateway = here.start()
    gateway.deaths_expected = True
    file = gateway.uploaded()
    sim.fault({"hang": "head"}, account="eu", method="POST", path=CREATES)
    thread = in_the_background(lambda: keyed(gateway, file["id"]))
    sim.wait("eu", "POST", CREATES, phase="received")
    gateway.stop()
    thread.join(PATIENCE)
    refused_for_now(keyed(here.start(), file["id"]))
    assert sim.created("batches") == 0


# --- starts that wait for nothing ---


@pytest.mark.parametrize("again", [keyed, announced])
def test_a_first_start_on_a_machine_serves_at_once(site, sim, again):
    gateway = site().start()
    file = gateway.uploaded()
    assert again(gateway, file["id"]).status == 200 and sim.created("batches") == 1
    assert keyed(gateway, file["id"], "key-2").status == 200 and sim.created("batches") == 2


@pytest.mark.parametrize("again", [keyed, announced])
def test_after_a_clean_end_the_next_one_serves_at_once(site, sim, again):
    here = site()
    gateway = here.start()
    file = gateway.uploaded()
    assert keyed(gateway, file["id"], "an earlier one", metadata={"a": "b"}).status == 200
    assert gateway.stop() == 0
    gateway = here.start()
    assert gateway.get("/health").json()["repeats_unknown_for_s"] == 0
    assert again(gateway, file["id"]).status == 200 and sim.created("batches") == 2


def test_a_start_that_fails_leaves_the_record_as_it_was(site, sim):
    here = site()
    gateway = here.start()
    file = gateway.uploaded()
    with pytest.raises(AssertionError):  # the address is taken
        here.start()
    failed = here.made.pop() if len(here.made) > 1 else None
    assert failed is None or failed.popen.poll() not in (None, 0)
    assert "running" in here.record().read_text()
    assert gateway.stop() == 0
    assert "ended" in here.record().read_text()
    assert keyed(here.start(), file["id"]).status == 200


# --- where there is no record ---


def test_a_container_that_forgets_its_files_goes_by_what_the_account_lists(site, sim):
    """Batches of a gateway's making, older than this one: there was one before, and nobody knows how it ended."""
    here = site()
    gateway = here.start()
    file = gateway.uploaded()
    made_a_minute_ago(sim, lambda: plain(gateway, file["id"]))
    kill(gateway)
    here.forget()
    gateway = here.start()
    refused_for_now(keyed(gateway, file["id"]))
    gateway.wait_line("a previous gateway made batches, and how it ended is unknown")
    assert sim.created("batches") == 1


def test_a_gateway_on_any_free_port_goes_by_what_the_account_lists(start, sim):
    """No record can say which one was before it."""
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"seal_keys": ["a-seal-key-of-the-tests"]})
    first = start(config, sim=sim)
    file = first.uploaded()
    made_a_minute_ago(sim, lambda: first.create(file["id"]))
    assert first.stop() == 0
    second = start(config, sim=sim)
    refused_for_now(keyed(second, file["id"]))
    assert plain(second, file["id"]).status == 200


def test_a_directory_that_is_named_has_a_record_for_any_free_port(start, sim, tmp_path):
    (tmp_path / "state").mkdir()
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"seal_keys": ["a-seal-key-of-the-tests"],
                                                                     "state_dir": str(tmp_path / "state")})
    first = start(config, sim=sim)
    file = first.uploaded()
    made_a_minute_ago(sim, lambda: first.create(file["id"]))
    assert first.stop() == 0
    second = start(config, sim=sim)
    assert keyed(second, file["id"]).status == 200 and sim.created("batches") == 2
    kill(second)
    refused_for_now(keyed(start(config, sim=sim), file["id"], "key-2"))


@pytest.mark.parametrize("spoil", ["gone", "a_file", "a_link", "rubbish", "empty", "a_directory", "cut_off"])
def test_a_record_that_cannot_be_kept_or_read_is_told_and_taken_for_a_crash(site, sim, spoil, tmp_path):
    here = site()
    gateway = here.start()
    file = gateway.uploaded()
    assert gateway.stop() == 0
    record = here.record()
    text = record.read_text()
    elsewhere = tmp_path / "elsewhere"
    if spoil == "gone":
        here.config["tranche_settings"]["state_dir"] = "/nonexistent/state"
    elif spoil == "a_file":
        elsewhere.write_text("")
        here.config["tranche_settings"]["state_dir"] = str(elsewhere)
    elif spoil == "a_link":
        record.rename(elsewhere)
        record.symlink_to(elsewhere)
    elif spoil == "a_directory":
        record.unlink()
        record.mkdir()
    else:
        record.write_text({"rubbish": "ended", "empty": "", "cut_off": text[:-10]}[spoil])
    gateway = here.start()
    if spoil in ("gone", "a_file", "a_link", "a_directory"):
        gateway.wait_line(r"cannot record how this gateway ends.*set tranche_settings\.state_dir")
        gateway.wait_line(r"cannot be kept: ")
    else:
        gateway.wait_line(r"its record cannot be read")
    refused_for_now(keyed(gateway, file["id"]))
    assert plain(gateway, file["id"]).status == 200
    if spoil == "a_link":
        assert elsewhere.read_text() == text
        record.unlink()
    if spoil == "a_directory":
        record.rmdir()


# --- with SIGUSR2 and SIGHUP ---


def replaced(gateway):
    seen = len(gateway.lines)
    gateway.send(signal.SIGUSR2)
    pid = int(gateway.wait_line(r"new program started, pid (\d+)", start=seen).group(1))
    gateway.wait_line(rf"master\[{pid}\]: upgrade: took over from the previous program", start=seen)
    return pid


def test_an_old_program_that_ends_cleanly_does_not_end_the_record_of_the_new_one(site, sim):
    here = site()
    gateway = here.start()
    file = gateway.uploaded()
    pid = replaced(gateway)
    assert gateway.wait() == 0
    assert keyed(gateway, file["id"]).status == 200  # the new one waits for nothing
    assert "running" in here.record().read_text()
    gateway.deaths_expected = True
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "the end of the new program")
    assert gateway.wait_output_end()
    refused_for_now(keyed(here.start(), file["id"], "key-2"))


def test_a_new_program_that_ends_cleanly_says_so(site, sim):
    here = site()
    gateway = here.start()
    file = gateway.uploaded()
    pid = replaced(gateway)
    assert gateway.wait() == 0
    os.kill(pid, signal.SIGTERM)
    assert gateway.wait_output_end()
    assert "ended" in here.record().read_text()
    assert keyed(here.start(), file["id"]).status == 200


def test_a_crash_is_known_at_each_address_that_was_listened_on(site, sim):
    """SIGHUP moves the gateway to another address; the next one is started at the old one."""
    here = site()
    here.config["tranche_settings"].update({"host": "127.0.0.1", "port": here.port})
    gateway = Gateway(here.directory, here.config, host_port=False, args=["--num_workers", "1"])
    here.made.append(gateway)
    gateway.wait_line("generation 1 serves")
    file = gateway.uploaded()
    other = free_port()
    here.config["tranche_settings"]["port"] = other
    gateway.write_config(here.config)
    gateway.send(signal.SIGHUP)
    gateway.wait_line("generation 2 serves")
    assert len(list(here.state.glob("*.run"))) == 2
    kill(gateway)
    here.config["tranche_settings"]["port"] = here.port
    refused_for_now(keyed(here.start(), file["id"]))


def test_a_crash_is_known_at_an_address_where_another_gateway_ended_cleanly_while_this_one_was_away(site, sim):
    """SIGHUP moves the gateway to another address, and later back: what the other one wrote there meanwhile is not its own word."""
    here = site()

    def moved(port, number):
        here.config["tranche_settings"].update({"host": "127.0.0.1", "port": port})
        gateway.write_config(here.config)
        gateway.send(signal.SIGHUP)
        gateway.wait_line(f"generation {number} serves")

    here.config["tranche_settings"].update({"host": "127.0.0.1", "port": here.port})
    gateway = Gateway(here.directory, here.config, host_port=False, args=["--num_workers", "1"])
    here.made.append(gateway)
    gateway.wait_line("generation 1 serves")
    file = gateway.uploaded()
    record = here.record()
    moved(free_port(), 2)
    until(lambda: is_unlocked(record.with_name(record.name + ".lock")), "the old generation has drained")
    between = here.start()
    assert between.stop() == 0 and "ended" in record.read_text()
    moved(here.port, 3)
    assert "running" in record.read_text()
    gateway.port = here.port
    sim.fault({"hang": "head", "ms": HELD}, account="eu", method="POST", path=CREATES)
    thread = in_the_background(lambda: plain(gateway, file["id"]))
    sim.wait("eu", "POST", CREATES, phase="received")
    kill(gateway)
    thread.join(PATIENCE)
    following = here.start()
    following.wait_line("it did not end cleanly")
    refused_for_now(announced(following, file["id"]))
    sim.release()
    sim.wait("eu", "POST", CREATES)
    assert announced(following, file["id"]).status == 200 and sim.created("batches") == 1
