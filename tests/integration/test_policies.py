"""LiteLLM's policies over the real program: which failures make a deployment rest and for how long, and how often a call
is made again."""

import re
import socket

from harness import MASTER_KEY, azure_deployment, balanced_config, envelope

COOLING = r"deployment \S+ \(.*\): up -> cooling for "


def two_deployments(sim, router_settings=None, **params):
    """Everything goes to eu first, to us when eu refuses."""
    config = balanced_config(sim, accounts=[], router_settings=router_settings or {})
    config["model_list"] = [azure_deployment(sim, "eu", order=1, **params), azure_deployment(sim, "us", order=2)]
    return config


def reads(sim):
    return len([r for r in sim.requests("eu") if r["method"] == "GET" and "/openai/batches/" in r["target"]])


def test_one_refused_key_is_enough_where_no_such_failure_is_allowed(start, sim):
    policy = {"AuthenticationErrorAllowedFails": 0, "InternalServerErrorAllowedFails": 1000}
    gateway = start(two_deployments(sim, {"allowed_fails_policy": policy}), sim=sim)
    sim.fault({"status": 503}, account="eu", method="POST", path="/openai/files*", times=5)
    sim.fault({"status": 401}, account="eu", method="POST", path="/openai/files*", times=1)
    for _ in range(6):
        gateway.uploaded()
    gateway.wait_line(COOLING + r"upload, auth, status 401, 6 in a row, for (4|5)\d{3} ms")
    gateway.uploaded()
    assert len([r for r in sim.requests("eu") if r["method"] == "POST"]) == 6
    assert sim.created("files") == 7


def test_a_rest_is_as_long_as_the_row_says(start, sim):
    config = two_deployments(sim, {"allowed_fails": 0, "cooldown_time": 60}, cooldown_time=200)
    gateway = start(config, sim=sim)
    sim.fault({"status": 503}, account="eu", method="POST", path="/openai/files*", times=1)
    gateway.uploaded()
    rest = gateway.wait_line(COOLING + r"upload, server_error, status 503, 1 in a row, for (\d+) ms")
    assert 160_000 <= int(rest.group(1)) <= 240_000


def test_a_greater_share_of_failures_than_half_begins_a_rest(start, sim):
    gateway = start(two_deployments(sim, {"num_retries": 0}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    for i in range(15):  # never more than two in a row
        if i % 3 != 2:
            sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches/*", times=1)
        assert gateway.get(f"/v1/batches/{batch['id']}").status == (200 if i % 3 == 2 else 500)
    gateway.wait_line(COOLING + r"read, server_error, status 500, [12] in a row")


def test_a_share_does_not_matter_where_a_number_is_given(start, sim):
    gateway = start(two_deployments(sim, {"num_retries": 0, "allowed_fails": 100}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    for i in range(15):
        if i % 3 != 2:
            sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches/*", times=1)
        gateway.get(f"/v1/batches/{batch['id']}")
    gateway.stop()
    assert not re.search(COOLING, gateway.log)


def test_a_read_is_made_again_as_often_as_the_policy_says(start, sim):
    policy = {"InternalServerErrorRetries": 0, "RateLimitErrorRetries": 4}
    gateway = start(two_deployments(sim, {"num_retries": 1, "retry_policy": policy}), sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    for status, tries in ((500, 1), (429, 5), (408, 2)):
        before = reads(sim)
        sim.fault({"status": status}, account="eu", method="GET", path="/openai/batches/*", times=10)
        envelope(gateway.get(f"/v1/batches/{batch['id']}"))
        assert reads(sim) - before == tries, status
        sim.clear_faults()


def test_a_read_is_not_made_again_before_the_operators_retry_after(start, sim):
    """No clock: while one client's read waits, others are answered, and the provider has seen it only once."""
    config = two_deployments(sim, {"retry_after": 600})
    config["tranche_settings"] = {"log_level": "debug"}
    gateway = start(config, sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches/*", times=1)
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:  # its leaving ends the wait
        client.sendall(b"GET /v1/batches/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
                       % (batch["id"].encode(), MASTER_KEY.encode()))
        gateway.wait_line(r"deployment \S+: read is tried again in 600000 ms, 1 of at most \d tries made")
        for n in range(2, 12):
            assert gateway.get(f"/v1/batches/{batch['id']}").status == 200
            assert reads(sim) == n


def test_without_a_retry_after_a_read_is_made_again_soon(start, sim):
    config = two_deployments(sim)
    config["tranche_settings"] = {"log_level": "debug"}
    gateway = start(config, sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches/*", times=1)
    assert gateway.get(f"/v1/batches/{batch['id']}").status == 200
    wait = gateway.wait_line(r"deployment \S+: read is tried again in (\d+) ms")
    assert 100 <= int(wait.group(1)) <= 200
    assert reads(sim) == 2


def test_a_read_that_waited_for_retry_after_is_made_again(start, sim):
    config = two_deployments(sim, {"retry_after": "300ms"})
    config["tranche_settings"] = {"log_level": "debug"}
    gateway = start(config, sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches/*", times=1)
    assert gateway.get(f"/v1/batches/{batch['id']}").status == 200
    gateway.wait_line(r"deployment \S+: read is tried again in 300 ms")
    assert reads(sim) == 2


def test_a_page_of_a_list_is_made_again_as_often_as_the_operator_says(start, sim):
    for retries in (0, 2):
        config = two_deployments(sim, {"num_retries": retries})
        config["tranche_settings"] = {"timeouts": {"list_ms": 60_000}}
        gateway = start(config, sim=sim)
        sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches", times=20)
        assert gateway.get("/v1/batches").headers["x-tranche-partial"]
        asked = [r for r in sim.requests("eu") if r["method"] == "GET" and r["target"].startswith("/openai/batches?")]
        assert len(asked) == 1 + retries
        gateway.stop()
        sim.reset()


def test_another_row_is_not_waited_for(start, sim):
    """retry_after is for the same deployment; LiteLLM too goes to another one at once."""
    config = two_deployments(sim, {"retry_after": 3600})
    gateway = start(config, sim=sim)
    file = gateway.uploaded()
    for path in ("/openai/files*", "/openai/batches*"):
        sim.fault({"status": 429}, account="eu", method="POST", path=path, times=1)
    gateway.uploaded()
    gateway.created(file["id"])
    assert sim.created("batches", ["us"]) == 1


def test_a_row_says_how_often_for_itself(start, sim):
    config = two_deployments(sim, {"num_retries": 0}, max_retries=1)
    gateway = start(config, sim=sim)
    batch = gateway.created(gateway.uploaded()["id"])
    sim.fault({"status": 500}, account="eu", method="GET", path="/openai/batches/*", times=10)
    envelope(gateway.get(f"/v1/batches/{batch['id']}"), 500)
    assert reads(sim) == 2


def test_uploads_and_creates_are_tried_elsewhere_as_often_as_the_operator_says(start, sim):
    gateway = start(two_deployments(sim, {"num_retries": 0, "allowed_fails": 1000}), sim=sim)
    file = gateway.uploaded()
    for path in ("/openai/files*", "/openai/batches*"):
        sim.fault({"status": 429}, account="eu", method="POST", path=path, times=1)
    envelope(gateway.upload(), 429)
    envelope(gateway.create(file["id"]), 429)
    assert sim.created("files", ["us"]) == 0 == sim.created("batches")


def test_no_retries_are_no_reason_not_to_fall_back(start, sim):
    """LiteLLM's retries are among the group that was asked for; fallbacks come behind them."""
    config = two_deployments(sim, {"num_retries": 0, "allowed_fails": 1000, "default_fallbacks": ["other"]})
    config["model_list"].append(azure_deployment(sim, "sw", group="other"))
    gateway = start(config, sim=sim)
    file = gateway.uploaded()
    for path in ("/openai/files*", "/openai/batches*"):
        sim.fault({"status": 429}, account="eu", method="POST", path=path, times=1)
    gateway.uploaded()
    assert sim.created("files", ["sw"]) == 1
    gateway.created(file["id"])
    assert sim.created("batches", ["sw"]) == 1 == sim.created("batches")
    assert sim.created("files", ["us"]) == 0
