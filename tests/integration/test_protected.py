"""Protected mode: a gateway without a master key, or with one that everybody can guess, serves this machine alone, and no
page in an operator's browser gets through it. Strangers are real ones: a network of the test's own has an address that is
not of the loopback."""

import ctypes
import http.client
import json
import os
import re
import subprocess
import threading

import pytest
from harness import Answer, PATIENCE, azure_account, azure_deployment, balanced_config, envelope, lines, multipart, sim_config
from wire import KINDS, make_door, wire_certificate  # noqa: F401

STRONG = "sk-b7c1f09e5a3d48826e"
LIFT = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"
OUTSIDE, OUTSIDE6 = "198.51.100.7", "2001:db8::7"
CLONE_NEWNET = 0x40000000
HEALTH = ("/health/liveliness", "/health/liveness", "/health/readiness")


def without_key(sim, **more):
    config = balanced_config(sim, accounts=["eu"], **more)
    del config["general_settings"]
    return config


def with_key(sim, key, **more):
    return balanced_config(sim, accounts=["eu"], general_settings={"master_key": key}, **more)


# --- a machine of one's own ---

def in_own_network(body):
    """Run `body()` on a thread with a network of its own, which its child processes have, too."""
    result = {}

    def run():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            result["skip"] = f"no network of one's own here: {os.strerror(ctypes.get_errno())}"
            return
        try:
            for command in (f"ip link set lo up", f"ip addr add {OUTSIDE}/32 dev lo", f"ip addr add {OUTSIDE6}/128 dev lo"):
                subprocess.run(command.split(), check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            result["skip"] = f"no network of one's own here: {problem}"
            return
        try:
            body()
        except BaseException as problem:  # noqa: B902  it belongs to the test's thread
            result["error"] = problem

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "skip" in result:
        pytest.skip(result["skip"])
    if "error" in result:
        raise result["error"]


def ask(address, port, method="GET", target="/v1/batches", headers=None, key=None, body=None):
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE * 2)
    headers = dict(headers or {})
    if key:
        headers["Authorization"] = f"Bearer {key}"
    connection.request(method, target, body=body, headers=headers)
    response = connection.getresponse()
    answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    connection.close()
    return answer


@pytest.fixture
def machine(make_sim, start):
    """machine(config of a simulator, test of a gateway's port, ...) in a network of its own."""

    def run(make_config, test, host="0.0.0.0", env=None):
        def body():
            sim = make_sim(sim_config([azure_account("eu")]))
            gateway = start(make_config(sim), host_port=False, env=env,
                            args=["--host", host, "--port", "0", "--num_workers", "1"])
            test(gateway)

        in_own_network(body)

    return run


def is_told_what_to_set(answer):
    message = envelope(answer, 401, code="protected_mode")["message"]
    assert "LITELLM_MASTER_KEY" in message and "openssl rand" in message
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_key_a_stranger_is_told_what_to_set_and_this_machine_is_served(machine, host):
    def test(gateway):
        here, there = ["127.0.0.1", "127.0.0.9"], [OUTSIDE]
        if host == "::":
            here, there = here + ["::1"], there + [OUTSIDE6]  # the former two as IPv4-mapped addresses
        for address in here:
            assert ask(address, gateway.port).status == 200
        for address in there:
            for target in ("/v1/batches", "/v1/files", "/health", "/metrics", "/nothing", "/v1/models"):
                is_told_what_to_set(ask(address, gateway.port, target=target))
                is_told_what_to_set(ask(address, gateway.port, target=target, key="sk-anything"))
            is_told_what_to_set(ask(address, gateway.port, "POST", "/v1/batches", body="{}"))
            for target in HEALTH:
                assert ask(address, gateway.port, target=target).status == 200

    machine(without_key, test, host=host)


@pytest.mark.parametrize("key", ["sk-1234", "sk-1234567890123456", "sk-litellm-master-key"])
def test_a_weak_key_opens_nothing_to_strangers(machine, key):
    def test(gateway):
        assert ask("127.0.0.1", gateway.port, key=key).status == 200
        assert ask("127.0.0.1", gateway.port).status == 401
        is_told_what_to_set(ask(OUTSIDE, gateway.port, key=key))
        is_told_what_to_set(ask(OUTSIDE, gateway.port))
        assert ask(OUTSIDE, gateway.port, target="/health/readiness").status == 200

    machine(lambda sim: with_key(sim, key), test)


def test_a_strong_key_serves_everybody(machine):
    def test(gateway):
        for address in ("127.0.0.1", OUTSIDE):
            assert ask(address, gateway.port, key=STRONG).status == 200
            assert ask(address, gateway.port, key=STRONG, headers={"Host": "gate.example", "Origin": "https://page.example",
                                                                  "X-Forwarded-For": "203.0.113.1"}).status == 200
            envelope(ask(address, gateway.port), 401, code="invalid_api_key")
        assert "PROTECTED" not in gateway.log and "warnings" not in ask(OUTSIDE, gateway.port, target="/health", key=STRONG).json()

    machine(lambda sim: with_key(sim, STRONG), test)


@pytest.mark.parametrize("way", ["environment", "setting"])
@pytest.mark.parametrize("key", [None, "sk-1234"])
def test_an_operator_may_lift_it_and_is_warned_at_each_start_and_in_health(machine, way, key):
    more = {"tranche_settings": {"permit_weak_or_unset_master_key": True}} if way == "setting" else {}

    def test(gateway):
        for address in ("127.0.0.1", OUTSIDE):
            assert ask(address, gateway.port, key=key).status == 200
        gateway.wait_line(r"warn .*(NO|WEAK) MASTER KEY: everybody")
        warnings = ask(OUTSIDE, gateway.port, target="/health", key=key).json()["warnings"]
        assert len(warnings) == 1 and "MASTER KEY: everybody" in warnings[0]

    machine(lambda sim: with_key(sim, key, **more) if key else without_key(sim, **more), test,
            env={LIFT: "true"} if way == "environment" else None)


def test_a_setting_of_false_wins_over_the_environment(machine):
    machine(lambda sim: without_key(sim, tranche_settings={"permit_weak_or_unset_master_key": False}),
            lambda gateway: is_told_what_to_set(ask(OUTSIDE, gateway.port)), env={LIFT: "true"})


# --- on this machine ---

def test_the_log_prints_a_line_that_starts_it_with_a_key(start, sim):
    gateway = start(without_key(sim), sim=sim)
    gateway.wait_line(r"warn .*PROTECTED MODE")
    line = gateway.wait_line(r"LITELLM_MASTER_KEY=sk-\$\(openssl rand -hex 24\) tranche --config \S+").group(0)
    shell = line.replace(" tranche ", " env #")
    made = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    key = re.search(r"LITELLM_MASTER_KEY=(\S+)", made).group(1)
    safe = start(without_key(sim), sim=sim, env={"LITELLM_MASTER_KEY": key})
    assert safe.get("/v1/batches", key=key).status == 200
    assert safe.get("/v1/batches", key=None).status == 401
    assert "PROTECTED" not in safe.log
    weak = start(with_key(sim, "sk-1234"), sim=sim)
    weak.wait_line(r"take master_key out of general_settings and start it with a key: LITELLM_MASTER_KEY=sk-")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "CF-Connecting-IP", "x-forwarded-proto"])
@pytest.mark.parametrize("key", [None, "sk-1234"])
def test_who_comes_through_a_proxy_on_this_machine_is_a_stranger(start, sim, name, key):
    gateway = start(with_key(sim, key) if key else without_key(sim), sim=sim)
    is_told_what_to_set(gateway.get("/v1/batches", key=key, headers={name: "127.0.0.1"}))
    assert gateway.get("/v1/batches", key=key).status == 200


def test_openai_api_key_alone_and_curl_go_on_working(start, sim):
    gateway = start(None, sim=sim, env={"OPENAI_API_KEY": "sk-provider-oai-9e9e", "OPENAI_BASE_URL": sim.base("oai") + "/v1"})
    for host in ("localhost", "127.0.0.1"):
        done = subprocess.run(["curl", "-sS", "--noproxy", "*", "-w", "%{http_code}", f"http://{host}:{gateway.port}/v1/batches"],
                              capture_output=True, text=True, timeout=PATIENCE * 2)
        assert done.stdout.endswith("200"), done


def test_the_first_example_of_the_readme_goes_on_working(start, sim):
    import openai
    gateway = start(with_key(sim, "sk-1234"), sim=sim)
    client = openai.OpenAI(base_url=f"http://localhost:{gateway.port}/v1", api_key="sk-1234")
    file = client.files.create(file=("requests.jsonl", lines()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.retrieve(batch.id).id == batch.id


@pytest.mark.parametrize("kind", KINDS)
def test_a_foreign_host_is_421_where_no_key_is_set(make_door, sim, kind):
    door = make_door(kind, without_key(sim))
    name = "Host" if door.is_h1 else ":authority"

    def status(host, key=None):
        return door.call("GET", "/v1/batches", {name: host}, key=key).answer().status

    for host in ("localhost", f"localhost:{door.gateway.port}", "127.0.0.1:1", "[::1]:4000", "api.localhost"):
        assert status(host) == 200, host
    for host in ("evil.example", "evil.example:4000", "localhost.evil.example", "203.0.113.9"):
        assert status(host) == 421, host
        assert status(host, key="sk-whatever") == 421
    assert door.call("GET", "/health/readiness", {name: "10.0.0.9:4000"}, key=None).answer().status == 200


def test_an_allowed_host_is_ours(start, sim):
    gateway = start(without_key(sim, tranche_settings={"allowed_hosts": ["tranche.default.svc"]}), sim=sim)
    assert gateway.get("/v1/batches", key=None, headers={"Host": "tranche.default.svc:4000"}).status == 200
    envelope(gateway.get("/v1/batches", key=None, headers={"Host": "other.default.svc"}), 421, code="foreign_host")


CREATE = json.dumps({"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"})


def test_a_foreign_page_is_refused_where_no_key_is_set(start, sim):
    gateway = start(without_key(sim), sim=sim)
    form, kind = multipart([("purpose", "batch"), ("file", None)], file=lines())
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                    {"Origin": "http://localhost.evil.example:4000"}, {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"}):
        for method, target, body, content_type in (("POST", "/v1/files", form, kind), ("POST", "/v1/batches", CREATE, "text/plain"),
                                                   ("POST", "/v1/batches/batch_1/cancel", None, None),
                                                   ("GET", "/v1/files", None, None), ("DELETE", "/v1/files/file-1", None, None)):
            more = {"Content-Type": content_type} if content_type else {}
            envelope(gateway.request(method, target, body, headers={**headers, **more}, key=None), 403, code="foreign_origin")
    assert sim.created("files") == 0 and sim.requests() == []
    for headers in ({"Origin": f"http://localhost:{gateway.port}"}, {"Origin": "http://127.0.0.1:3000"},
                    {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert gateway.get("/v1/files", key=None, headers=headers).status == 200
    keyed = start(with_key(sim, STRONG), sim=sim)
    assert keyed.get("/v1/files", key=STRONG, headers={"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site"}).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded",
                                          "multipart/form-data; boundary=x", "TEXT/PLAIN"])
def test_json_under_a_forms_type_is_415_where_no_key_is_set(start, sim, content_type):
    gateway = start(without_key(sim), sim=sim)
    file = gateway.upload(key=None).json()["id"]
    body = CREATE.replace("file-x", file)
    for target in ("/v1/batches", "/v1/batches/placement"):
        answer = gateway.request("POST", target, body, headers={"Content-Type": content_type}, key=None)
        envelope(answer, 415, code="unsupported_content_type")
    assert sim.created("batches") == 0
    assert gateway.request("POST", "/v1/batches", body, headers={"Content-Type": "application/json"}, key=None).status == 200
    keyed = start(with_key(sim, STRONG), sim=sim)
    answer = keyed.request("POST", "/v1/batches", CREATE, headers={"Content-Type": content_type}, key=STRONG)
    assert answer.status != 415
