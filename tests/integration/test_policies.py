"""LiteLLM's policies over the real program: which failures make a deployment rest and for how long, and how often a call
is made again."""

import re
import signal
import socket

import pytest
from harness import GROUP, MASTER_KEY, azure_deployment, balanced_config, envelope, lines, until

COOLING = r"deployment \S+ \(.*\): closed -> open for "


def two_deployments(sim, router_settings=None, **params):
    """Everything goes to eu first, to us when eu refuses."""
    config = balanced_config(sim, accounts=[], router_settings=router_settings or {})
    config["model_list"] = [azure_deployment(sim, "eu", order=1, **params), azure_deployment(sim, "us", order=2)]
    return config


def reads(sim):
    return len([r for r in sim.requests("eu") if r["method"] == "GET" and "/openai/batches/" in r["target"]])


def test_one_refused_key_is_enough_where_no_such_failure_is_allowed(start, sim):
    policy = {"AuthenticationErrorAllowedFails": 0, "InternalServerErrorAllowedFails": 1000}
    gateway = start(two_deployments(sim, {"allowed_fails_policy": policy, "cooldown_time": 600}), sim=sim)
    sim.fault({"status": 503}, account="eu", method="POST", path="/openai/files*", times=5)
    sim.fault({"status": 401}, account="eu", method="POST", path="/openai/files*", times=1)
    for _ in range(6):
        gateway.uploaded()
    gateway.wait_line(COOLING + r"upload, auth, status 401, 6 in a row, for \d{6} ms")
    gateway.uploaded()
    assert len([r for r in sim.requests("eu") if r["method"] == "POST"]) == 6
    assert sim.created("files") == 7


def test_a_rest_is_five_seconds_where_nobody_says_another_time(start, sim):
    gateway = start(two_deployments(sim, {"allowed_fails": 0}), sim=sim)
    sim.fault({"status": 401}, account="eu", method="POST", path="/openai/files*", times=1)
    gateway.uploaded()
    gateway.wait_line(COOLING + r"upload, auth, status 401, 1 in a row, for (4|5)\d{3} ms")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_makes_a_row_rest_at_once(start, sim, status):
    """LiteLLM's rule where the operator says nothing: no retry mends it, so nobody else has to find out. Only for the
    operation that was refused."""
    gateway = start(two_deployments(sim, {"cooldown_time": 600}), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": status}, account="eu", method="POST", path="/openai/files*", times=1)
    gateway.uploaded()
    gateway.wait_line(COOLING + rf"upload, auth, status {status}, 1 in a row, for \d{{6}} ms")
    for _ in range(3):
        gateway.uploaded()
    assert sim.created("files", ["eu"]) == 1 and sim.created("files", ["us"]) == 4
    assert len([r for r in sim.requests("eu") if r["method"] == "POST"]) == 2
    gateway.created(file["id"])
    assert sim.created("batches", ["eu"]) == 1


def test_a_refused_key_is_forgiven_as_often_as_the_operator_says(start, sim):
    gateway = start(two_deployments(sim, {"allowed_fails": 2, "cooldown_time": 600}), sim=sim)
    sim.fault({"status": 401}, account="eu", method="POST", path="/openai/files*", times=-1)
    for _ in range(5):
        gateway.uploaded()
    gateway.wait_line(COOLING + r"upload, auth, status 401, 3 in a row")
    assert len([r for r in sim.requests("eu") if r["method"] == "POST"]) == 3


def test_the_only_row_is_asked_although_its_key_was_refused(start, sim):
    config = balanced_config(sim, accounts=["eu"], router_settings={"cooldown_time": 600})
    gateway = start(config, sim=sim)
    sim.fault({"status": 401}, account="eu", method="POST", path="/openai/files*", times=1)
    envelope(gateway.upload())
    gateway.wait_line(COOLING + r"upload, auth, status 401, 1 in a row")
    gateway.uploaded()


@pytest.mark.parametrize("status", [400, 404])
def test_a_batch_that_is_at_fault_does_not_count(start, sim, status):
    gateway = start(two_deployments(sim, {"allowed_fails": 0, "cooldown_time": 600}), sim=sim)
    file = gateway.uploaded()
    refusal = {"status": status, "body": {"error": {"code": "invalidPayload", "message": "no"}}}
    sim.fault(refusal, account="eu", method="POST", path="/openai/batches*", times=-1)
    for _ in range(5):
        envelope(gateway.create(file["id"]), status)
    sim.clear_faults()
    gateway.created(file["id"])
    assert sim.created("batches", ["eu"]) == 1
    gateway.stop()
    assert not re.search(COOLING, gateway.log)


def test_a_rest_is_as_long_as_the_row_says(start, sim):
    config = two_deployments(sim, {"allowed_fails": 0, "cooldown_time": 60}, cooldown_time=200)
    gateway = start(config, sim=sim)
    sim.fault({"status": 503}, account="eu", method="POST", path="/openai/files*", times=1)
    gateway.uploaded()
    rest = gateway.wait_line(COOLING + r"upload, server_error, status 503, 1 in a row, for (\d+) ms")
    assert 160_000 <= int(rest.group(1)) <= 240_000


def test_a_rows_own_rest_goes_before_what_its_provider_asks_for(start, sim):
    gateway = start(two_deployments(sim, cooldown_time=200), sim=sim)
    sim.fault({"status": 429, "headers": {"Retry-After": "3"}}, account="eu", method="POST", path="/openai/files*", times=1)
    gateway.uploaded()
    rest = gateway.wait_line(COOLING + r"upload, rate_limit, status 429, 1 in a row, for (\d+) ms")
    assert 150_000 <= int(rest.group(1)) <= 240_000


def test_a_provider_that_asks_for_a_rest_goes_before_the_routers(start, sim):
    gateway = start(two_deployments(sim, {"cooldown_time": 600}), sim=sim)
    sim.fault({"status": 429, "headers": {"Retry-After": "90"}}, account="eu", method="POST", path="/openai/files*", times=1)
    gateway.uploaded()
    rest = gateway.wait_line(COOLING + r"upload, rate_limit, status 429, 1 in a row, for (\d+) ms")
    assert 60_000 <= int(rest.group(1)) <= 90_000


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


def test_a_groups_policy_stands_for_the_routers_as_a_whole(start, sim):
    """As in LiteLLM: what the group's policy does not name is as if no policy named it."""
    settings = {"num_retries": 2, "retry_policy": {"InternalServerErrorRetries": 0, "TimeoutErrorRetries": 0},
                "model_group_retry_policy": {GROUP: {"InternalServerErrorRetries": 4},
                                             "other": {"InternalServerErrorRetries": 1}}}
    config = two_deployments(sim, {**settings, "allowed_fails": 1000})
    config["model_list"].append(azure_deployment(sim, "sw", group="other"))
    gateway = start(config, sim=sim)
    for account, group, status, tries in (("eu", GROUP, 500, 5), ("eu", GROUP, 408, 3), ("sw", "other", 500, 2)):
        batch = gateway.created(gateway.uploaded(lines(group, count=tries))["id"])
        sim.fault({"status": status}, account=account, method="GET", path="/openai/batches/*", times=10)
        envelope(gateway.get(f"/v1/batches/{batch['id']}"))
        assert len([r for r in sim.requests(account)
                    if r["method"] == "GET" and "/openai/batches/" in r["target"]]) == tries, (account, status)
        sim.clear_faults()
        sim.reset()


def test_a_fallback_goes_by_the_policy_of_its_own_group(start, sim):
    settings = {"num_retries": 0, "allowed_fails": 1000, "fallbacks": [{GROUP: ["other"]}],
                "model_group_retry_policy": {"other": {"RateLimitErrorRetries": 1}}}
    config = balanced_config(sim, accounts=[], router_settings=settings)
    config["model_list"] = [azure_deployment(sim, "eu", order=1), azure_deployment(sim, "us", order=2),
                            azure_deployment(sim, "sw", group="other", order=1),
                            azure_deployment(sim, "us", group="other", order=2)]
    gateway = start(config, sim=sim)
    for account in ("eu", "sw"):
        sim.fault({"status": 429}, account=account, method="POST", path="/openai/files*", times=1)
    gateway.uploaded()
    assert [len([r for r in sim.requests(a) if r["method"] == "POST"]) for a in ("eu", "sw", "us")] == [1, 1, 1]


def refuse(gateway, sim, times, action):
    for _ in range(times):
        sim.fault(action, account="eu", method="POST", path="/openai/files*", times=1)
        gateway.uploaded()


def test_no_row_rests_where_rests_are_disabled(start, sim):
    """Not even for a Retry-After: so does LiteLLM. What a rest would keep from eu comes to it."""
    gateway = start(two_deployments(sim, {"disable_cooldowns": True, "allowed_fails": 0}), sim=sim)
    refuse(gateway, sim, 3, {"status": 503})
    refuse(gateway, sim, 3, {"status": 401})
    refuse(gateway, sim, 3, {"status": 429, "headers": {"Retry-After": "200"}})
    gateway.uploaded()
    assert sim.created("files", ["us"]) == 9 and sim.created("files", ["eu"]) == 1
    gateway.stop()
    assert not re.search(COOLING, gateway.log)


def test_a_reload_that_disables_rests_ends_them(start, sim):
    config = two_deployments(sim, {"cooldown_time": 3600})
    gateway = start(config, sim=sim)
    refuse(gateway, sim, 1, {"status": 401})
    gateway.wait_line(COOLING + "upload, auth")
    gateway.uploaded()
    assert sim.created("files", ["eu"]) == 0
    config["router_settings"]["disable_cooldowns"] = True
    gateway.write_config(config)
    old = set(gateway.workers())
    gateway.send(signal.SIGHUP)
    until(lambda: not old & set(gateway.workers()), "the end of the old workers")
    gateway.uploaded()
    assert sim.created("files", ["eu"]) == 1


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
