"""What a newcomer meets at the command line: certificates, misspelt keys, unset variables, exit codes."""

import json
import os
import re
import signal
import subprocess

import harness
import pytest
from harness import MASTER_KEY, PATIENCE, Gateway, Process, balanced_config, find_binary, free_port, program_env

ENV = {"OPENAI_API_KEY": "sk-proj-0123456789abcdefghij"}


def tranche(*args, env=None, **how):
    return subprocess.run([find_binary("tranche"), *[str(a) for a in args]], env=program_env(ENV if env is None else env),
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE * 2, check=False, **how)


def notes(done):
    """The lines that warn or refuse, without file and line."""
    return [line for line in done.stdout.splitlines() if re.match(r"\S+: (warning|error|skipped): ", line)]


# --- certificates ---


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A certificate, its key, a key of another, and files that are none."""
    place = tmp_path_factory.mktemp("pem")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=place, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    for name in ("key.pem", "other-key.pem"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", name)
    openssl("genpkey", "-algorithm", "RSA", "-out", "rsa-key.pem")
    openssl("req", "-x509", "-key", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=tranche")
    # OpenSSL 3.0's req makes none that has ended, its authority does.
    (place / "ca.cnf").write_text("[ca]\ndefault_ca=a\n[a]\nnew_certs_dir=.\ndatabase=index\nserial=serial\ndefault_md=sha256\npolicy=p\n"
                                  "[p]\ncommonName=supplied\n")
    (place / "index").touch()
    (place / "serial").write_text("01\n")
    openssl("req", "-new", "-key", "key.pem", "-out", "request.pem", "-subj", "/CN=tranche")
    openssl("ca", "-config", "ca.cnf", "-batch", "-selfsign", "-keyfile", "key.pem", "-in", "request.pem", "-out", "old.pem", "-notext",
            "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    (place / "cut.pem").write_text("".join((place / "cert.pem").read_text().splitlines(keepends=True)[:3]))
    (place / "junk.pem").write_text("no certificate\n")
    return place


BAD_PAIRS = [("cert.pem", "other-key.pem", "does not belong to certificate"), ("cert.pem", "rsa-key.pem", "does not belong to certificate"),
             ("cut.pem", "key.pem", "cut.pem: bad end line"), ("junk.pem", "key.pem", "junk.pem: no start line"),
             ("cert.pem", "junk.pem", "junk.pem: "), ("cert.pem", "nowhere.pem", "nowhere.pem")]


@pytest.mark.parametrize("cert, key, why", BAD_PAIRS)
@pytest.mark.parametrize("place", ["file", "command line"])
def test_check_finds_a_broken_certificate_and_a_key_that_does_not_fit(tmp_path, pem, cert, key, why, place):
    flags = ["--ssl_certfile_path", pem / cert, "--ssl_keyfile_path", pem / key]
    if place == "file":
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"tranche_settings": {"tls": {"cert_file": str(pem / cert), "key_file": str(pem / key)}}}))
        flags = ["--config", path]
    done = tranche("check", *flags)
    assert done.returncode == 1, done.stdout
    assert len([n for n in notes(done) if why in n and ": error: " in n]) == 1, done.stdout
    started = tranche("--port", "0", *flags)  # the same words at the start, which is refused
    assert started.returncode == 1 and why in started.stdout + started.stderr, started


def test_check_takes_a_pair_that_fits_and_warns_of_one_that_has_expired(pem):
    done = tranche("check", "--ssl_certfile_path", pem / "cert.pem", "--ssl_keyfile_path", pem / "key.pem")
    assert done.returncode == 0 and not [n for n in notes(done) if n.startswith("certificates")], done.stdout
    done = tranche("check", "--ssl_certfile_path", pem / "old.pem", "--ssl_keyfile_path", pem / "key.pem")
    assert done.returncode == 0 and "old.pem has expired: clients will refuse it" in done.stdout, done.stdout


def test_a_reload_to_a_key_that_does_not_fit_is_refused_and_the_old_pair_serves(start, sim, pem):
    config = balanced_config(sim)
    config["tranche_settings"] = {"tls": {"cert_file": str(pem / "cert.pem"), "key_file": str(pem / "key.pem")}}
    gateway = start(config, sim=sim)
    gateway.tls = True
    config["tranche_settings"]["tls"]["key_file"] = str(pem / "other-key.pem")
    gateway.write_config(config)
    gateway.send(signal.SIGHUP)
    gateway.wait_line("does not belong to certificate")
    gateway.wait_line("the new configuration is refused")
    assert gateway.get("/health/liveliness").status == 200


def test_authorities_without_a_certificate_are_an_error(pem):
    for env in ({**ENV, "SSL_CERT_FILE": str(pem / "junk.pem")}, {**ENV, "SSL_CERT_FILE": "/dev/null"}):
        done = tranche("check", env=env)
        assert done.returncode == 1 and "no certificate (PEM) is in that file" in done.stdout, done.stdout
        started = tranche("--port", "0", env=env)
        assert started.returncode == 1 and "no certificate (PEM) is in that file" in started.stderr


def without_authorities(*args):
    """The command line that runs it where the folder of the system's certificates is empty: in a namespace of mounts of its own."""
    script = 'mount -t tmpfs none /etc/ssl/certs && exec "$@"'
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        argv = [*unshare, "sh", "-c", script, "sh"]
        if subprocess.run([*argv, "true"], capture_output=True, check=False).returncode == 0:
            return [*argv, find_binary("tranche"), *args]
    pytest.skip("no namespace of mounts can be made here")


def test_missing_ca_certificates_are_told_at_the_start(sim):
    said = "this machine has no CA certificates"
    argv = without_authorities("check")
    done = subprocess.run(argv, env=program_env(ENV), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0 and said in done.stdout and "install the package ca-certificates" in done.stdout, done
    gateway = Process(without_authorities("--host", "127.0.0.1", "--port", "0", "--num_workers", "1"), env=ENV)
    gateway.wait_line(said)
    gateway.wait_line("generation 1 serves")
    assert gateway.stop() == 0
    # Nobody needs them where no call goes out over TLS.
    local = {**ENV, "OPENAI_BASE_URL": sim.base("oai") + "/v1"}
    done = subprocess.run(argv, env=program_env(local), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0 and said not in done.stdout, done


# --- keys of the configuration ---


def configuration(**sections):
    config = {
        "model_list": [
            {"model_name": "batch", "litellm_params": {"model": "azure/eu", "api_base": "https://eu.openai.azure.com", "api_key": "key-of-eu",
                                                       "api_version": "2024-10-21", "rpm": 60, "weight": 2},
             "model_info": {"id": "eu-1", "mode": "batch"}},
            {"model_name": "batch", "litellm_params": {"model": "azure/us", "api_base": "https://us.openai.azure.com", "api_key": "key-of-us"},
             "model_info": {"id": "us-1"}},
            {"model_name": "other", "litellm_params": {"model": "openai/gpt-4o", "litellm_credential_name": "main"}}],
        "credential_list": [{"credential_name": "main", "credential_values": {"api_key": "sk-proj-of-main-0123456789"}}],
        "files_settings": [{"custom_llm_provider": "azure", "api_base": "https://eu.openai.azure.com", "api_key": "key-of-eu"}],
        "router_settings": {"routing_strategy": "least-busy", "fallbacks": [{"batch": ["other"]}, {"other": ["batch"]}],
                            "model_group_alias": {"alias": "batch"}, "retry_policy": {"TimeoutErrorRetries": 2},
                            "allowed_fails_policy": {"TimeoutErrorAllowedFails": 2}, "model_group_retry_policy": {"batch": {"TimeoutErrorRetries": 1}},
                            "routing_strategy_args": {"lowest_latency_buffer": 0.5}},
        "litellm_settings": {"enable_loadbalancing_on_batch_endpoints": True, "num_retries": 2},
        "general_settings": {"master_key": "kT9wq2LmZx81vRt5YbN0sDfG"},
        "tranche_settings": {"openai_path": "openai", "seal_keys": ["pW3nB7cXq9Z2kLm4Tg8R"], "log_level": "info",
                             "quotas": [{"deployment": "eu-1", "enqueued_tokens": "1M"}, {"model_name": "other", "enqueued_tokens": "1M"}],
                             "limits": {"max_connections": 100, "max_lines": {"openai": 10}}, "timeouts": {"connect_ms": 1000},
                             "count_output_tokens": {"azure": True}},
        "environment_variables": {"SOME_NAME": "some value"},
    }
    config.update(sections)
    return config


def check(tmp_path, config, **how):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config, indent=1))
    path.chmod(0o600)
    return tranche("check", "--config", path, env={}, **how)


def places(value, path=()):
    """The path of each plain value, and of each key."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from places(inside, path + (key,))
    elif isinstance(value, list):
        for at, inside in enumerate(value):
            yield from places(inside, path + (at,))
    else:
        yield path


def changed(path, value):
    config = configuration()
    at = config
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return config


def name(path):
    return ".".join(str(step) for step in path)


def test_the_configuration_of_these_tests_is_a_good_one(tmp_path):
    done = check(tmp_path, configuration())
    assert done.returncode == 0 and notes(done) == [], done.stdout


VALUES = [p for p in places(configuration()) if p[0] not in ("credential_list", "environment_variables")]


@pytest.mark.parametrize("path", VALUES, ids=name)
def test_an_unset_variable_is_told_once_and_nothing_false_after_it(tmp_path, path):
    """Whatever it was for is not missing, misspelt or unknown: it is not set. What follows from that may be told where it is true."""
    done = check(tmp_path, changed(path, "os.environ/NOT_SET_HERE"))
    told = [n for n in notes(done) if "the environment variable NOT_SET_HERE is not set or empty" in n]
    assert len(told) == 1, done.stdout
    for note in notes(done):
        assert note in told or "is served here" in note, note
    # One row less stops nobody; a setting that is not there does.
    in_row = path[0] in ("model_list", "files_settings")
    assert (done.returncode == 0) == in_row and (": skipped: " in told[0]) == in_row, done.stdout


def test_several_unset_variables_are_each_told(tmp_path):
    """The two of a row that three-azure.yaml's reader forgot, and its quota stays true."""
    config = configuration()
    for key in ("api_base", "api_key"):
        config["model_list"][0]["litellm_params"][key] = f"os.environ/NOT_SET_{key.upper()}"
    done = check(tmp_path, config)
    assert done.returncode == 0, done.stdout
    assert [re.search(r"NOT_SET_\w+|is served here", n).group(0) for n in notes(done)] == ["NOT_SET_API_BASE", "NOT_SET_API_KEY", "is served here"]


def maps(value, path=()):
    if isinstance(value, dict):
        yield path, value
        for key, inside in value.items():
            yield from maps(inside, path + (key,))
    elif isinstance(value, list):
        for at, inside in enumerate(value):
            yield from maps(inside, path + (at,))


# Whose keys are the operator's own names.
OWN_NAMES = ("fallbacks", "model_group_alias", "model_group_retry_policy", "environment_variables", "credential_values")
KEYS = [path + (key,) for path, inside in maps(configuration()) for key in inside
        if len(key) > 2 and not (path and (path[-1] in OWN_NAMES or (len(path) > 1 and path[-2] in OWN_NAMES[:1])))]


def misspelt(key):
    """Two letters in the wrong order, or one lost: as a tired operator writes it."""
    for at in range(len(key) - 2, 0, -1):
        if key[at] != key[at - 1] and "_" not in key[at - 1:at + 1]:
            return key[:at - 1] + key[at] + key[at - 1] + key[at + 1:]
    return key[:-1]


@pytest.mark.parametrize("path", KEYS, ids=name)
def test_a_misspelt_key_is_told_with_the_one_that_was_meant(tmp_path, path):
    """At every level, also where so much depends on the key that the rest cannot be read without it (litellm_parms, modle)."""
    config = configuration()
    at = config
    for step in path[:-1]:
        at = at[step]
    wrong = misspelt(path[-1])
    at[wrong] = at.pop(path[-1])
    done = check(tmp_path, config)
    assert [n for n in notes(done) if n.endswith(f'{wrong}: unknown key, did you mean "{path[-1]}"?')], done.stdout


@pytest.mark.parametrize("wrong, right", [("litellm_parms", "litellm_params"), ("litellm_param", "litellm_params")])
def test_litellm_parms_is_told_as_litellm_params(tmp_path, wrong, right):
    config = configuration()
    config["model_list"][0][wrong] = config["model_list"][0].pop(right)
    done = check(tmp_path, config)
    assert f'model_list[0].{wrong}: unknown key, did you mean "{right}"?' in done.stdout, done.stdout


def test_the_first_word_of_a_key_is_enough_to_be_told_the_whole(tmp_path):
    config = configuration()
    config["tranche_settings"]["tls"] = {"cert": "a.pem", "key": "b.pem"}
    out = check(tmp_path, config).stdout
    assert 'tls.cert: unknown key, did you mean "cert_file"?' in out and 'tls.key: unknown key, did you mean "key_file"?' in out, out


def test_three_rows_are_three_deployments(tmp_path, start, sim):
    """Beside them there is what calls without a model use: it is no row."""
    assert "\n3 deployments in 3 accounts\n" in check(tmp_path, configuration()).stdout
    config = configuration()
    config["model_list"] = config["model_list"][:1]
    config["router_settings"] = config["tranche_settings"] = {}
    assert "\n1 deployment in 1 account\n" in check(tmp_path, config).stdout
    assert "\n1 account\n" in tranche("check").stdout
    gateway = start(balanced_config(sim), sim=sim)
    gateway.wait_line(r"generation 1 serves: 2 workers, 3 deployments in 3 accounts$")


# --- exit codes ---


@pytest.mark.parametrize("args, code", [
    (["id", "file-abc"], 0), (["id", "batch_abc"], 0), (["id", "hello"], 1), (["id", "file-"], 1), (["id", "an id"], 1), (["id", ""], 1),
    (["id"], 2), (["id", "file-a", "file-b"], 2), (["id", "--config", "nowhere.yaml", "file-a"], 2), (["id", "--strict", "file-a"], 2),
    (["check"], 0), (["check", "--strict"], 0), (["check", "--config", "nowhere.yaml"], 1), (["check", "word"], 2), (["check", "--port", "x"], 2),
    (["check", "--ssl_certfile_path", "x"], 2), (["check-file"], 2), (["check-file", "nowhere.jsonl"], 2), (["check-file", "/"], 2),
    (["check-file", "--provider", "bedrock", "x"], 2), (["check-file", "--no-such-flag"], 2), (["serve", "word"], 2), (["serve", "--strict"], 2),
    (["--strict"], 2), (["--config", "nowhere.yaml"], 1), (["chek"], 2), (["--no-such-flag"], 2), (["--port"], 2),
    (["--help"], 0), (["--version"], 0), (["id", "--help"], 0)], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_every_command_tells_bad_input_by_its_exit_code(args, code):
    done = tranche(*args)
    assert done.returncode == code, done.stdout + done.stderr
    assert code == 0 or done.stdout or done.stderr
    assert "has no meaning here" not in done.stderr


# A mistake, what is said of it. LiteLLM's spelling has underscores; an operator types either.
@pytest.mark.parametrize("args, said", [
    (["--num-wokers", "3"], 'unknown flag "--num-wokers", did you mean "--num_workers"?'),
    (["--prot", "4"], 'unknown flag "--prot", did you mean "--port"?'), (["--conf", "x"], 'unknown flag "--conf", did you mean "--config"?'),
    (["--mod", "x"], 'unknown flag "--mod"'), (["-x"], 'unknown flag "-x"'), (["-hx"], 'unknown flag "-hx"'),
    (["--port"], "--port wants a value"), (["-c"], "--config wants a value"), (["--temperature"], "--temperature wants a value"),
    (["--port=x"], '--port: got "x", wanted a number from 0 to 65535'), (["--port", "70000"], '--port: got "70000", wanted a number from 0 to'),
    (["--num-workers", "0"], '--num_workers: got "0", wanted a number from 1 to 128'), (["--debug=1"], '--debug: got "1", wanted no value'),
    (["check", "word"], 'unexpected argument "word"'), (["--", "--port"], 'unexpected argument "--port"'),
    (["check-file", "--provder", "x"], 'unknown flag "--provder", did you mean "--provider"?'), (["check-file", "--provider"], "--provider wants a value"),
    (["check-file", "--provider=cohere", "x"], '--provider: got "cohere", wanted openai or azure'),
    (["--ssl-certfile-path", "x"], "--ssl_certfile_path and --ssl_keyfile_path go together")], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_mistake_on_the_command_line_is_told_with_what_was_wanted(args, said):
    done = tranche(*args)
    assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.parametrize("args", [["--num-workers", "2"], ["--num_workers=2"], ["--num-workers=2", "--drop-params"], ["-m", "gpt-4o", "--num_workers", "2"],
                                  ["--max-budget", "--num_workers", "--num_workers", "2"]], ids=lambda v: " ".join(v))
def test_a_start_line_of_litellm_is_taken_in_either_spelling(args):
    done = tranche("check", *args)
    assert done.returncode == 0 and re.search(r"num_workers +2\n", done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize("args", [["--api-kee={}"], ["--port", "{}"], ["--port={}"], ["--debug={}"], ["serve", "{}"], ["check-file", "--provider", "{}", "x"],
                                  ["{}"], ["-{}"], ["--{}"], ["check", "-{}"], ["id", "--{}=x"]],
                         ids=lambda v: " ".join(v))
def test_a_key_on_the_command_line_is_not_printed_with_the_mistake(args):
    key = "sk-abcdefghijklmnopqrstuvwx0123"
    done = tranche(*(arg.format(key) for arg in args))
    assert done.returncode == 2 and key not in done.stdout + done.stderr, done.stderr


def test_behind_two_dashes_nothing_is_a_flag():
    assert "--strange" in tranche("id", "--", "--strange").stdout


@pytest.mark.parametrize("args", [["check"], ["--help"], ["--version"], ["id", "file-abc"]], ids=lambda v: " ".join(v))
def test_what_cannot_be_printed_is_no_success(args):
    with open("/dev/full", "w") as full:
        done = subprocess.run([find_binary("tranche"), *args], env=program_env(ENV), stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE, check=False)
    assert done.returncode == 2 and "cannot write to standard output" in done.stderr, done


# --- the start ---


def test_a_provider_that_cannot_be_reached_is_told_with_one_connect(start):
    gateway = start(env={**ENV, "OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"})
    gateway.wait_line(r"unknown -> unhealthy, status 0, connect: (?!connect)\S")
    gateway.request("GET", "/v1/batches", key=None)
    gateway.wait_line(r"read failed: connect, status 0, (?!connect: )")
    assert "connect: connect:" not in gateway.log


def test_from_the_environment_alone_the_gateway_keeps_a_record_of_how_it_ends(start, tmp_path, sim):
    """Without a file there was no folder for it: each start was taken for one after a crash, and keyed creates waited a minute."""
    env = {**ENV, "OPENAI_BASE_URL": sim.base("oai") + "/v1", "TMPDIR": str(tmp_path)}
    port = free_port()
    flags = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    gateway = start(env=env, sim=sim, host_port=False, args=flags)
    gateway.wait_line("generation 1 serves")
    assert "(null)" not in gateway.log and "no record is kept" not in gateway.log, gateway.log
    assert list(tmp_path.glob("tranche-*.run")), os.listdir(tmp_path)


# --- the tests themselves ---


@pytest.mark.parametrize("what", ["gateway", "simulator"])
def test_a_start_that_fails_leaves_nothing_running(tmp_path, sim, monkeypatch, what):
    def never(*_args, **_kw):
        raise AssertionError("no line matches")

    before = len(Process.started)
    with monkeypatch.context() as patch:
        patch.setattr(Process, "wait_line", never)
        with pytest.raises(AssertionError):
            Gateway(tmp_path, balanced_config(sim)) if what == "gateway" else harness.Sim(tmp_path, harness.sim_config())
    (left,) = Process.started[before:]
    assert left.popen.returncode == -signal.SIGKILL
    assert left.wait_output_end(), "a child of it goes on"
    assert MASTER_KEY  # the configuration was a good one: it would have started
