"""A new program in the place of the old one (SIGUSR2): what was asked once is made once, and nothing that was known is lost.

The simulator's ledger says what was really made. The new program is asked only after the old one has closed the socket, so
that no answer here is the old one's.
"""

import http.client
import os
import pathlib
import re
import signal
import sys
import threading
import time

import harness
import pytest
from harness import (PATIENCE, azure_account, azure_deployment, balanced_config, envelope, is_upkeep, lines, sim_config, until)

CREATES = "/openai/batches*"
LONG = 4000  # ms; longer than a search for a lost create goes on looking (2.6 s)
HELD = 600_000  # ms; until the test says sim.release()


def keyed(gateway, file_id, key="key-1", **more):
    return gateway.create(file_id, headers={"Idempotency-Key": key}, **more)


def reads(sim):
    return len([r for r in sim.requests() if r["method"] == "GET"])


class Replaced:
    """The program that takes the gateway's place. The old one leaves the socket before this is ready, and may drain on."""

    def __init__(self, gateway):
        self.gateway, self.pids = gateway, []
        seen = len(gateway.lines)
        gateway.send(signal.SIGUSR2)
        self.follow(seen)

    def follow(self, seen):
        workers = int(self.gateway.wait_line(r"generation \d+ serves: (\d+) workers").group(1))
        self.pids.append(int(self.gateway.wait_line(r"new program started, pid (\d+)", start=seen).group(1)))
        self.gateway.wait_line(rf"master\[{self.pids[-1]}\]: upgrade: took over from the previous program", start=seen)
        until(lambda: len(re.findall(r"worker \d+\[\d+\]: draining", "\n".join(self.gateway.lines[seen:]))) >= workers,
              "all workers of the old program have left the socket")

    def end(self):
        for pid in self.pids:
            if harness.alive(pid):
                os.kill(pid, signal.SIGTERM)
        if not self.gateway.wait_output_end():
            raise AssertionError("a program did not end:\n" + self.gateway.log)


@pytest.fixture
def replaced():
    made = []

    def replace(gateway):
        made.append(Replaced(gateway))
        return made[-1]

    yield replace
    for one in made:
        one.end()


def in_the_background(work):
    got = []

    def run():
        try:
            got.append(work())
        except (OSError, http.client.HTTPException) as gone:
            got.append(gone)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, got


def one_worker(start, sim, config, **more):
    return start(config, sim=sim, workers=1, **more)


# --- a create that is under way ---


PHASES = {
    "sent": {"hang": "head", "ms": LONG},
    "being_carried_out": {"hang": "body", "ms": LONG},
    "carried_out": {"hang": "answer", "ms": LONG},
    "half_answered": {"trickle": {"bytes": 40, "interval_ms": 150}},
    "carried_out_and_denied": {"status": 502, "late": True, "delay_ms": LONG},
    "answered": None,
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_key_that_is_asked_again_at_the_new_program_makes_one_batch(start, sim, replaced, phase):
    """The provider works at the create for longer than anybody would search for it."""
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    action = PHASES[phase]
    if action is not None:
        sim.fault(action, account="eu", method="POST", path=CREATES)
    thread, got = in_the_background(lambda: keyed(gateway, file["id"]))
    sim.wait("eu", "POST", CREATES, phase="received" if action is not None else "answered")
    replaced(gateway)
    again = keyed(gateway, file["id"])
    thread.join(PATIENCE)
    assert sim.created("batches") == 1
    assert got[0].status == again.status == 200 and got[0].json()["id"] == again.json()["id"], (got, again)
    assert again.headers["idempotent-replayed"] == "true"


def test_a_create_that_waits_for_a_connection_is_made_once(start, sim, replaced):
    """Nothing of it has been sent when the new program is asked."""
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    sim.fault({"hang": "accept", "ms": LONG}, account="eu")
    before = sim.ledger("eu")["connections"]
    thread, got = in_the_background(lambda: keyed(gateway, file["id"]))
    until(lambda: sim.ledger("eu")["connections"] > before, "the gateway has a connection")
    replaced(gateway)
    again = keyed(gateway, file["id"])
    thread.join(PATIENCE)
    assert sim.created("batches") == 1
    assert got[0].status == again.status == 200 and got[0].json()["id"] == again.json()["id"], (got, again)


def test_a_create_whose_file_is_being_copied_elsewhere_is_made_once(start, make_sim, replaced):
    sim = make_sim(sim_config([azure_account(n, deployments=[{
        "name": f"gpt-4o-batch-{n}", "model": "gpt-4o", "sku": "GlobalBatch", "refusal": "fast",
        "enqueued_token_limit": 600 if n == "eu" else 0}]) for n in ("eu", "us")]))
    rows = [azure_deployment(sim, n, order=i) for i, n in enumerate(("eu", "us"), 1)]
    gateway = one_worker(start, sim, balanced_config(sim, accounts=(), model_list=rows))
    file = gateway.uploaded(lines(count=20))
    sim.fault({"hang": "answer", "ms": LONG}, account="us", method="POST", path="/openai/files*")
    thread, got = in_the_background(lambda: keyed(gateway, file["id"]))
    sim.wait("us", "POST", "/openai/files*", phase="received")
    replaced(gateway)
    again = keyed(gateway, file["id"])
    thread.join(PATIENCE)
    assert sim.created("batches") == sim.created("batches", ["us"]) == 1
    assert got[0].status == again.status == 200 and got[0].json()["id"] == again.json()["id"], (got, again)


def test_an_announced_repeat_finds_what_the_old_program_still_makes(start, sim, replaced):
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    sim.fault({"hang": "head", "ms": LONG}, account="eu", method="POST", path=CREATES)
    thread, got = in_the_background(lambda: gateway.create(file["id"]))
    sim.wait("eu", "POST", CREATES, phase="received")
    replaced(gateway)
    again = gateway.create(file["id"], headers={"x-stainless-retry-count": "1"})
    thread.join(PATIENCE)
    assert sim.created("batches") == 1
    assert got[0].status == again.status == 200 and got[0].json()["id"] == again.json()["id"], (got, again)


@pytest.mark.parametrize("action", [{"hang": "head", "ms": HELD}, {"hang": "answer", "ms": HELD}], ids=["sent", "carried_out"])
def test_a_create_of_a_program_that_is_killed_while_it_drains_is_not_made_again(start, sim, replaced, action):
    """Nobody of the old program is left to say what became of it: the new one clears up, and looks before it answers."""
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    gateway.deaths_expected = True
    file = gateway.uploaded()
    sim.fault(action, account="eu", method="POST", path=CREATES)
    thread, got = in_the_background(lambda: keyed(gateway, file["id"]))
    sim.wait("eu", "POST", CREATES, phase="received")
    replaced(gateway)
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.wait_line("all processes of the previous program have ended")
    gateway.wait_line("it left 1 batch creates with unknown outcome; a repeat of 1 of them is looked for upstream first")
    thread.join(PATIENCE)
    assert isinstance(got[0], Exception)
    again = keyed(gateway, file["id"])
    sim.release()
    sim.wait("eu", "POST", CREATES)
    assert sim.created("batches") == 1
    if again.status != 200:
        envelope(again, 502, code="create_outcome_unknown")
    found = keyed(gateway, file["id"])
    assert found.status == 200 and found.headers["idempotent-replayed"] == "true", found
    assert sim.created("batches") == 1


# --- what is known ---


def test_a_key_is_known_to_the_new_program_without_a_look_upstream(start, sim, replaced):
    """Also with sixteen pairs of metadata, where the batch has no room for a marker."""
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    more = {"metadata": {f"k{n}": "v" for n in range(16)}}
    first = [keyed(gateway, file["id"]), keyed(gateway, file["id"], "key-2", **more)]
    since = gateway.get("/health").json()["creates_known_since"]
    until(lambda: time.time() > since + 2, "a start now would show")
    replaced(gateway)
    assert abs(gateway.get("/health").json()["creates_known_since"] - since) <= 1
    asked = reads(sim)
    again = [keyed(gateway, file["id"]), keyed(gateway, file["id"], "key-2", **more)]
    assert [a.body for a in first] == [a.body for a in again] and sim.created("batches") == 2
    assert reads(sim) == asked
    envelope(keyed(gateway, file["id"], metadata={"another": "request"}), 409, code="idempotency_key_reused")


def test_sealed_ids_outlive_the_program_where_nothing_is_configured_to_seal_them(start, sim, replaced):
    config = balanced_config(sim)
    del config["general_settings"]
    gateway = one_worker(start, sim, config)
    file = gateway.uploaded()
    batch = gateway.created(file["id"])
    assert "-t" in file["id"] and "-t" in batch["id"]
    replaced(gateway)
    assert gateway.get(f"/v1/batches/{batch['id']}").status == 200
    assert gateway.get(f"/v1/files/{file['id']}").status == 200


def metric(gateway, name, **labels):
    wanted = [f'{k}="{v}"' for k, v in labels.items()]
    for line in gateway.get("/metrics").body.decode().splitlines():
        if re.match(rf"{name}[ {{]", line) and all(w in line for w in wanted):
            return float(line.rsplit(" ", 1)[1])
    return None


def test_the_ledger_is_known_to_the_new_program_and_not_read_again(start, sim, replaced):
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    gateway.created(gateway.uploaded()["id"])
    reserved = metric(gateway, "tranche_enqueued_tokens")
    assert reserved > 0
    until(lambda: [r for r in sim.requests("eu", upkeep=True) if is_upkeep(r)], "the old program has read what runs there")
    before = len([r for r in sim.requests("eu", upkeep=True) if is_upkeep(r) and "/batches" in r["target"]])
    replaced(gateway)
    assert metric(gateway, "tranche_enqueued_tokens") == reserved
    assert len([r for r in sim.requests("eu", upkeep=True) if is_upkeep(r) and "/batches" in r["target"]]) == before


def test_two_programs_that_write_one_ledger_agree_in_the_end(start, sim, replaced):
    """Each has its own rows in it; a create of the old one ends while the new one makes others."""
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    sim.fault({"hang": "answer", "ms": LONG}, account="eu", method="POST", path=CREATES)
    thread, got = in_the_background(lambda: gateway.create(file["id"]))
    sim.wait("eu", "POST", CREATES, phase="received")
    new = replaced(gateway)
    for _ in range(3):
        gateway.created(file["id"])
    thread.join(PATIENCE)
    assert got[0].status == 200
    gateway.wait_line(rf"master\[{new.pids[-1]}\]: upgrade: all processes of the previous program have ended")
    assert metric(gateway, "tranche_reservations") == sim.ledger("eu")["creates"]["batches"] == 4
    assert metric(gateway, "tranche_orphaned_reservations") == 0
    assert not re.search(r"quota: corrected the token sums of \d+ deployments", gateway.log)


# --- signals, and programs that fail ---


def test_two_upgrades_in_a_row_are_both_carried_out(start, sim, replaced):
    """The second one comes before the first is done: it is kept, passed on, and done when two programs are one again."""
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    made = keyed(gateway, file["id"])
    gateway.send(signal.SIGUSR2)
    first = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    seen = len(gateway.lines)
    new = None
    try:
        gateway.send(signal.SIGUSR2)
        second = int(gateway.wait_line(rf"master\[{first}\]: SIGUSR2: new program started, pid (\d+)").group(1))
        gateway.wait_line(rf"master\[{second}\]: upgrade: took over from the previous program", start=seen)
        gateway.wait_line(rf"master\[{second}\]: upgrade: all processes of the previous program have ended", start=seen)
        new = second
        again = keyed(gateway, file["id"])
        assert again.body == made.body and again.headers["idempotent-replayed"] == "true"
        assert sim.created("batches") == 1
        assert gateway.wait() == 0
    finally:
        for pid in (first, new):
            if pid is not None and harness.alive(pid):
                os.kill(pid, signal.SIGTERM)
    assert gateway.wait_output_end()


def test_a_reload_during_an_upgrade_reaches_the_program_that_serves_then(start, sim, replaced):
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    gateway.send(signal.SIGUSR2)
    successor = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    try:
        gateway.send(signal.SIGHUP)
        gateway.wait_line(rf"master\[{successor}\]: generation 2 serves")
        assert gateway.wait() == 0
    finally:
        os.kill(successor, signal.SIGTERM)
    assert gateway.wait_output_end()


class Binary:
    """A copy of the program that a test may replace by something else while it runs."""

    def __init__(self, directory, monkeypatch):
        self.real, self.path = harness.find_binary("tranche"), directory / "program" / "tranche"
        self.path.parent.mkdir(parents=True)
        find = harness.find_binary
        monkeypatch.setattr(harness, "find_binary", lambda name: str(self.path) if name == "tranche" else find(name))
        self.restore()

    def replace(self, data, mode=0o755):
        new = self.path.with_suffix(".new")
        new.write_bytes(data)
        new.chmod(mode)
        new.rename(self.path)  # who runs the old one keeps it

    def restore(self):
        self.replace(pathlib.Path(self.real).read_bytes())

    def wrap(self, code):
        """A program that does something with what it is handed, and then becomes the real one."""
        self.replace(f"""#!{sys.executable}
import os, signal, struct, sys, time
given = dict(word.split("=") for word in os.environ["TRANCHE_HANDOVER"].split())
{code}
os.execv({self.real!r}, sys.argv)
""".encode())


@pytest.fixture
def binary(tmp_path, monkeypatch):
    return Binary(tmp_path, monkeypatch)


@pytest.mark.parametrize("text, mode, how", [("#!/bin/sh\nexit 3\n", 0o755, "exit code 3"), ("no program", 0o755, "exit code 127"),
                                             ("#!/bin/sh\n", 0o644, "exit code 127"),
                                             ("#!/bin/sh\nkill -9 $$\n", 0o755, "signal 9")],
                         ids=["ends", "is_none", "may_not_run", "is_killed"])
def test_a_new_program_that_fails_leaves_the_old_one_as_it_was(start, sim, replaced, binary, text, mode, how):
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    made = keyed(gateway, file["id"])
    binary.replace(text.encode(), mode)
    for _ in range(2):  # the second time as the first
        seen = len(gateway.lines)
        gateway.send(signal.SIGUSR2)
        gateway.wait_line(rf"upgrade: the new program ended: {how}.*; this one keeps serving", start=seen)
        gateway.wait_line(r"all processes of the previous program have ended", start=seen)
    assert keyed(gateway, file["id"]).body == made.body
    binary.restore()
    replaced(gateway)
    assert keyed(gateway, file["id"]).body == made.body and sim.created("batches") == 1


ANOTHER_LAYOUT = "for name in {names}:\n    os.pwrite(int(given[name]), struct.pack('I', 999), 4)\n"
CUT_OFF = """for name in {names}:
    short = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    os.write(short, os.pread(int(given[name]), 4096, 0))
    os.dup2(short, int(given[name]), inheritable=True)
"""
NO_MEMORY_FILE = "for name in {names}:\n    os.dup2(os.open('/dev/zero', os.O_RDWR), int(given[name]), inheritable=True)\n"
CLOSED = "for name in {names}:\n    os.close(int(given[name]))\n"


@pytest.mark.parametrize("spoil", [ANOTHER_LAYOUT, CUT_OFF, NO_MEMORY_FILE, CLOSED],
                         ids=["another_layout", "cut_off", "no_memory_file", "closed"])
@pytest.mark.parametrize("names", [["idem"], ["quota"], ["memo", "list_places", "poll_cache", "seal_cache", "state", "slots"]],
                         ids=["keys", "ledger", "all_others"])
def test_memory_in_a_form_that_the_new_program_does_not_know_begins_anew(start, sim, replaced, binary, spoil, names):
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    file = gateway.uploaded()
    made = keyed(gateway, file["id"])
    binary.wrap(spoil.format(names=names))
    replaced(gateway)
    if spoil is not CLOSED:
        for name in names:
            gateway.wait_line(rf"cannot take over .* \({name}\) from the previous program: .*; starting empty")
    again = keyed(gateway, file["id"])  # found by its marker, where the key is not known any more
    assert again.status == 200 and again.json()["id"] == made.json()["id"], again
    assert sim.created("batches") == 1
    assert gateway.get(f"/v1/files/{file['id']}").status == 200


KILLS_ITS_PREDECESSOR = """old = os.getppid()
os.kill(old, signal.SIGKILL)
while os.getppid() == old:
    time.sleep(0.01)
"""


def test_an_old_program_that_is_killed_during_the_hand_over_is_followed_all_the_same(start, sim, binary):
    """The new one has the socket and all that was known."""
    gateway = one_worker(start, sim, balanced_config(sim, accounts=["eu"]))
    gateway.deaths_expected = True
    file = gateway.uploaded()
    made = keyed(gateway, file["id"])
    binary.wrap(KILLS_ITS_PREDECESSOR)
    seen = len(gateway.lines)
    gateway.send(signal.SIGUSR2)
    gateway.wait_line("all processes of the previous program have ended", start=seen)
    gateway.wait_line("generation 1 serves", start=seen)
    successor = int(gateway.wait_line(r"master\[(\d+)\]: generation 1 serves", start=seen).group(1))
    try:
        assert successor != gateway.pid
        again = keyed(gateway, file["id"])
        assert again.body == made.body and sim.created("batches") == 1
    finally:
        os.kill(successor, signal.SIGTERM)
    assert gateway.wait_output_end()
