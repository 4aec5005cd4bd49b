"""What processes of a gateway may do, as /proc tells it, and what a service manager hears of it."""

import ctypes
import errno
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import tempfile

import pytest
from harness import MASTER_KEY, balanced_config, until
from test_tenant_batches import ANN, DATA, create, entry
from wire import only_plain

NOBODY = "nobody"
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2


def status(pid):
    """Fields of /proc/PID/status."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {name: value.split() for name, value in (line.split(":", 1) for line in text.splitlines())}


def core_limit(pid):
    line = next(x for x in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if x.startswith("Max core file size"))
    return line.split()[4]


def check_child(pid, uid=None):
    until(lambda: status(pid)["Name"][0].startswith("tranche-"), "it has begun its own life")
    shown = status(pid)
    assert shown["NoNewPrivs"] == ["1"] and int(shown["CapAmb"][0], 16) == 0, shown
    assert core_limit(pid) == "0"
    assert MASTER_KEY.encode() not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    if uid is not None:
        assert shown["Uid"] == [str(uid)] * 4 and shown["Groups"] in ([], shown["Gid"][:1]), shown
        assert all(int(shown[name][0], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")), shown


def test_children_can_get_no_rights_and_leave_no_cores(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    for pid in gateway.workers():
        check_child(pid)
    assert core_limit(gateway.pid) == "0"


def has_filters():
    """A filter that is nowhere is a bad address, where the kernel has filters."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None) == -1 and ctypes.get_errno() == errno.EFAULT


@only_plain("the system calls of a sanitizer are others")
@pytest.mark.skipif(not has_filters(), reason="this kernel has no filters")
@pytest.mark.parametrize("mode, filtered", [(None, "2"), ("log", "2"), ("kill", "2"), ("off", "0")])
def test_who_reads_what_strangers_send_has_few_system_calls(start, sim, mode, filtered):
    """By default they are told to the kernel's log; in all other tests they are the end of the process."""
    config = balanced_config(sim, tranche_settings={"seccomp": mode} if mode else {})
    gateway = start(config if mode else json.dumps(config), sim=sim)
    seen = {}

    def named():
        for pid in gateway.workers():
            seen[pid] = (status(pid)["Name"][0], status(pid)["Seccomp"][0])
        return sorted(name for name, _ in seen.values()) == ["tranche-prober"] + ["tranche-worker"] * 2

    until(named, "all have begun their own life")
    until(lambda: {status(pid)["Seccomp"][0] for pid in seen} == {filtered}, "and are as they were told")
    assert status(gateway.pid)["Seccomp"] == ["0"]
    gateway.created(gateway.uploaded()["id"])


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_start_as_root_becomes_the_user_and_serves(start, sim):
    uid = pwd.getpwnam(NOBODY).pw_uid
    gateway = start(balanced_config(sim, tranche_settings={"user": NOBODY}), sim=sim)
    gateway.wait_line(f"running as user {NOBODY}")
    shown = status(gateway.pid)
    assert shown["Uid"] == [str(uid)] * 4 and int(shown["CapEff"][0], 16) == 0 and core_limit(gateway.pid) == "0", shown
    for pid in gateway.workers():
        check_child(pid, uid)
    assert "running as root" not in gateway.log
    gateway.created(gateway.uploaded()["id"])


@pytest.fixture
def folder_of_nobody():
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp", prefix="tranche-test-"))
    os.chown(folder, pwd.getpwnam(NOBODY).pw_uid, -1)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_who_has_limits_is_served_after_the_change_of_user(start, sim, folder_of_nobody):
    """Workers took the keeper for a stranger: its door had been opened by root."""
    settings = {"user": NOBODY, "database": f"sqlite://{folder_of_nobody}/journal.db", "state_dir": str(folder_of_nobody),
                "seal_keys": ["sk-0123456789abcdef-seal"], "keys": [entry(ANN, max_open_batches=5)]}
    gateway = start(balanced_config(sim, tranche_settings=settings), sim=sim)
    answer = create(gateway, gateway.uploaded(DATA, key=ANN)["id"], ANN)
    assert answer.status == 200, answer


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_root_gives_away_no_file_behind_a_link(start, sim, folder_of_nobody):
    """Whoever owns the log's folder could have had any file of root's."""
    other = folder_of_nobody / "roots"
    other.write_text("")
    (folder_of_nobody / "hard.log").hardlink_to(other)
    (folder_of_nobody / "soft.log").symlink_to(other)
    with pytest.raises(AssertionError, match="soft.log"):
        start(balanced_config(sim, tranche_settings={"user": NOBODY, "access_log": str(folder_of_nobody / "soft.log")}), sim=sim)
    start(balanced_config(sim, tranche_settings={"user": NOBODY, "access_log": str(folder_of_nobody / "hard.log")}), sim=sim)
    assert other.stat().st_uid == 0


def test_a_level_that_all_processes_hear_of_ends_none(start, sim):
    """A service manager sends signals to all processes of a unit."""
    gateway = start(balanced_config(sim), sim=sim)
    workers = gateway.workers()
    for pid in workers:
        check_child(pid)
        os.kill(pid, signal.SIGRTMIN + 22)
        os.kill(pid, signal.SIGRTMIN + 23)
    gateway.created(gateway.uploaded()["id"])
    assert gateway.workers() == workers


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_user_that_does_not_exist_ends_the_start(start, sim, tmp_path):
    with pytest.raises(AssertionError, match="there is no user .no-such-user"):
        start(balanced_config(sim, tranche_settings={"user": "no-such-user"}), sim=sim)


def test_a_service_manager_hears_of_start_reload_and_end(start, sim, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(0.1)
        heard = []

        def hear(wanted):
            def look():
                """All that is there: the queue holds some ten messages, and what finds it full is lost."""
                try:
                    while True:
                        heard.append(manager.recv(4096).decode().splitlines())
                except TimeoutError:
                    pass
                return any(wanted in message for message in heard)
            until(look, wanted)

        config = balanced_config(sim)
        gateway = start(config, sim=sim, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"})
        hear("READY=1")
        assert f"MAINPID={gateway.pid}" in next(m for m in heard if "READY=1" in m)
        hear("WATCHDOG=1")
        gateway.send(signal.SIGHUP)
        hear("RELOADING=1")
        hear("STATUS=generation 2 serves")
        heard.clear()
        gateway.write_config("model_list: 7\n")
        gateway.send(signal.SIGHUP)
        hear("RELOADING=1")
        hear("STATUS=generation 2 serves")  # it was refused, and the manager need not wait
        gateway.send(signal.SIGTERM)
        hear("STOPPING=1")
