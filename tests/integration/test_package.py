"""What `cmake --install` and the Debian package bring: unit, man pages, completions, rules, and the package itself, which is built twice
and looked at by lintian. `test_debian.py` installs it."""

import json
import re
import secrets
import shutil
import subprocess
import sys

import pytest
from debian import PACKAGE, built, copy_of_the_checkout, run
from harness import BUILD, PATIENCE, ROOT, balanced_config, find_binary, program_env, until
from wire import only_plain

TRANCHE = find_binary("tranche")


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


@only_plain("the flags of a sanitizer's build are others")
def test_the_program_is_hardened():
    dynamic = run("readelf", "-d", TRANCHE).stdout
    assert "BIND_NOW" in dynamic and re.search(r"Flags: .*\bPIE\b", dynamic), dynamic
    headers = run("readelf", "-lW", TRANCHE).stdout
    assert "GNU_RELRO" in headers and re.search(r"GNU_STACK\s.*\bRW\b", headers) and not re.search(r"LOAD\s.*RWE", headers), headers


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
