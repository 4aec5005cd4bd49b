"""Bare Debians in folders, the package of this checkout, and its Dockerfile carried out without Docker."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess

from harness import PATIENCE, ROOT, program_env

PACKAGE = ROOT / "scripts/package"


def run(*argv, env=None, timeout=PATIENCE * 4, **more):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
                          env=env or program_env(), **more)


def copy_of_the_checkout(copy):
    """Without what .dockerignore names: all that was made here, which would not fit another folder."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    everywhere = [pattern.removeprefix("**/") for pattern in ignored if pattern.startswith("**/")]
    copy.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored):
            continue
        if entry.is_dir():
            shutil.copytree(entry, copy / entry.name, ignore=shutil.ignore_patterns(*everywhere))
        else:
            shutil.copy(entry, copy / entry.name)
    return copy


def built(place):
    """The Debian package of a copy of this checkout in that folder."""
    copy = copy_of_the_checkout(place / "tranche")
    done = run(copy / "scripts/package/deb", env={**program_env(), "HOME": str(place)}, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    (deb,) = copy.glob("build/deb/*.deb")
    assert str(deb) == done.stdout.strip().splitlines()[-1]
    return deb


ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "HOME": "/tmp"}


class Root:
    """A bare Debian in a folder, with this machine's apt configuration (proxies and the like)."""

    def __init__(self, path, release):
        self.path = path
        mirror = run("apt-get", "indextargets", "--format", "$(REPO_URI)").stdout.split()[0]
        done = run("debootstrap", "--variant=minbase", release, path, mirror, timeout=1800)
        assert done.returncode == 0, done.stdout[-2000:]
        for name in os.listdir("/etc/apt/apt.conf.d"):
            shutil.copy(f"/etc/apt/apt.conf.d/{name}", path / "etc/apt/apt.conf.d")
        shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
        for source, place in (("/proc", "proc"), ("/dev", "dev")):
            assert run("mount", "--rbind", source, path / place).returncode == 0

    def close(self):
        """What stands in it goes with the test's folder."""
        for place in ("proc", "dev"):
            run("umount", "-l", self.path / place)

    def run(self, *argv, timeout=3600):
        return run("chroot", self.path, *argv, timeout=timeout, env=ENV)


class Image:
    """What a Dockerfile makes: each instruction is carried out in a bare Debian, and one that is not known here is a failure."""

    def __init__(self, path, stages):
        self.path, self.stages, self.root = path, stages, None
        self.env, self.user, self.volumes, self.health, self.signal, self.entry, self.command = {}, "root", [], None, "SIGTERM", [], []

    def do(self, instruction, rest):
        getattr(self, f"do_{instruction.lower()}")(rest)

    def do_from(self, rest):
        name, _, self.name = rest.partition(" AS ")
        assert name == "debian:12-slim", name
        self.root = Root(self.path, "bookworm")

    def do_copy(self, rest):
        *options, source, target = shlex.split(rest)
        place = self.path / target.lstrip("/")
        if not options:
            assert source == "."
            copy_of_the_checkout(place)
            return
        (option,) = options
        shutil.copy(self.stages[option.removeprefix("--from=")].path / source.lstrip("/"), place)

    def do_run(self, rest):
        done = self.root.run("sh", "-c", rest)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def do_user(self, rest):
        self.user = rest

    def do_env(self, rest):
        self.env.update(pair.split("=", 1) for pair in shlex.split(rest))

    def do_volume(self, rest):
        self.volumes.append(rest)

    def do_expose(self, rest):
        assert rest == self.env["PORT"]

    def do_healthcheck(self, rest):
        self.health = re.fullmatch(r"(?:--\S+ )*CMD (.*)", rest).group(1)

    def do_stopsignal(self, rest):
        self.signal = rest

    def do_entrypoint(self, rest):
        self.entry = json.loads(rest)

    def do_cmd(self, rest):
        self.command = json.loads(rest)

    def start(self, log, **env):
        """`docker run --read-only --tmpfs /tmp` with these variables; the mounts end with the container. A new volume is what the image
        has in its place."""
        mounts = [f"mount --bind {self.path} {self.path}", f"mount -o remount,bind,ro {self.path}", f"mount -t tmpfs tmpfs {self.path}/tmp"]
        for volume in self.volumes:
            at = f"{self.path}{volume}"
            stat = os.stat(at)
            mounts.append(f"mount -t tmpfs -o mode={stat.st_mode & 0o7777:o},uid={stat.st_uid},gid={stat.st_gid} tmpfs {at}")
        self.env.update(env)
        return subprocess.Popen(["unshare", "--mount", "sh", "-c", " && ".join(mounts) + ' && exec "$@"', "sh", *self.inside(*self.entry, *self.command)],
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def inside(self, *argv):
        variables = [f"{name}={value}" for name, value in {**ENV, **self.env}.items()]
        return ["chroot", f"--userspec={self.user}", self.path, "/usr/bin/env", "-i", *variables, *argv]

    def healthy(self):
        return run(*self.inside("sh", "-c", self.health)).returncode == 0

    def close(self):
        if self.root is not None:
            self.root.close()


def dockerfile(path):
    """(instruction, its rest) of each, comments and continued lines as Docker reads them."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(whole.split(" ", 1)) for whole in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()]
