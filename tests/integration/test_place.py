"""One gateway at one address in one state directory: who comes second is refused and hears who was first, whatever happened to
those before."""

import fcntl
import os
import pathlib
import pwd
import re
import shutil
import signal
import tempfile

import pytest
from harness import PATIENCE, alive, balanced_config, free_port, prober_of, until, worker_pids
from test_processes import hold_a_request

NOBODY = "nobody"


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "state"
    path.mkdir()
    return path


def config_of(sim, state, **settings):
    return balanced_config(sim, accounts=["eu"], tranche_settings={"state_dir": str(state), "timeouts": {"shutdown_grace_ms": 600_000}, **settings})


def refused(start, config, pid, state, **more):
    """A gateway that does not start, and says which one, by which file, is in its way."""
    with pytest.raises(AssertionError) as ended:
        start(config, **more)
    told = re.search(r'another gateway \(pid (\d+) on (\S+)\) .* it holds "([^"]+\.run\.lock)".*state_dir or port', str(ended.value))
    assert told, ended.value
    assert int(told[1]) == pid and told[2] == os.uname().nodename and pathlib.Path(told[3]).parent == state
    assert "serves" not in str(ended.value)


def holder(state):
    (path,) = state.glob("*.lock")
    return int(re.fullmatch(r"tranche-place 1 pid=(\d+) node=\S+\n", path.read_text())[1])


def is_unlocked(path):
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def is_free(state):
    (path,) = state.glob("*.lock")
    return is_unlocked(path)


def replaced(gateway):
    seen = len(gateway.lines)
    gateway.send(signal.SIGUSR2)
    return int(gateway.wait_line(r"new program started, pid (\d+)", start=seen).group(1))


def took_over(gateway, pid):
    gateway.wait_line(rf"master\[{pid}\]: upgrade: took over from the previous program")


def end(pid):
    os.kill(pid, signal.SIGTERM)
    until(lambda: not alive(pid), "the end of the new program")


def test_a_second_gateway_on_one_state_directory_is_refused(start, sim, state):
    config = config_of(sim, state)
    first = start(config, sim=sim)
    first.wait_line("generation 1 serves")
    (record,) = state.glob("*.run")
    before = record.read_text()
    refused(start, config, first.pid, state)
    assert record.read_text() == before and holder(state) == first.pid
    assert first.get("/v1/batches").status == 200
    assert first.stop() == 0
    second = start(config, sim=sim)
    assert holder(state) == second.pid


def test_who_starts_one_gateway_twice_hears_which_one_runs(start, sim, state):
    """Not only that the port is in use."""
    config = config_of(sim, state, host="127.0.0.1", port=free_port())
    first = start(config, sim=sim, host_port=False)
    refused(start, config, first.pid, state, host_port=False)


def test_gateways_of_several_ports_share_a_state_directory(start, sim, state):
    gateways = [start(config_of(sim, state, host="127.0.0.1", port=free_port()), sim=sim, host_port=False) for _ in range(2)]
    assert len(list(state.glob("*.lock"))) == 2
    assert [g.get("/v1/batches").status for g in gateways] == [200, 200]


def test_after_a_master_was_killed_the_next_one_starts(start, sim, state):
    config = config_of(sim, state)
    first = start(config, sim=sim)
    first.wait_line("generation 1 serves")
    first.deaths_expected = True
    first.send(signal.SIGKILL)
    first.wait()
    second = start(config, sim=sim)  # although children of the first one may be there for a moment
    assert holder(state) == second.pid


@pytest.mark.parametrize("text", ["tranche-place 1 pid={pid} node={node}\n", "tranche-place 1 pid=1 node=x\n", "", "rubbish"],
                         ids=["a_pid_that_another_program_has", "another_node", "empty", "rubbish"])
def test_a_file_that_nobody_holds_hinders_nobody(start, sim, state, text):
    config = config_of(sim, state)
    first = start(config, sim=sim)
    assert first.stop() == 0
    (path,) = state.glob("*.lock")
    path.write_text(text.format(pid=sim.pid, node=os.uname().nodename))
    second = start(config, sim=sim)
    assert holder(state) == second.pid


def test_a_place_that_cannot_be_locked_is_told_and_hinders_nobody(start, sim, state):
    config = config_of(sim, state)
    assert start(config, sim=sim).stop() == 0
    (path,) = state.glob("*.lock")
    path.unlink()
    path.mkdir()
    gateway = start(config, sim=sim)
    gateway.wait_line(r'cannot lock ".*\.lock": Is a directory')
    assert gateway.get("/v1/batches").status == 200


def test_a_file_that_somebody_gave_the_locks_name_is_not_written_to(start, sim, state, tmp_path):
    config = config_of(sim, state)
    assert start(config, sim=sim).stop() == 0
    (path,) = state.glob("*.lock")
    path.unlink()
    other = tmp_path / "other"
    other.write_text("of the same user\n")
    path.hardlink_to(other)
    gateway = start(config, sim=sim)
    gateway.wait_line(r'cannot lock ".*\.lock": Operation not permitted')
    assert gateway.get("/v1/batches").status == 200 and other.read_text() == "of the same user\n"


# --- with SIGUSR2 and SIGHUP ---


def test_two_programs_of_an_upgrade_have_one_place_and_a_third_is_refused(start, sim, state):
    config = config_of(sim, state)
    gateway = start(config, sim=sim)
    gateway.wait_line("generation 1 serves")
    thread, _ = hold_a_request(gateway, sim)
    new = replaced(gateway)
    took_over(gateway, new)
    refused(start, config, new, state)
    sim.release()
    assert gateway.wait() == 0
    thread.join(PATIENCE)
    refused(start, config, new, state)
    end(new)
    assert gateway.wait_output_end()
    assert start(config, sim=sim).get("/v1/batches").status == 200


@pytest.mark.parametrize("who", ["old", "new"])
def test_the_place_is_held_by_whoever_is_left_of_an_upgrade(start, sim, state, who):
    config = config_of(sim, state)
    gateway = start(config, sim=sim)
    gateway.deaths_expected = True
    gateway.wait_line("generation 1 serves")
    thread, _ = hold_a_request(gateway, sim)
    new = replaced(gateway)
    took_over(gateway, new)
    os.kill(gateway.pid if who == "old" else new, signal.SIGKILL)
    if who == "old":
        gateway.wait()
        refused(start, config, new, state)
        end(new)
    else:
        until(lambda: not alive(new), "the end of the new program")
        refused(start, config, new, state)  # by the old one, which drains; the file tells who served last
        sim.release()
        gateway.wait()
    thread.join(PATIENCE)
    assert gateway.wait_output_end()
    start(config, sim=sim)


def test_a_program_that_is_replaced_twice_passes_its_place_on(start, sim, state):
    config = config_of(sim, state)
    gateway = start(config, sim=sim)
    gateway.wait_line("generation 1 serves")
    second = replaced(gateway)
    took_over(gateway, second)
    assert gateway.wait() == 0
    seen = len(gateway.lines)
    os.kill(second, signal.SIGUSR2)
    third = int(gateway.wait_line(rf"master\[{second}\]: SIGUSR2: new program started, pid (\d+)", start=seen).group(1))
    took_over(gateway, third)
    until(lambda: not alive(second), "the second program has drained")
    refused(start, config, third, state)
    end(third)
    assert gateway.wait_output_end()


def test_a_new_program_that_fails_leaves_the_place_to_the_old_one(start, sim, state):
    config = config_of(sim, state)
    gateway = start(config, sim=sim)
    gateway.wait_line("generation 1 serves")
    gateway.write_config("model_list: 7\n")
    replaced(gateway)
    gateway.wait_line("upgrade: the new program ended")
    refused(start, config, gateway.pid, state)


def test_a_new_program_does_not_go_to_a_place_that_another_gateway_has(start, sim, state, tmp_path):
    (tmp_path / "other").mkdir()
    other = start(config_of(sim, tmp_path / "other"), sim=sim)
    gateway = start(config_of(sim, state), sim=sim)
    gateway.wait_line("generation 1 serves")
    gateway.write_config(config_of(sim, tmp_path / "other"))
    replaced(gateway)
    gateway.wait_line(rf"another gateway \(pid {other.pid} on ")
    gateway.wait_line("upgrade: the new program ended")
    assert gateway.get("/v1/batches").status == 200 and holder(state) == gateway.pid


def test_a_reload_keeps_the_place_and_takes_no_other_gateways(start, sim, state, tmp_path):
    (tmp_path / "other").mkdir()
    other = start(config_of(sim, tmp_path / "other"), sim=sim)
    config = config_of(sim, state)
    gateway = start(config, sim=sim)
    gateway.wait_line("generation 1 serves")
    gateway.send(signal.SIGHUP)
    gateway.wait_line("generation 2 serves")
    refused(start, config, gateway.pid, state)
    gateway.write_config(config_of(sim, tmp_path / "other"))
    gateway.send(signal.SIGHUP)
    gateway.wait_line(rf"another gateway \(pid {other.pid} on ")
    gateway.wait_line("the new configuration is refused, generation 2 keeps serving")
    refused(start, config, gateway.pid, state)
    assert gateway.get("/v1/batches").status == 200


def test_a_gateway_that_moves_to_another_directory_leaves_its_place_to_others(start, sim, state, tmp_path):
    (tmp_path / "other").mkdir()
    config, moved = config_of(sim, state), config_of(sim, tmp_path / "other")
    gateway = start(config, sim=sim)
    gateway.wait_line("generation 1 serves")
    gateway.write_config(moved)
    gateway.send(signal.SIGHUP)
    gateway.wait_line("generation 2 serves")
    until(lambda: is_free(state), "the old generation has drained")
    refused(start, moved, gateway.pid, tmp_path / "other")
    second = start(config, sim=sim)
    assert holder(state) == second.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_place_is_taken_by_the_user_that_root_becomes(start, sim):
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp", prefix="tranche-test-"))
    os.chown(folder, pwd.getpwnam(NOBODY).pw_uid, -1)
    try:
        config = config_of(sim, folder, user=NOBODY)
        first = start(config, sim=sim)
        (path,) = folder.glob("*.lock")
        assert path.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid and path.stat().st_mode & 0o777 == 0o600
        refused(start, config, first.pid, folder)
        assert first.stop() == 0
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look")
def test_no_child_has_the_lock(start, sim, state):
    """The lock ends with the master, not with a child that is slow to die."""
    gateway = start(config_of(sim, state), sim=sim)
    gateway.wait_line("generation 1 serves")

    def locks(pid):
        links = [os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
        return [link for link in links if link.endswith(".lock")]

    assert len(locks(gateway.pid)) == 1
    worker_pids(gateway, 2)  # a child closes what is the master's before it takes its name
    prober_of(gateway)
    assert [locks(pid) for pid in gateway.workers()] == [[]] * 3
