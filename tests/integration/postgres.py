"""A PostgreSQL cluster of a test's own: made in a folder, reached by a Unix socket, ended with the test. Debian's package postgresql."""

import ctypes
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

from harness import PATIENCE, until

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1:]


def as_user():
    """The server refuses to run as root: then it runs as the package's own user. It ends with its test, however that ends."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class Cluster:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tranche-pg-", dir="/tmp")
        self.server = None
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres")
        subprocess.run([f"{PROGRAMS[0]}/initdb", "-D", f"{self.dir}/data", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"],
                       check=True, stdout=subprocess.DEVNULL, preexec_fn=as_user, cwd="/", timeout=PATIENCE * 8)
        self.start()

    @property
    def url(self):
        return self.url_of("postgres")

    def url_of(self, database, user="postgres"):
        return f"postgresql:///{database}?host={self.dir}&user={user}"

    def start(self):
        log = open(f"{self.dir}/log", "ab")
        self.server = subprocess.Popen([f"{PROGRAMS[0]}/postgres", "-D", f"{self.dir}/data", "-k", self.dir, "-c", "listen_addresses=", "-c", "fsync=off"],
                                       stdout=log, stderr=log, preexec_fn=as_user, cwd="/")
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
        for pid in self.processes():
            os.kill(pid, sign)

    def stop(self):
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(timeout=PATIENCE * 4)

    def close(self):
        if self.server.poll() is None:
            self.send(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
