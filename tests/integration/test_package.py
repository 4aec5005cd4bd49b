"""What `cmake --install` and the Debian package bring: unit, man pages, completions, rules, and the package itself, which is built twice,
looked at by lintian, and installed, started, upgraded and purged in roots of Debian 12 and 13 that are made for it."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys

import pytest
from harness import BUILD, PATIENCE, ROOT, balanced_config, find_binary, program_env, until

PACKAGE = ROOT / "scripts/package"
TRANCHE = find_binary("tranche")


def run(*argv, env=None, timeout=PATIENCE * 4, **more):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
                          env=env or program_env(), **more)


def commands():
    """Each command of `tranche --help`."""
    usage = run(TRANCHE, "--help").stdout.split("\n\n")[0]
    return sorted(set(re.findall(r"tranche \[?([a-z-]+)", usage)))


def options(command):
    return sorted(set(re.findall(r"--[a-z][a-z_-]*", run(TRANCHE, *command, "--help").stdout)))


def completed(words, shell_words):
    """What bash would offer behind these words."""
    script = f"""source {PACKAGE}/completion/tranche.bash
COMP_WORDS=({TRANCHE} {shell_words}) COMP_CWORD={len(words)}
_tranche {TRANCHE} "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = run("bash", "-c", script)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.split()


def test_bash_completes_each_command_and_its_options():
    assert completed([""], "''") == commands() and len(commands()) >= 8
    assert completed(["ch"], "ch") == ["check", "check-file"]
    assert completed(["check", "--o"], "check --o") == ["--online"]
    assert completed(["batches", "--"], "batches --") == options(["batches"])
    assert completed(["check-file", "--provider", ""], "check-file --provider ''") == ["openai", "azure"]


def test_the_man_pages_tell_each_command_and_each_setting(tmp_path):
    page = (BUILD / "scripts/package/tranche.1").read_text().replace("\\-", "-")
    for command in commands():
        assert re.search(rf"^\.B .*\b{command}\b", page, re.MULTILINE) and f"\ntranche {command}" in page.replace(" | ", "\n").replace("[", ""), command
    with open(tmp_path / "tranche.yaml.5", "w") as out:
        assert subprocess.run(["awk", "-v", "date=2026-01-01", "-v", "version=1", "-f", PACKAGE / "man/settings.awk", ROOT / "README.md"],
                              stdout=out, check=False, timeout=PATIENCE).returncode == 0
    text = (tmp_path / "tranche.yaml.5").read_text()
    readme = (ROOT / "README.md").read_text().split("| setting | meaning | default |")[1].split("\n\n")[0]
    settings = re.findall(r"^\| `([^`]+)`", readme, re.MULTILINE)
    assert len(settings) > 50
    for setting in settings:
        assert setting.replace("-", "\\-") in text, setting
    for table in ("|", "`", "]("):
        assert table not in re.sub(r"openai\|azure", "", text), f"{table} of Markdown is left"


def test_each_metric_of_the_rules_and_the_dashboard_is_there(start, sim, tmp_path):
    gateway = start(balanced_config(sim, tranche_settings={"database": f"sqlite://{tmp_path}/db"}), sim=sim)
    there = set()
    for source in (ROOT / "server/admin").glob("metrics*.c"):  # those of credentials stand where there are some
        there |= set(re.findall(r'"(tranche_entra_\w+)"', source.read_text()))
    expressions = re.findall(r"^ +expr: (.*)$", (PACKAGE / "rules.yaml").read_text(), re.MULTILINE)
    panels = json.loads((PACKAGE / "dashboard.json").read_text())["panels"]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    names = {name for e in expressions for name in re.findall(r"\btranche_\w+", e)}
    assert len(names) > 15
    labels = {label for e in expressions for group in re.findall(r"\bby \((.*?)\)", e) for label in group.split(", ")} - {"instance"}

    def missing():
        page = gateway.get("/metrics").body.decode()
        found = there | set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
        return sorted(names - found) + [label for label in labels if f'{label}="' not in page]

    try:
        until(lambda: missing() == [], "the keeper has told of the database, and each of them is there")
    except AssertionError:
        raise AssertionError(missing()) from None


@pytest.mark.long
def test_prometheus_itself_takes_the_rules():
    if not shutil.which("promtool"):
        pytest.skip("promtool is not there (Debian: prometheus; scripts/test --long unpacks it)")
    done = run("promtool", "check", "rules", PACKAGE / "rules.yaml")
    assert done.returncode == 0 and "SUCCESS" in done.stdout + done.stderr, done


@pytest.mark.long
def test_the_kubernetes_example_is_what_its_api_describes():
    beside = ROOT / ".venv/kubernetes"
    if not beside.is_dir():
        pytest.skip("kubernetes-validate is not there (scripts/test --long brings it)")
    done = run(sys.executable, "-m", "kubernetes_validate", "--strict", PACKAGE / "kubernetes.yaml",
               env={**program_env(), "PYTHONPATH": str(beside)})
    assert done.returncode == 0 and (done.stdout + done.stderr).count(" passed for ") >= 3, done


def test_the_unit_is_closed(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    unit = tmp_path / "tranche.service"
    unit.write_text((PACKAGE / "tranche.service.in").read_text().replace("@CMAKE_INSTALL_FULL_BINDIR@", "/usr/bin"))
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    (level,) = re.findall(r"Overall exposure level for tranche.service: ([\d.]+)", done.stdout)
    assert float(level) <= 1.5, done.stdout


def test_the_packages_configuration_is_safe_as_it_comes():
    """It is valid, and without a key of its own it serves this machine alone."""
    text = (PACKAGE / "environment").read_text()
    assert not [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "Environment=HOST=127.0.0.1" in (PACKAGE / "tranche.service.in").read_text()
    for key, served in (({}, ["this machine only"]), ({"LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(24)}"}, [])):  # whoever has the key
        done = run(TRANCHE, "check", "--config", PACKAGE / "config.yaml", env=program_env({"OPENAI_API_KEY": "sk-something-long", "HOST": "127.0.0.1", **key}))
        assert done.returncode == 0 and re.search(r"^ +listen +127\.0\.0\.1:4000$", done.stdout, re.MULTILINE), done
        assert re.findall(r"^ +serves +(.*)$", done.stdout, re.MULTILINE) == served, done


def test_the_program_is_hardened():
    if os.environ.get("TRANCHE_BUILD_DIR", "").endswith("asan"):
        pytest.skip("the flags of a sanitizer's build are others")
    dynamic = run("readelf", "-d", TRANCHE).stdout
    assert "BIND_NOW" in dynamic and re.search(r"Flags: .*\bPIE\b", dynamic), dynamic
    headers = run("readelf", "-lW", TRANCHE).stdout
    assert "GNU_RELRO" in headers and re.search(r"GNU_STACK\s.*\bRW\b", headers) and not re.search(r"LOAD\s.*RWE", headers), headers


def copy_of_the_checkout(copy):
    copy.mkdir(parents=True)
    for name in ("CMakeLists.txt", "CMakePresets.json", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    for name in ("server", "balancer", "common", "config", "scripts", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    return copy


def built(place):
    """The Debian package of a copy of this checkout in that folder."""
    copy = copy_of_the_checkout(place / "tranche")
    done = run(copy / "scripts/package/deb", env={**program_env(), "HOME": str(place)}, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    (deb,) = copy.glob("build/deb/*.deb")
    assert str(deb) == done.stdout.strip().splitlines()[-1]
    return deb


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return built(tmp_path_factory.mktemp("package"))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_package_is_the_same_bytes_in_another_folder_and_lintian_finds_nothing(package, tmp_path):
    again = built(tmp_path / "another-folder")
    assert package.read_bytes() == again.read_bytes()
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    done = run("lintian", "--allow-root", "--fail-on", "error,warning,info", "--tag-display-limit", "0", package)
    assert done.returncode == 0 and not done.stdout.strip(), done


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("build_type", ["Release", "RelWithDebInfo", "Debug"])
def test_a_program_of_any_build_type_is_the_same_bytes_in_another_folder(tmp_path, build_type):
    programs = []
    for name in ("one", "another-folder"):
        copy = copy_of_the_checkout(tmp_path / name / "tranche")
        for command in (("--preset", "release", f"-DCMAKE_BUILD_TYPE={build_type}"), ("--build", "build/release", "--target", "tranche")):
            done = run("cmake", *command, cwd=copy, timeout=3600)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        programs.append((copy / "build/release/server/tranche").read_bytes())
    assert programs[0] == programs[1]
    assert str(tmp_path).encode() not in programs[0]


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
        for place in ("proc", "dev"):
            run("umount", "-l", self.path / place)

    def run(self, *argv, timeout=3600):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "HOME": "/tmp"}
        return run("chroot", self.path, *argv, timeout=timeout, env=env)


@pytest.fixture(params=["bookworm", "trixie"])
def debian(request, tmp_path):
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
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
