"""A PostgreSQL cluster of a test's own: made in a folder, reached by a Unix socket, ended with the test. Debian's package postgresql."""

import contextlib
import ctypes
import glob
import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile

import pytest
from harness import PATIENCE, until

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1:]


def installed():
    """Skips the test where it is not."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")


def empty(cluster):
    """@return the cluster, in which no gateway has been yet"""
    cluster.psql("drop schema if exists tranche cascade")
    return cluster


def as_user():
    """The server refuses to run as root: then it runs as the package's own user. It ends with its test, however that ends."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class Cluster:
    def __init__(self, *settings, files=None, clock=None):
        """Settings as the server's program takes them, "name=value"; without any it listens on its Unix socket alone. Files: what
        stands in its data directory, by name. Clock: the library of tests/history/clock_shift.c, with which set_clock() works."""
        self.settings = settings or ("listen_addresses=",)
        self.dir = tempfile.mkdtemp(prefix="tranche-pg-", dir="/tmp")
        self.server, self.clock = None, clock
        if clock is not None:  # where the server's user may read it
            shutil.copy(clock, f"{self.dir}/clock.so")
            self.set_clock(0)
        if os.geteuid() == 0:
            for path in [self.dir, *glob.glob(f"{self.dir}/clock*")]:
                shutil.chown(path, "postgres")
        self.fill()
        for name, text in (files or {}).items():
            with open(f"{self.dir}/data/{name}", "w", opener=lambda path, flags: os.open(path, flags, 0o600), encoding="utf-8") as out:
                out.write(text)
            if os.geteuid() == 0:
                shutil.chown(f"{self.dir}/data/{name}", "postgres")
        self.start()

    def fill(self):
        """Make its data directory."""
        self.run("initdb", "-D", f"{self.dir}/data", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")

    @staticmethod
    def run(program, *args):
        subprocess.run([f"{PROGRAMS[0]}/{program}", *args], check=True, stdout=subprocess.DEVNULL, preexec_fn=as_user, cwd="/", timeout=PATIENCE * 8)

    @property
    def socket(self):
        """The path of the Unix socket that it listens on."""
        return f"{self.dir}/.s.PGSQL.5432"

    @property
    def url(self):
        return self.url_of("postgres")

    def url_of(self, database, user="postgres"):
        port = next((f"&port={s.split('=')[1]}" for s in self.settings if s.startswith("port=")), "")
        return f"postgresql:///{database}?host={self.dir}&user={user}{port}"

    def set_clock(self, seconds):
        """So far before or behind the machine's is its wall clock from now on."""
        with open(f"{self.dir}/clock", "r+b" if os.path.exists(f"{self.dir}/clock") else "wb") as file:
            file.write(struct.pack("q", seconds * 1000))

    def start(self):
        log = open(f"{self.dir}/log", "ab")
        env = {**os.environ, "LD_PRELOAD": f"{self.dir}/clock.so", "HISTORY_CLOCK": f"{self.dir}/clock"} if self.clock else None
        self.server = subprocess.Popen([f"{PROGRAMS[0]}/postgres", "-D", f"{self.dir}/data", "-k", self.dir, "-c", "fsync=off",
                                        *(word for setting in self.settings for word in ("-c", setting))],
                                       stdout=log, stderr=log, preexec_fn=as_user, cwd="/", env=env)
        until(lambda: self.psql("select 1", check=False).returncode == 0, "PostgreSQL serves")

    def psql(self, sql, check=True, database="postgres"):
        done = subprocess.run([f"{PROGRAMS[0]}/psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", self.url_of(database), "-f", "-"], input=sql,
                              capture_output=True, text=True, check=False, timeout=PATIENCE * 4)
        assert not check or done.returncode == 0, done.stderr
        return done

    def processes(self):
        """The server's own, and those that serve somebody."""
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.server.pid)], capture_output=True, text=True, check=False).stdout.split()
        return [self.server.pid, *map(int, children)]

    def send(self, sign):
        self.server.send_signal(sign)  # first: who is told to stand still makes no more processes
        for pid in self.processes()[1:]:
            with contextlib.suppress(ProcessLookupError):  # whom it served left meanwhile
                os.kill(pid, sign)

    def stop(self):
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(timeout=PATIENCE * 4)

    def close(self):
        if self.server.poll() is None:
            self.send(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Replica(Cluster):
    """A copy of a cluster that follows it a little later, and becomes a server of its own when it is told to (an asynchronous replica)."""

    def __init__(self, of, host, port):
        """@param host, port  where it follows: the cluster itself (the folder of its Unix socket, 5432), or a proxy in front of it"""
        self.of, self.source = of, (host, port)
        super().__init__(*of.settings, clock=of.clock)

    def fill(self):
        self.run("pg_basebackup", "-D", f"{self.dir}/data", "-d", self.of.url_of("postgres"), "-X", "stream", "-c", "fast", "--no-sync")
        host, port = self.source
        with open(f"{self.dir}/data/postgresql.auto.conf", "a", encoding="utf-8") as out:
            out.write(f"primary_conninfo = 'host={host} port={port} user=postgres sslmode=disable'\n")
        with open(f"{self.dir}/data/standby.signal", "w", opener=lambda path, flags: os.open(path, flags, 0o600), encoding="utf-8"):
            pass
        if os.geteuid() == 0:
            shutil.chown(f"{self.dir}/data/standby.signal", "postgres")

    def follows(self):
        """Whether it is connected to whom it follows."""
        return self.of.psql("select count(*) from pg_stat_replication where state = 'streaming'").stdout.strip() != "0"

    def promote(self):
        self.psql("select pg_promote(true, 60)")
        until(lambda: self.psql("select pg_is_in_recovery()").stdout.strip() == "f", "the replica serves for itself")
