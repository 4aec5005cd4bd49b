"""LiteLLM's routing strategies over batch traffic: the numbers that they look at move when files are uploaded."""

import functools
import socket
import time

import pytest
from harness import MASTER_KEY, azure_deployment, balanced_config, lines, multipart


def within_a_minute(test):
    """Counters of a minute begin anew with the next one: a scenario that this happened to is played again."""
    @functools.wraps(test)
    def play(start, sim, **kw):
        while True:
            minute = time.monotonic() // 60
            try:
                test(start, sim, **kw)
                return
            except AssertionError:
                if time.monotonic() // 60 == minute:
                    raise
            sim.reset()
    return play


def routed(start, sim, strategy, accounts=("eu", "us"), workers=2, **params):
    rows = [azure_deployment(sim, a, **params.get(a, {})) for a in accounts]
    return start(balanced_config(sim, accounts=(), model_list=rows, router_settings={"routing_strategy": strategy}),
                 sim=sim, workers=workers)


def files(sim):
    return {a: sim.created("files", [a]) for a in ("eu", "us")}


@pytest.mark.parametrize("strategy", ["usage-based-routing", "usage-based-routing-v2"])
@within_a_minute
def test_the_one_with_fewer_tokens_in_this_minute_is_next(start, sim, strategy):
    gateway = routed(start, sim, strategy)
    gateway.uploaded(lines(count=50, content="x" * 200))
    (first,) = [a for a, n in files(sim).items() if n]
    for n in range(3):  # together smaller than the first one
        gateway.uploaded(lines(count=2 + n, content="y" * 200))
    assert files(sim)[first] == 1 and sum(files(sim).values()) == 4


def test_usage_based_routing_begins_with_the_first_in_the_file(start, sim):
    gateway = routed(start, sim, "usage-based-routing", accounts=("us", "eu"))
    gateway.uploaded()
    assert files(sim) == {"eu": 0, "us": 1}


@within_a_minute
def test_tpm_keeps_a_deployment_out_for_the_rest_of_the_minute(start, sim):
    gateway = routed(start, sim, "usage-based-routing-v2", eu={"tpm": 100}, us={"tpm": 100_000})
    for n in range(6):
        gateway.uploaded(lines(count=20, content="x" * 100))  # some 700 tokens: only an untouched minute takes them
        assert files(sim)["eu"] <= 1
    assert files(sim)["us"] >= 5


@within_a_minute
def test_rpm_is_counted_by_all_workers(start, sim):
    gateway = routed(start, sim, "simple-shuffle", eu={"rpm": 1, "weight": 1}, us={"weight": 0})
    for n in range(5):
        gateway.uploaded(lines(count=n + 1))
    assert files(sim)["eu"] == 1 and files(sim)["us"] == 4


@within_a_minute
def test_polls_and_probes_do_not_use_up_rpm(start, sim):
    gateway = routed(start, sim, "simple-shuffle", eu={"rpm": 3, "weight": 1}, us={"weight": 0})
    file = gateway.uploaded()
    for _ in range(5):
        gateway.get(f"/v1/files/{file['id']}")
        gateway.get("/v1/batches")
    gateway.uploaded(lines(count=2))
    assert files(sim)["eu"] == 2


def test_the_least_busy_one_is_next(start, sim):
    gateway = routed(start, sim, "least-busy")
    sim.fault({"hang": "answer", "ms": 600_000}, method="POST", path="/openai/files*", times=1)
    body, form = multipart([("purpose", "batch"), ("file", None)], lines())
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:  # its leaving ends the upload
        client.sendall(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (MASTER_KEY.encode(), form.encode(), len(body), body))
        (busy,) = [a for a in ("eu", "us") if waits(sim, a)]
        other = "us" if busy == "eu" else "eu"
        for n in range(4):
            gateway.uploaded(lines(count=n + 5))
        assert sim.created("files", [other]) == 4


def waits(sim, account):
    """Whether an upload has reached this account; the one that is delayed is the only one."""
    while True:
        for name in ("eu", "us"):
            if [r for r in sim.requests(name) if r["method"] == "POST"]:
                return name == account


def test_the_faster_one_is_next_once_both_are_measured(start, sim):
    gateway = routed(start, sim, "latency-based-routing")
    sim.control("POST", "/control/switches", {"account": "eu", "set": {"latency_ms": 2000}})
    gateway.uploaded(lines(count=1))
    gateway.uploaded(lines(count=2))
    assert files(sim) == {"eu": 1, "us": 1}  # what was never measured comes first
    for n in range(5):
        gateway.uploaded(lines(count=n + 3))
    assert files(sim) == {"eu": 1, "us": 6}


def test_lower_orders_come_first_and_the_next_when_they_refuse(start, sim):
    gateway = routed(start, sim, "simple-shuffle", eu={"order": 1}, us={"order": 2})
    for n in range(3):
        gateway.uploaded(lines(count=n + 1))
    assert files(sim) == {"eu": 3, "us": 0}
    sim.fault({"status": 429}, account="eu", method="POST", path="/openai/files*", times=1)
    gateway.uploaded(lines(count=9))
    assert files(sim) == {"eu": 3, "us": 1}
