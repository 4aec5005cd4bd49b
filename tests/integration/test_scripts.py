"""The scripts of a newcomer's first ten minutes, in a copy of the checkout with odd surroundings: a proxy, other languages, links,
no environment, a folder that moved, another owner's folders, little room. What they build is stood for by a project that takes
the programs under test from where they are; everything else is real."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
from harness import BUILD, PATIENCE, ROOT, find_binary

TINY = """\
cmake_minimum_required(VERSION 3.25)
project(tranche NONE)
include(CTest)
add_custom_target(tranche COMMAND ${{CMAKE_COMMAND}} -E make_directory server
                          COMMAND ${{CMAKE_COMMAND}} -E create_symlink {tranche} server/tranche)
add_custom_target(tranche-sim COMMAND ${{CMAKE_COMMAND}} -E make_directory tests/sim
                              COMMAND ${{CMAKE_COMMAND}} -E create_symlink {sim} tests/sim/tranche-sim)
add_custom_target(all_fuzz_targets COMMAND ${{CMAKE_COMMAND}} -E make_directory tests/fuzz)
add_test(NAME unit.one COMMAND ${{CMAKE_COMMAND}} -E true)
set_tests_properties(unit.one PROPERTIES LABELS unit)
"""
# What the scripts call before anything is installed: Debian's essential packages have it.
ESSENTIAL = "awk basename bash cat chmod cmp cp cut df dirname env find getent grep head id mkdir mktemp nproc od readlink rm sed seq stat tail tr"
PROXIES = {name: "http://127.0.0.1:1" for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}


class Checkout:
    """A copy of what the scripts look at."""

    def __init__(self, place):
        self.path = place / "tranche"
        self.bin = place / "bin"
        self.bin.mkdir()
        self.path.mkdir()
        for name in ("scripts", "config/samples", "tests/sim/samples"):
            shutil.copytree(ROOT / name, self.path / name)
        node = self.path / "tests/integration/node"
        node.mkdir(parents=True)
        for name in ("CMakePresets.json", "tests/integration/requirements.txt", "tests/integration/requirements-openai-1.txt",
                     "tests/integration/requirements-litellm.txt", "tests/integration/node/package.json"):
            shutil.copy(ROOT / name, self.path / name)
        (self.path / "CMakeLists.txt").write_text(TINY.format(tranche=find_binary("tranche"), sim=find_binary("tranche-sim")))

    def program(self, name, text):
        """A program that comes before the real one."""
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def run(self, *argv, env=None, whole_env=None, user=None):
        if whole_env is None:
            keep = {k: v for k, v in os.environ.items() if k in ("HOME", "TMPDIR", "ASAN_OPTIONS")}
            whole_env = {**keep, "PATH": f"{self.bin}:{os.environ['PATH']}", **(env or {})}
        return subprocess.run([str(a) for a in argv], env=whole_env, cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=PATIENCE * 5, user=user, extra_groups=None if user is None else [])

    def quickstart(self, **how):
        return self.run(self.path / "scripts/quickstart", "--once", **how)


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def bare(checkout):
    """A user without sudo, where nothing is installed but what every Debian has."""
    for name in ESSENTIAL.split():
        if name != "id":
            (checkout.bin / name).symlink_to(shutil.which(name))
    checkout.program("id", '[ "$1" = -u ] && echo 1000 || echo somebody')
    checkout.program("sudo", "exit 1")
    return checkout


def assert_walked(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done: upload, placement, create, retrieve, list, content, cancel, delete" in done.stderr
    assert "unbound variable" not in done.stderr and "command not found" not in done.stderr, done.stderr


def test_quickstart_behind_a_proxy_asks_this_machine_itself(checkout):
    assert_walked(checkout.quickstart(env=PROXIES))


def test_quickstart_takes_no_key_or_setting_of_its_caller(checkout, tmp_path):
    (tmp_path / ".curlrc").write_text("proxy = http://127.0.0.1:1\nfail\noutput = /dev/null\n")
    done = checkout.quickstart(env={"OPENAI_API_KEY": "sk-proj-of-the-caller", "AZURE_API_KEY": "k", "PORT": "x", "NUM_WORKERS": "x",
                                    "SERVER_ROOT_PATH": "/elsewhere", "LITELLM_ENVIRONMENT": "production", "HOME": str(tmp_path)})
    assert_walked(done)


def test_quickstart_tells_what_curl_said(checkout):
    checkout.program("curl", "echo 'curl: (7) Failed to connect' >&2; exit 7")
    done = checkout.quickstart()
    assert done.returncode == 2 and "curl failed: curl: (7) Failed to connect" in done.stderr, done.stderr


def test_quickstart_in_turkish(checkout, tmp_path):
    """In Turkish the small letter of I is a dotless one: ASIA's port was looked for under another name."""
    if shutil.which("localedef") and os.path.exists("/usr/share/i18n/locales/tr_TR"):
        subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", str(tmp_path / "tr_TR.UTF-8")], capture_output=True, check=False)
    checkout.program("curl", f'echo "${{LC_ALL:-}}" >>{tmp_path}/locales; exec {shutil.which("curl")} "$@"')
    done = checkout.quickstart(env={"LANG": "tr_TR.UTF-8", "LANGUAGE": "tr", "LC_CTYPE": "tr_TR.UTF-8", "LOCPATH": str(tmp_path)})
    assert_walked(done)
    # Where that language is not installed: no tool was asked in it.
    assert set((tmp_path / "locales").read_text().split()) == {"C.UTF-8"}


def test_quickstart_through_a_symbolic_link(checkout, tmp_path):
    (tmp_path / "start").symlink_to(checkout.path / "scripts/quickstart")
    (tmp_path / "start-again").symlink_to("start")
    assert_walked(checkout.run(tmp_path / "start-again", "--once"))


BASH_SCRIPTS = sorted(p.name for p in (ROOT / "scripts").iterdir() if p.is_file() and p.name != "lib.sh" and "bash" in p.open().readline())


@pytest.mark.parametrize("name", BASH_SCRIPTS)
def test_a_script_without_its_library_fails(tmp_path, name):
    """A copy, or a link of another kind: all of it failed, and the exit code was 0."""
    shutil.copy(ROOT / "scripts" / name, tmp_path / name)
    done = subprocess.run([str(tmp_path / name)], capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1 and "lib.sh" in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["format", "lint"])
def test_a_script_that_git_tells_no_files_fails(checkout, name):
    """Another owner's checkout: git refuses, and nothing was looked at with an exit code of 0."""
    for tool in ("clang-format", "clang-tidy"):
        checkout.program(tool, "exit 0")
    checkout.program("git", "echo 'fatal: detected dubious ownership' >&2; exit 128")
    done = checkout.run(checkout.path / "scripts" / name)
    assert done.returncode == 2 and "git tells of no file" in done.stderr, done.stderr


def test_quickstart_without_an_environment(checkout):
    assert_walked(checkout.run("env", "-i", checkout.path / "scripts/quickstart", "--once"))


def test_quickstart_after_the_checkout_was_moved(checkout):
    assert_walked(checkout.quickstart())
    moved = checkout.path.parent / "moved here"
    checkout.path.rename(moved)
    checkout.path = moved
    done = checkout.quickstart()
    assert_walked(done)
    assert f"build/release was made in {moved.parent / 'tranche'}: it is made anew" in done.stderr


def test_a_preset_that_changed_is_configured_again(checkout):
    """A build folder of an older checkout keeps its options, else: the tests of a release, say."""
    assert_walked(checkout.quickstart())
    presets = checkout.path / "CMakePresets.json"
    presets.write_text(presets.read_text().replace('"CMAKE_BUILD_TYPE": "Release"', '"CMAKE_BUILD_TYPE": "MinSizeRel"'))
    assert_walked(checkout.quickstart())
    assert "CMAKE_BUILD_TYPE:UNINITIALIZED=MinSizeRel" in (checkout.path / "build/release/CMakeCache.txt").read_text()


def test_a_failed_configuration_is_told(checkout):
    (checkout.path / "CMakeLists.txt").write_text("project(\n")
    done = checkout.quickstart()
    assert done.returncode == 2 and "CMake cannot configure the preset release" in done.stderr, done.stderr
    assert "CMakeLists.txt:1" in done.stderr, done.stderr


@pytest.mark.parametrize("script, folder", [(("quickstart",), "build"), (("quickstart",), "build/release"), (("test", "--unit"), "build/dev"),
                                            (("lint",), "build"), (("test", "-k", "x"), ".venv")])
def test_another_owners_folder_is_told_with_its_owner(script, folder):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        checkout = Checkout(pathlib.Path(place))
        (checkout.path / "build").mkdir()
        (checkout.path / folder).mkdir(exist_ok=True)
        if os.getuid() == 0:  # the folders are root's, and the caller is nobody
            others = [checkout.path, *([checkout.path / "build"] if folder != "build" else [])]
            for path in others:
                os.chown(path, 65534, 65534)
            done = checkout.run(checkout.path / "scripts" / script[0], *script[1:], user=65534)
        else:
            (checkout.path / folder).chmod(0o555)
            done = checkout.run(checkout.path / "scripts" / script[0], *script[1:])
            (checkout.path / folder).chmod(0o755)
    assert done.returncode in (1, 2)
    assert re.search(rf"{script[0]}: \S+/{folder} belongs to \w+, and \w+ cannot write there\ndelete \S+ as", done.stderr), done.stderr
    assert "Permission denied" not in done.stderr, done.stderr


def little_room(checkout, place, everywhere=False):
    """df tells of one free megabyte there; what is really there does not matter."""
    real = shutil.which("df")
    checkout.program("df", f'[ "${{@: -1}}" = {place} ] || {"true" if everywhere else "false"} || exec {real} "$@"\n'
                           'echo Filesystem 1024-blocks Used Available Capacity Mounted; echo small 1024 0 1024 0% /small')


@pytest.mark.parametrize("kind", ["small", "missing"])
def test_quickstart_with_a_temporary_folder_that_cannot_take_it(checkout, tmp_path, kind):
    place = tmp_path / "tmp"
    if kind == "small":
        place.mkdir()
        little_room(checkout, place)
    done = checkout.quickstart(env={"TMPDIR": str(place)})
    assert_walked(done)
    assert f"{place} cannot take 200 MB: temporary files go to build/tmp" in done.stderr, done.stderr
    assert not place.exists() or not list(place.iterdir())


def test_no_room_anywhere_is_told(checkout, tmp_path):
    little_room(checkout, tmp_path, everywhere=True)
    done = checkout.quickstart()
    assert done.returncode == 2 and "MB free: set TMPDIR to a folder that has" in done.stderr, done.stderr


def listed(done):
    """The packages of the one message that tells them."""
    found = re.findall(r"apt-get install -y --no-install-recommends (.*)", done.stderr)
    assert len(found) == 1, done.stderr
    return found[0].split()


@pytest.mark.parametrize("script, some, none", [
    (["quickstart"], "gcc cmake ninja-build libssl-dev libh2o-evloop-dev curl", "python3-venv libcmocka-dev clang nodejs"),
    (["test"], "gcc cmake ninja-build libcmocka-dev clang curl openssl nghttp2-client nodejs npm", ""),
    (["test", "--unit"], "gcc cmake libcmocka-dev clang", "nodejs npm nghttp2-client"),
    (["test", "-k", "x"], "gcc cmake libcmocka-dev nodejs npm", "clang"),
    (["fuzz", "--coverage"], "gcc cmake clang llvm", "nodejs"),
    (["lint"], "gcc cmake clang-tidy git", "nodejs"),
], ids=lambda value: "-".join(value) if isinstance(value, list) else "")
def test_without_sudo_all_missing_packages_are_one_list(bare, script, some, none):
    done = bare.run("/bin/bash", bare.path / "scripts" / script[0], *script[1:], env={"PATH": str(bare.bin)})
    assert done.returncode != 0
    packages = listed(done)
    assert len(packages) == len(set(packages)), packages
    assert set(some.split()) <= set(packages), packages
    assert not set(none.split()) & set(packages), packages
    if script[0] == "test":
        assert done.stdout.splitlines()[-1] == "0 passed, 1 failed", done.stdout


def test_unit_tests_pull_no_node_and_no_packages_of_python(checkout):
    for name in ("npm", "node", "pip", "pip3"):
        checkout.program(name, f"echo {name} was called; exit 1")
    done = checkout.run(checkout.path / "scripts/test", "--unit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "3 passed, 0 failed", done.stdout + done.stderr
    assert "was called" not in done.stdout + done.stderr
    assert not (checkout.path / ".venv").exists() and not (checkout.path / "tests/integration/node/node_modules").exists()


def test_a_build_that_fails_is_one_failure_in_the_last_line(checkout):
    (checkout.path / "CMakeLists.txt").write_text("project(\n")
    done = checkout.run(checkout.path / "scripts/test", "--unit")
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "0 passed, 1 failed", done.stdout + done.stderr


def test_the_release_preset_builds_no_tests(tmp_path):
    if not (BUILD / "build.ninja").exists():
        pytest.skip("the programs under test were not built here")
    made = subprocess.run(["cmake", "--preset", "release", "-B", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    everything = subprocess.run(["ninja", "-C", str(tmp_path), "-n"], capture_output=True, text=True, check=True).stdout
    assert "server/tranche" in everything
    assert not re.findall(r"\btests/\S+", everything), everything
    # They are there for who names them: quickstart and bench.
    for name in ("tranche-sim", "bench_jsonl", "bench_balancer", "bench_poll"):
        asked = subprocess.run(["ninja", "-C", str(tmp_path), "-n", name], capture_output=True, text=True, check=False)
        assert asked.returncode == 0, asked.stdout + asked.stderr


def asks_for_a_sanitizer(node):
    return any(isinstance(x, ast.Name) and x.id == "sanitized" and isinstance(x.ctx, ast.Load) for x in ast.walk(node))


def unmarked(path):
    """Tests of a file that look less closely at a sanitizer's build, and that `scripts/test` would run with no other one."""
    tree = ast.parse(path.read_text())
    if any(isinstance(x, ast.Assign) and ast.unparse(x) == "pytestmark = pytest.mark.plain" for x in tree.body):
        return []
    return [f"{path.name}:{x.lineno}" for x in tree.body if asks_for_a_sanitizer(x)
            and "pytest.mark.plain" not in map(ast.unparse, getattr(x, "decorator_list", ()))]


def test_what_is_not_looked_at_with_a_sanitizer_is_run_without_one(tmp_path):
    files = [*(ROOT / "tests/integration").glob("test_*.py"), *(ROOT / "tests/history").glob("test_*.py")]
    assert [name for path in files for name in unmarked(path)] == []
    assert any(asks_for_a_sanitizer(ast.parse(path.read_text())) for path in files)
    forgotten = tmp_path / "test_it.py"
    forgotten.write_text("def test_it():\n    if not sanitized():\n        assert memory()\n")
    assert unmarked(forgotten) == ["test_it.py:1"]
