"""`tranche keys hash`: what an operator types, what is printed, and that the key itself is nowhere."""

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios

import pytest
from harness import MASTER_KEY, PATIENCE, find_binary, program_env

KEY = "sk-Tq8Rw2Lm5Xz7Kd4Np1Vs"
ENTRY = re.compile(r"- hash: sha256:([0-9a-f]{64})\n  key_name: sk-\.\.\.(.{4})\n  key_alias: key-[0-9a-f]{8} .*\n  models: \[\"\*\"\] .*\n")


def keys(*args, given=b"", **how):
    return subprocess.run([find_binary("tranche"), "keys", *args], env=program_env({}), input=given, capture_output=True,
                          timeout=PATIENCE * 2, check=False, **how)


def check(tmp_path, entries, place="file"):
    """The verdict about a configuration that has these entries as they were printed."""
    rows = {"model_list": [{"model_name": "gpt-4o", "litellm_params": {"model": "openai/gpt-4o", "api_key": "os.environ/OPENAI_API_KEY"}}]}
    path = tmp_path / "config.yaml"
    if place == "file":
        (tmp_path / "keys.yaml").write_text("keys:\n" + entries)
        path.write_text(json.dumps({**rows, "tranche_settings": {"keys_file": "keys.yaml"}}))
    else:
        path.write_text(f"model_list: {json.dumps(rows['model_list'])}\ntranche_settings:\n  keys:\n" + "".join(f"  {line}\n" for line in entries.splitlines()))
    return subprocess.run([find_binary("tranche"), "check", "--config", str(path)], capture_output=True, text=True, timeout=PATIENCE * 2, check=False,
                          env=program_env({"OPENAI_API_KEY": "sk-proj-0123456789abcdefghij", "LITELLM_MASTER_KEY": MASTER_KEY}))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"], ids=["nothing", "newline", "crlf"])
def test_the_entry_has_the_hash_and_the_end_of_the_key_and_not_the_key(end):
    done = keys("hash", given=KEY.encode() + end)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    entry = ENTRY.fullmatch(done.stdout.decode())
    assert entry and entry[1] == hashlib.sha256(KEY.encode()).hexdigest() and entry[2] == KEY[-4:], done.stdout
    assert KEY.encode() not in done.stdout


@pytest.mark.parametrize("place", ["file", "inline"])
def test_printed_entries_load_as_they_stand_several_too(tmp_path, place):
    entries = "".join(keys("hash", given=f"{KEY}{n}".encode()).stdout.decode() for n in range(3))
    done = check(tmp_path, entries, place)
    assert done.returncode == 0 and "warning: keys" not in done.stdout and "settings.keys[" not in done.stdout, done.stdout
    assert re.search(r"3 keys in 0 teams\n", done.stdout), done.stdout


def test_one_key_hashed_twice_is_told_with_both_lines(tmp_path):
    done = check(tmp_path, 2 * keys("hash", given=KEY.encode()).stdout.decode())
    assert done.returncode == 1 and re.search(r"keys\.yaml:6: error: keys\[1\]\.hash: the same as in line 2\n", done.stdout), done.stdout


@pytest.mark.parametrize("given, why", [
    (b"", "nothing on standard input"), (b"\n", "nothing on standard input"), (b"sk-short-one", "begins with sk- and has 16"),
    (b"Tq8Rw2Lm5Xz7Kd4Np1Vs", "begins with sk- and has 16"), (b"sk-Tq8Rw2Lm5Xz 7Kd4Np1Vs", "begins with sk- and has 16"),
    ("sk-Tq8Rw2Lm5Xzä7Kd4Np1Vs".encode(), "begins with sk- and has 16"), (b"sk-1234567890123456", "the key is weak"),
    (b"sk-aaaaaaaaaaaaaaaaaaaaa", "the key is weak")], ids=str)
def test_a_key_that_is_not_fit_is_refused_without_being_shown(given, why):
    done = keys("hash", given=given)
    assert done.returncode == 1 and why in done.stderr.decode() and done.stdout == b"", done
    assert len(given) < 2 or given not in done.stderr


@pytest.mark.parametrize("given", [KEY.encode() + b"\n" + KEY.encode(), b"\n" + KEY.encode(), KEY.encode() + b"\0x", b"sk-" + b"x1y2" * 2000],
                         ids=["two-lines", "empty-line-first", "nul", "too-long"])
def test_what_is_no_line_is_refused(given):
    done = keys("hash", given=given)
    assert done.returncode == 2 and done.stdout == b"" and KEY.encode() not in done.stderr, done


@pytest.mark.parametrize("args, why", [(["hash", KEY], "on the command line is read by every user"), ([KEY], "on the command line is read by every user"),
                                       ([], "usage: tranche keys hash"), (["hsah"], 'got "hsah", wanted hash'), (["hash", "hash"], "wanted hash"),
                                       (["hash", "--key=" + KEY], "unknown flag")], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_key_is_not_taken_from_the_command_line(args, why):
    done = keys(*args, given=KEY.encode())
    assert done.returncode == 2 and why in done.stderr.decode() and done.stdout == b"", done
    assert KEY.encode() not in done.stderr


def test_help_is_printed_on_request():
    assert keys("--help").returncode == 0 and b"usage: tranche keys hash" in keys("hash", "--help").stdout


def test_what_cannot_be_printed_is_no_success():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([find_binary("tranche"), "keys", "hash"], env=program_env({}), input=KEY.encode(), stdout=full, stderr=subprocess.PIPE,
                              timeout=PATIENCE, check=False)
    assert done.returncode == 2 and b"cannot write to standard output" in done.stderr, done


class Terminal:
    """The program with a terminal of its own for its standard input and error."""

    def __init__(self):
        self.fd, child = pty.openpty()
        self.shown = b""
        self.before = termios.tcgetattr(child)
        self.child = child
        self.program = subprocess.Popen([find_binary("tranche"), "keys", "hash"], env=program_env({}), stdin=child, stderr=child,
                                        stdout=subprocess.PIPE, start_new_session=True,
                                        preexec_fn=self.as_a_shell_does)

    def as_a_shell_does(self):
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
        fcntl.ioctl(self.child, termios.TIOCSCTTY, 0)

    def wait_for(self, text):
        while text not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], PATIENCE)
            assert ready, self.shown
            self.shown += os.read(self.fd, 4096)

    def type(self, text):
        os.write(self.fd, text)

    def end(self):
        out, _ = self.program.communicate(timeout=PATIENCE)
        while select.select([self.fd], [], [], 0)[0]:
            self.shown += os.read(self.fd, 4096)
        after = termios.tcgetattr(self.child)
        os.close(self.child)
        os.close(self.fd)
        return out.decode(), after


def test_a_terminal_does_not_show_the_key_and_is_left_as_it_was():
    terminal = Terminal()
    terminal.wait_for(b"Key: ")
    terminal.type(KEY.encode() + b"\n")
    out, after = terminal.end()
    assert terminal.program.returncode == 0 and ENTRY.fullmatch(out), out
    assert KEY.encode() not in terminal.shown and KEY[3:9].encode() not in terminal.shown
    assert after == terminal.before


def test_who_gives_up_at_the_terminal_gets_it_back_as_it_was():
    terminal = Terminal()
    terminal.wait_for(b"Key: ")
    terminal.type(KEY[:10].encode() + b"\x03")
    out, after = terminal.end()
    assert terminal.program.returncode == -signal.SIGINT and out == ""
    assert KEY[:10].encode() not in terminal.shown and after == terminal.before
