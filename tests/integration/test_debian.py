"""What a bare Debian of 12 or 13 makes of the package, of the Dockerfile and of a newcomer's two commands."""

import os
import re
import secrets
import shutil
import signal

import pytest
from debian import PACKAGE, Image, Root, built, copy_of_the_checkout, dockerfile, run
from harness import PATIENCE, free_port, until


def needs_roots():
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return built(tmp_path_factory.mktemp("package"))


@pytest.fixture(params=["bookworm", "trixie"])
def debian(request, tmp_path):
    needs_roots()
    root = Root(tmp_path / "root", request.param)
    yield root
    root.close()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_package_lives_in_a_bare_debian(package, debian):
    """Installed with what it depends on, started, answered, installed again and purged; nothing of it is left but its user."""
    root, inside = debian.path, debian.run
    shutil.copy(package, root / "srv/package.deb")
    done = inside("apt-get", "install", "-y", "--no-install-recommends", "/srv/package.deb")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert re.fullmatch(r"tranche \S+\n", inside("tranche", "--version").stdout)
    assert (root / "etc/tranche/environment").stat().st_mode & 0o777 == 0o640
    script = r"""su -s /bin/sh tranche -c 'OPENAI_API_KEY=sk-something-long HOST=127.0.0.1 exec tranche --config /etc/tranche/config.yaml --port 0' 2>/tmp/log &
tail --pid=$! -n +1 -F /tmp/log 2>/dev/null | grep -q -m 1 serves
exec 3<>/dev/tcp/127.0.0.1/$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' /tmp/log)
printf 'GET /health/liveliness HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' >&3
head -n 1 <&3
kill -TERM $!; wait"""
    done = inside("bash", "-c", script)
    assert "200" in done.stdout, (done, (root / "tmp/log").read_text())
    (root / "etc/tranche/environment").write_text("OPENAI_API_KEY=sk-kept\n")
    done = inside("apt-get", "install", "-y", "--reinstall", "/srv/package.deb")
    assert done.returncode == 0 and (root / "etc/tranche/environment").read_text() == "OPENAI_API_KEY=sk-kept\n", done
    done = inside("apt-get", "purge", "-y", "tranche")
    assert done.returncode == 0, done
    left = inside("find", "/", "-xdev", "-name", "*tranche*", "-not", "-path", "/tmp/*").stdout
    assert left == "", left


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_newcomers_first_command_works_in_a_bare_debian(debian):
    """On 13 with libh2o from Debian 12's archive, of which nothing is installed."""
    copy_of_the_checkout(debian.path / "src")
    done = debian.run("/src/scripts/quickstart", "--once")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "h2o" not in debian.run("dpkg-query", "-W", "-f", "${Package}\n").stdout or "bookworm" in str(debian.run("cat", "/etc/os-release").stdout)


@pytest.mark.long
@pytest.mark.timeout(14400)
def test_a_newcomers_second_command_passes_in_a_bare_debian(debian):
    """All that `scripts/test` does, with the compilers, the Python and the PostgreSQL of that Debian."""
    copy_of_the_checkout(debian.path / "src")
    done = debian.run("/src/scripts/test", timeout=14000)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    passed, failed = re.fullmatch(r"(\d+) passed, (\d+) failed", done.stdout.strip().splitlines()[-1]).groups()
    assert int(passed) > 10000 and failed == "0"


@pytest.fixture
def image(tmp_path):
    needs_roots()
    stages = {}
    yield stages, tmp_path / "images"
    for stage in stages.values():
        stage.close()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_dockerfile_makes_an_image_that_serves_read_only_as_nobodys_root(image, tmp_path):
    """Each of its steps in a bare Debian, then as its first lines say: a read-only root, one volume, keys by the environment."""
    stages, place = image
    place.mkdir()
    for instruction, rest in dockerfile(PACKAGE / "Dockerfile"):
        if instruction == "FROM":
            stage = Image(place / str(len(stages)), stages)
            stages[rest.partition(" AS ")[2] or "image"] = stage
        stage.do(instruction, rest)
    key = f"sk-{secrets.token_hex(24)}"
    log_path = tmp_path / "log"
    with log_path.open("wb") as log:
        container = stage.start(log, PORT=str(free_port()), OPENAI_API_KEY="sk-something-long", LITELLM_MASTER_KEY=key)
    try:
        until(lambda: stage.healthy() or container.poll() is not None, "the health check is content")
        assert container.poll() is None, log_path.read_text()
        pids = [container.pid, *map(int, open(f"/proc/{container.pid}/task/{container.pid}/children").read().split())]
        owner = (stage.path / "var/lib/tranche").stat().st_uid
        assert owner != 0
        for pid in pids:
            uids = re.search(r"^Uid:\s+(.*)$", open(f"/proc/{pid}/status").read(), re.MULTILINE).group(1).split()
            assert uids == [str(owner)] * 4, pid
        asked = stage.inside("curl", "-sS", "-H", f"Authorization: Bearer {key}", f"http://127.0.0.1:{stage.env['PORT']}/metrics")
        done = run(*asked)
        assert done.returncode == 0 and "tranche_" in done.stdout, done
    finally:
        if container.poll() is None:
            container.send_signal(getattr(signal, stage.signal))
        assert container.wait(PATIENCE * 2) == 0, log_path.read_text()
