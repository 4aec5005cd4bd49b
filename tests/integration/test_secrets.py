"""Where keys must not be: cores, environments, command lines, logs at every level, answers, metrics, what `tranche check` prints."""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import socket
import ssl
import subprocess

import pytest
from harness import (DEPLOYMENTS, GROUP, PATIENCE, Gateway, azure_account, azure_deployment, balanced_config, envelope, find_binary,
                     free_port, http_request, lines, multipart, program_env, sim_config, until, worker_pids)
from planted import KEYS, dumpable_memory, found, found_in_memory, processes
from sealed_ids import FILE, mint, native_of, tag_bytes
from test_upstream_tls import Authority
from wire import only_plain

MASTER = KEYS["master"]


@pytest.fixture
def world(make_sim):
    """Providers that want the planted keys."""
    config = sim_config()
    for account in config["accounts"]:
        account["key"] = {"oai": KEYS["openai"], "eu": KEYS["azure"], "us": KEYS["named"], "sw": KEYS["listed"]}[account["name"]]
    return make_sim(config)


def row(sim, account, key, group=GROUP):
    return {"model_name": group, "model_info": {"mode": "batch"},
            "litellm_params": {"model": f"azure/{DEPLOYMENTS[account]}", "api_base": sim.base(account), "api_key": key,
                               "api_version": "2024-10-21"}}


def planted_config(sim, **tranche):
    """A key in each way that there is to give one."""
    return {"model_list": [row(sim, "eu", KEYS["azure"]), row(sim, "us", "os.environ/MY_US_KEY"),
                           row(sim, "sw", "os.environ/MY_SW_KEY"),
                           {"model_name": "gpt-4o-mini", "litellm_params": {"model": "openai/gpt-4o-mini",
                                                                            "api_base": sim.base("oai") + "/v1"}}],
            "environment_variables": {"MY_SW_KEY": KEYS["listed"]},
            "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True},
            "tranche_settings": tranche}


ENVIRONMENT = {"LITELLM_MASTER_KEY": MASTER, "OPENAI_API_KEY": KEYS["openai"], "MY_US_KEY": KEYS["named"],
               "DATABASE_URL": KEYS["other"]}


@pytest.fixture
def planted(start, world):
    def make(args=(), env=None, **tranche):
        gateway = start(planted_config(world, **tranche), sim=world, env={**ENVIRONMENT, "OPENAI_BASE_URL": world.base("oai") + "/v1", **(env or {})},
                        args=args)
        gateway.secrets += list(KEYS.values())
        gateway.wait_line(r"generation 1 serves")
        until(lambda: all("tranche-" in pathlib.Path(f"/proc/{pid}/comm").read_text() for pid in gateway.workers())
              and len(gateway.workers()) == 3, "two workers and the prober")
        return gateway

    return make


def work(gateway, sim):
    """What touches the keys: an upload, a batch, lists, failures of all accounts."""
    answers = []
    form, form_type = multipart([("purpose", "batch"), ("file", None)], lines())
    answers.append(gateway.request("POST", "/v1/files", form, {"Content-Type": form_type}, key=MASTER))
    file = answers[-1].json()
    answers.append(gateway.request("POST", "/v1/batches", {"input_file_id": file["id"], "endpoint": "/v1/chat/completions",
                                                           "completion_window": "24h"}, key=MASTER))
    batch = answers[-1].json()
    for target in (f"/v1/batches/{batch['id']}", "/v1/batches", "/v1/files", "/v1/models", "/v1/model/info", "/health",
                   "/health/readiness", "/health/liveliness", "/metrics", "/nowhere", "/v1/files/file-x"):
        answers.append(gateway.request("GET", target, key=MASTER))
    for fault in ({"status": 401}, {"status": 500, "body": "{}"}, {"reset": "head"}, {"status": 302}):
        sim.fault(fault, method="GET", times=8)
        for target in (f"/v1/batches/{batch['id']}", "/v1/files", "/v1/batches?provider=openai"):
            answers.append(gateway.request("GET", target, key=MASTER))
        sim.clear_faults()
    answers.append(gateway.request("GET", "/v1/files", key="sk-wrong-key-of-a-client"))
    answers.append(gateway.request("GET", "/v1/files", key=None))
    return answers


def environ(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # of a generation that has left meanwhile
        return b""


def test_the_environment_of_no_process_has_a_key(planted, world):
    gateway = planted()
    work(gateway, world)
    for pid in processes(gateway):
        assert found(environ(pid)) == []
        assert b"PATH=/" in environ(pid)  # what is no secret stays for who looks


def test_values_from_the_environment_survive_a_reload(planted, world):
    gateway = planted()
    gateway.send(signal.SIGHUP)
    gateway.wait_line(r"generation 2 serves")
    assert all(answer.status == 200 for answer in work(gateway, world)[:3])
    for pid in processes(gateway):
        assert found(environ(pid)) == []


def test_values_from_the_environment_survive_a_binary_upgrade(planted, world):
    gateway = planted()
    before = processes(gateway)
    gateway.send(signal.SIGUSR2)
    new = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    gateway.wait_line(r"took over from the previous program")
    try:
        assert gateway.wait(PATIENCE * 2) == 0
        assert gateway.request("GET", "/v1/files", key=MASTER).status == 200
        children = until(lambda: now if len(now := children_of(new)) == 3 else None, "two workers and the prober")
        assert not set(children) & set(before)
        for pid in [new] + children:
            assert found(environ(pid)) == []
    finally:
        os.kill(new, signal.SIGTERM)
    assert gateway.wait_output_end(PATIENCE * 2)


def children_of(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def core_limit(pid):
    return resource.prlimit(pid, resource.RLIMIT_CORE)[0]


def owner(pid):
    return os.stat(f"/proc/{pid}/environ").st_uid


def status_of(pid, field):
    return [line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field)][0]


def crash(pid, directory):
    """SIGABRT, and whether a core came of it (where cores are files beside the process)."""
    os.kill(pid, signal.SIGABRT)
    until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "the process has gone")
    return list(directory.glob("core*"))


CORES_ARE_FILES = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core"


@contextlib.contextmanager
def cores_allowed():
    """To what is started meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1],) * 2)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_cores_are_allowed_to_a_tests_gateway_and_not_to_those_of_all_tests_behind_it():
    before = resource.getrlimit(resource.RLIMIT_CORE)
    with pytest.raises(RuntimeError), cores_allowed():
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == before[1]
        raise RuntimeError("no gateway came of it")
    assert resource.getrlimit(resource.RLIMIT_CORE) == before


def in_directory(planted, directory, monkeypatch, **kw):
    directory.mkdir()
    monkeypatch.chdir(directory)
    with cores_allowed():
        gateway = planted(**kw)
    gateway.deaths_expected = True
    return gateway


@pytest.mark.skipif(not CORES_ARE_FILES, reason="this system hands cores to a program")
@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="this system forbids cores")
def test_a_crash_leaves_no_core(planted, world, tmp_path, monkeypatch):
    gateway = in_directory(planted, tmp_path / "cores", monkeypatch)
    work(gateway, world)
    for pid in processes(gateway):
        assert core_limit(pid) == 0
    for pid in gateway.workers():
        assert crash(pid, tmp_path / "cores") == []
    assert "core dumped" not in gateway.log
    assert crash_of_master(gateway, tmp_path / "cores") == []


def crash_of_master(gateway, directory):
    gateway.send(signal.SIGABRT)
    gateway.wait()
    assert gateway.wait_output_end()
    return list(directory.glob("core*"))


@pytest.mark.skipif(not CORES_ARE_FILES, reason="this system hands cores to a program")
@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="this system forbids cores")
@only_plain("sanitizers keep a copy of the environment")
def test_a_core_that_is_wanted_has_no_key_at_rest(planted, tmp_path, monkeypatch):
    """Of master and workers before a client comes: what passes through can be in it (the prober sends the keys to the providers),
    which is why there are no cores by default."""
    gateway = in_directory(planted, tmp_path / "cores", monkeypatch, core_dumps=True)
    for pid in worker_pids(gateway, 2):
        assert crash(pid, tmp_path / "cores") != []
    assert crash_of_master(gateway, tmp_path / "cores") != []
    for core in (tmp_path / "cores").glob("core*"):
        assert found_in_memory(core.read_bytes()) == [], core


@only_plain("sanitizers keep a copy of the environment")
def test_no_memory_that_a_core_would_hold_has_a_key_at_rest(planted):
    gateway = planted(core_dumps=True)
    for pid in [gateway.pid] + worker_pids(gateway, 2):
        assert found_in_memory(dumpable_memory(pid)) == [], pathlib.Path(f"/proc/{pid}/comm").read_text()


def test_a_process_lets_nobody_of_its_user_look_into_it(planted):
    """Not dumpable: /proc/PID belongs to root, whoever the process is (proc(5)); here seen by the rights that a file gets."""
    gateway = planted()
    for pid in processes(gateway):
        assert core_limit(pid) == 0
        if os.geteuid() != 0:
            assert owner(pid) == 0


def test_no_program_that_a_child_could_start_gets_more_rights(planted):
    gateway = planted()
    for pid in gateway.workers():
        assert status_of(pid, "NoNewPrivs:") == "1"


def test_files_are_for_their_owner_alone(planted):
    for pid in processes(planted()):
        assert status_of(pid, "Umask:") == "0077"


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_running_as_root_is_warned_of(planted):
    assert "running as root" in planted().log


@pytest.mark.parametrize("args", [["--add_key", KEYS["other"]], [f"--add-key={KEYS['other']}"], ["--headers", KEYS["other"]]])
def test_the_command_line_of_no_process_has_a_key(planted, args):
    gateway = planted(args=args)
    for pid in processes(gateway):
        assert found(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()) == []
    gateway.send(signal.SIGUSR2)
    new = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    gateway.wait_line(r"took over from the previous program")
    try:
        assert found(pathlib.Path(f"/proc/{new}/cmdline").read_bytes()) == []
        assert gateway.wait(PATIENCE * 2) == 0
    finally:
        os.kill(new, signal.SIGTERM)
    assert gateway.wait_output_end(PATIENCE * 2)


class Quiet(Gateway):
    """One that may say nothing at its start: it is asked until it answers."""

    def wait_line(self, pattern, timeout=PATIENCE, start=0):
        if "listening" not in pattern:
            return super().wait_line(pattern, timeout, start)
        port = int(self.popen.args[self.popen.args.index("--port", self.popen.args.index("--num_workers")) + 1])
        until(lambda: answers(port), "an answer", timeout)
        return re.match(r"(\d+)", str(port))


def answers(port):
    try:
        return http_request(port, "GET", "/health/liveliness").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("level", ["error", "warn", "info", "debug"])
def test_no_answer_and_no_log_at_any_level_has_a_key(tmp_path, world, level):
    gateway = Quiet(tmp_path, planted_config(world, log_level=level), args=["--port", str(free_port())],
                    env={**ENVIRONMENT, "OPENAI_BASE_URL": world.base("oai") + "/v1"})
    try:
        for answer in work(gateway, world):
            assert found(answer.body + json.dumps(answer.headers).encode()) == [], answer
    finally:
        gateway.finish(world)
    assert found(gateway.log.encode()) == []
    assert f'"status":{401}' in gateway.log  # the access log was there to be searched


def check(tmp_path, config, env=None):
    path = tmp_path / "checked.yaml"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    path.chmod(0o600)
    return check_path(path, env)


def check_path(path, env=None):
    done = subprocess.run([find_binary("tranche"), "check", "--config", str(path)], env=program_env(env), capture_output=True,
                          timeout=PATIENCE * 2)
    return done.stdout + done.stderr


def test_what_check_prints_has_no_key(tmp_path, world):
    config = planted_config(world, seal_keys=[KEYS["other"]])
    config["files_settings"] = [{"custom_llm_provider": "azure", "api_base": world.base("eu"), "api_key": KEYS["azure"]}]
    assert found(check(tmp_path, config, ENVIRONMENT)) == []


@pytest.mark.parametrize("key", ["sk-proj-1As2Df3Gh4Jk5Lz6", "0123456789abcdef0123456789abcdef", "abcdef0123456789abcdef0123456789",
                                 "9zX8cV7bN6mQ5wL4eK3rJ2" * 3, "sk_live_1As2Df3Gh4Jk5Lz6"])
@pytest.mark.parametrize("place", ["api_key", "api_base", "api_version", "rpm", "unknown", "name"])
@pytest.mark.parametrize("text", ["os.environ/{}", "{}"])
def test_a_key_that_was_pasted_in_the_wrong_place_is_not_shown(tmp_path, key, place, text):
    params = {"model": "azure/m", "api_base": "https://r.openai.azure.com", "api_key": "k", "api_version": "2024-10-21"}
    if place == "name":
        params[key] = "x"
    else:
        params[place] = text.format(key)
    shown = check(tmp_path, {"model_list": [{"model_name": "m", "litellm_params": params}]})
    assert key.encode() not in shown, shown.decode()
    assert key[:20].encode() not in shown, shown.decode()


@pytest.mark.parametrize("name", ["AZURE_API_KEY_EU", "my_key", "KEY", "A" * 19])
def test_the_name_of_a_variable_that_is_missing_is_shown(tmp_path, name):
    params = {"model": "azure/m", "api_base": "https://r.openai.azure.com", "api_key": f"os.environ/{name}"}
    assert name.encode() in check(tmp_path, {"model_list": [{"model_name": "m", "litellm_params": params}]})


# --- files that everybody reads ---

READABLE = b"every user of this machine may read the file"


def check_file(tmp_path, config, mode, env=None):
    path = tmp_path / "checked.yaml"
    path.write_text(json.dumps(config))
    path.chmod(mode)
    return check_path(path, env)


def literal(**params):
    return {"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m", **params}}]}


@pytest.mark.parametrize("config, field", [
    (literal(api_key=KEYS["openai"]), b"model_list[0].litellm_params.api_key"),
    ({**literal(api_key="os.environ/K"), "general_settings": {"master_key": MASTER}}, b"general_settings.master_key"),
    ({**literal(api_key="os.environ/K"), "environment_variables": {"MY_KEY": "short"}}, b"environment_variables.MY_KEY")])
def test_a_key_in_a_file_that_everybody_may_read_is_warned_of(tmp_path, config, field):
    shown = check_file(tmp_path, config, 0o644, {"K": "k"})
    assert READABLE in shown and field + b": a key stands here" in shown and shown.count(READABLE) == 1
    assert READABLE not in check_file(tmp_path, config, 0o640, {"K": "k"})


def test_a_file_without_a_key_may_be_read_by_everybody(tmp_path):
    config = {**literal(api_key="os.environ/K"), "environment_variables": {"PORT": "4000"},
              "general_settings": {"master_key": "os.environ/M"}}
    assert READABLE not in check_file(tmp_path, config, 0o644, {"K": "k", "M": MASTER})


# --- SSLKEYLOGFILE ---

def test_the_secrets_of_tls_sessions_are_not_written_where_the_environment_says(tmp_path, make_sim, start):
    where = tmp_path / "tls"
    where.mkdir()
    authority = Authority(where, "authority")
    own = make_sim(sim_config([azure_account("eu", tls=authority.sign())]))
    log = tmp_path / "session-keys"
    config = balanced_config(own, accounts=[], tranche_settings={"upstream_ca_file": authority.cert})
    config["model_list"] = [azure_deployment(own, "eu", api_base=f"https://127.0.0.1:{own.ports['eu']}")]
    gateway = start(config, sim=own, env={"SSLKEYLOGFILE": str(log)})
    assert gateway.get("/v1/files").status == 200
    assert not log.exists()
    gateway.wait_line("SSLKEYLOGFILE is set and ignored")


# --- what an id tells of the key that sealed it ---

GUESSED = "sk-guess-me-if-you-can"


@pytest.mark.parametrize("sections", [{"general_settings": {"master_key": GUESSED}},
                                      {"general_settings": {"master_key": MASTER}, "tranche_settings": {"seal_keys": [GUESSED]}}])
def test_a_key_cannot_be_tried_fast_on_an_id(start, sim, sections):
    """Who has an id and a list of keys: one HMAC a key does not find it, one scrypt a key does."""
    gateway = start(balanced_config(sim, **sections), sim=sim)
    form, form_type = multipart([("purpose", "batch"), ("file", None)], lines())
    key = sections["general_settings"]["master_key"]
    id_ = gateway.request("POST", "/v1/files", form, {"Content-Type": form_type}, key=key).json()["id"]
    tag = tag_bytes(id_)
    slow, fast = (mint(GUESSED, FILE, native_of(id_), tag[:4], tag[4:12], old=old) for old in (False, True))
    assert id_ == slow and id_ != fast


def test_ids_of_older_versions_still_open_and_answers_show_the_new_ones(start, sim):
    gateway = start(balanced_config(sim, general_settings={"master_key": GUESSED}), sim=sim)
    form, form_type = multipart([("purpose", "batch"), ("file", None)], lines())
    new = gateway.request("POST", "/v1/files", form, {"Content-Type": form_type}, key=GUESSED).json()["id"]
    tag = tag_bytes(new)
    old = mint(GUESSED, FILE, native_of(new), tag[:4], tag[4:12], old=True)
    answer = gateway.request("GET", f"/v1/files/{old}", key=GUESSED)
    assert answer.status == 200 and answer.json()["id"] == new
    batch = gateway.request("POST", "/v1/batches", {"input_file_id": old, "endpoint": "/v1/chat/completions",
                                                    "completion_window": "24h"}, key=GUESSED)
    assert batch.status == 200 and batch.json()["input_file_id"] in (old, new)
    envelope(gateway.request("GET", f"/v1/files/{old[:-1] + ('a' if old[-1] != 'a' else 'b')}", key=GUESSED), 404)


@pytest.mark.parametrize("key", ["sk-1234", "short-but-odd-7", "aaaaaaaaaaaaaaaaaaaaaaaa", "sk-CHANGEME-please-do-it",
                                 "my-password-is-long-enough"])
def test_a_weak_master_key_is_warned_of(tmp_path, world, key):
    config = planted_config(world)
    config["general_settings"] = {"master_key": key}
    assert re.search(rb"warning: general_settings.master_key: weak", check(tmp_path, config, ENVIRONMENT))
    assert b"weak" in check(tmp_path, planted_config(world), {**ENVIRONMENT, "LITELLM_MASTER_KEY": key})
    config = planted_config(world, seal_keys=[key])
    assert re.search(rb"warning: tranche_settings.seal_keys\[0\]: weak", check(tmp_path, config, ENVIRONMENT))


@pytest.mark.parametrize("key", [MASTER, "9f86d081884c7d659a2feaa0c55ad015", "sk-" + "q7Zr2Xw9" * 4])
def test_a_strong_master_key_is_not(tmp_path, world, key):
    config = planted_config(world, seal_keys=[key])
    config["general_settings"] = {"master_key": key}
    assert b"weak" not in check(tmp_path, config, ENVIRONMENT)


# --- TLS sessions ---

def tls_session(port, session=None):
    """A TLS 1.2 session (Python shows no ticket of 1.3 before it reads), and whether it was resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        with (context if session is None else session[1]).wrap_socket(plain, session=session and session[0]) as tls:
            tls.sendall(b"GET /health/liveliness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 200 " in tls.recv(100)
            return (tls.session, context if session is None else session[1]), tls.session_reused


def test_a_tls_session_resumes_with_every_worker_and_after_a_reload(start, sim, tmp_path):
    where = tmp_path / "tls"
    where.mkdir()
    pair = Authority(where, "authority").sign()
    gateway = start(balanced_config(sim), sim=sim, args=["--ssl_certfile_path", pair["cert"], "--ssl_keyfile_path", pair["key"]])
    session, resumed = tls_session(gateway.port)
    assert not resumed
    for _ in range(10):
        assert tls_session(gateway.port, session)[1]
    gateway.send(signal.SIGHUP)
    gateway.wait_line(r"generation 2 serves")
    for _ in range(10):
        assert tls_session(gateway.port, session)[1]
