"""Providers whose clocks are wrong, or jump: what is old is judged by their own clock, so that no batch is made twice and
none is lost. What really happened is in the simulator's ledger."""

import threading

import pytest
from harness import balanced_config, until
from test_metrics import page

MINUTE, HOUR = 60, 3600
SKEWS = {"16-min-ahead": 16 * MINUTE, "16-min-behind": -16 * MINUTE, "26-h-ahead": 26 * HOUR, "26-h-behind": -26 * HOUR}
skewed = pytest.mark.parametrize("skew", SKEWS.values(), ids=SKEWS.keys())


def set_clock(sim, skew, account=None):
    """The clocks of the providers are so far ahead of ours from now on."""
    sim.control("POST", "/control/switches", {"account": account, "set": {"clock_skew_s": skew}} if account else
                {"set": {"clock_skew_s": skew}})


def keyed(gateway, file_id):
    return gateway.create(file_id, headers={"Idempotency-Key": "key-1"})


def retried(gateway, file_id):
    return gateway.create(file_id, headers={"x-stainless-retry-count": "1"})


@skewed
def test_a_create_whose_answer_is_lost_is_found_whatever_its_providers_clock_says(start, sim, skew):
    set_clock(sim, skew)
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    sim.fault({"close": "answer"}, method="POST", path="/openai/batches*")
    answer = gateway.create(file["id"])
    assert answer.status == 200, answer
    assert sim.created("batches") == 1


@skewed
@pytest.mark.parametrize("ask", [keyed, retried], ids=["key", "retry"])
def test_a_repeat_after_a_restart_makes_no_second_batch_whatever_the_clock_says(start, sim, skew, ask):
    set_clock(sim, skew)
    config = balanced_config(sim, accounts=["eu"])
    first = start(config, sim=sim)
    file = first.uploaded()
    made = ask(first, file["id"])
    assert made.status == 200, made
    first.finish(sim)
    again = ask(start(config, sim=sim), file["id"])
    assert again.status == 200 and again.json()["id"] == made.json()["id"], again
    assert sim.created("batches") == 1


@skewed
def test_a_clock_that_jumps_while_a_create_is_under_way_loses_no_batch(start, sim, skew):
    config = balanced_config(sim, accounts=["eu"], tranche_settings={"timeouts": {"json_total_ms": "2s"}})
    gateway = start(config, sim=sim)
    gateway.wait_line("unknown -> healthy")
    file = gateway.uploaded()
    sim.fault({"hang": "answer"}, method="POST", path="/openai/batches*")
    got = []
    client = threading.Thread(target=lambda: got.append(gateway.create(file["id"])))
    client.start()
    until(lambda: sim.created("batches") == 1, "a batch is made and not told")
    set_clock(sim, skew)
    client.join()
    assert got[0].status == 200, got
    assert sim.created("batches") == 1


@skewed
@pytest.mark.parametrize("ask", [keyed, retried], ids=["key", "retry"])
def test_a_clock_that_jumps_before_a_restart_makes_no_second_batch(start, sim, skew, ask):
    config = balanced_config(sim, accounts=["eu"])
    first = start(config, sim=sim)
    file = first.uploaded()
    made = ask(first, file["id"])
    assert made.status == 200, made
    first.finish(sim)
    set_clock(sim, skew)
    again = ask(start(config, sim=sim), file["id"])
    assert again.status == 200 and again.json()["id"] == made.json()["id"], again
    assert sim.created("batches") == 1


def test_a_clock_that_is_put_right_loses_no_batch_that_was_stamped_before(start, sim):
    """Behind for hours, then right: what carries the old time is not old."""
    set_clock(sim, -26 * HOUR)
    gateway = start(balanced_config(sim, accounts=["eu"], tranche_settings={"timeouts": {"json_total_ms": "2s"}}), sim=sim)
    file = gateway.uploaded()
    sim.fault({"hang": "answer"}, method="POST", path="/openai/batches*")
    got = []
    client = threading.Thread(target=lambda: got.append(gateway.create(file["id"])))
    client.start()
    until(lambda: sim.created("batches") == 1, "a batch is made and not told")
    set_clock(sim, 0)
    client.join()
    assert got[0].status == 200, got
    assert sim.created("batches") == 1


def test_a_skew_is_told_once_and_again_when_it_changes(start, sim):
    set_clock(sim, 15 * MINUTE)
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    told = gateway.wait_line(r"account 127\.0\.0\.1:\d+: its clock is (\d+) s ahead of ours")
    assert 14 * MINUTE < int(told.group(1)) <= 15 * MINUTE + 2
    for _ in range(10):
        gateway.get("/v1/batches")
    assert gateway.log.count("its clock is") == 1
    until(lambda: page(gateway).sum("tranche_upstream_in_flight") == 0, "no answer of before comes after the change")
    set_clock(sim, -30)
    gateway.get("/v1/batches")
    gateway.wait_line(r"account 127\.0\.0\.1:\d+: its clock agrees with ours again")
    set_clock(sim, -2 * HOUR)
    gateway.get("/v1/batches")
    gateway.wait_line(r"account 127\.0\.0\.1:\d+: its clock is 7\d\d\d s behind ours")
    assert gateway.log.count("its clock is") == 2


def test_a_skew_is_in_health_and_in_the_metrics(start, sim):
    set_clock(sim, -15 * MINUTE, "eu")
    gateway = start(balanced_config(sim, accounts=["eu", "us"]), sim=sim)
    gateway.wait_line(r"its clock is")
    rows = {r["api_base"]: r for r in gateway.get("/health").json()["healthy_endpoints"]}
    assert -15 * MINUTE - 2 <= rows[sim.base("eu")]["clock_skew_s"] <= -14 * MINUTE
    assert "clock_skew_s" not in rows[sim.base("us")]
    skews = [s.value for s in page(gateway).all("tranche_account_clock_skew_seconds")]
    # Each answer in between narrows down what is known, to the second.
    assert len(skews) == 2 and abs(min(skews) - rows[sim.base("eu")]["clock_skew_s"]) <= 2 and abs(max(skews)) <= 30


@pytest.mark.parametrize("headers", [{"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}, {"Date": "yesterday"}, {"Date": ""},
                                     {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Age": "60"}], ids=["no-clock", "word", "empty", "cached"])
def test_a_date_that_tells_nothing_teaches_nothing(start, sim, headers):
    sim.control("POST", "/control/switches", {"set": {"date": False}})
    gateway = start(balanced_config(sim, accounts=["eu"]), sim=sim)
    file = gateway.uploaded()
    sim.fault({"status": 404, "headers": headers}, method="GET", path="/openai/files/*", times=5)
    for _ in range(5):
        assert gateway.get(f"/v1/files/{file['id']}").status == 404
    sim.fault({"close": "answer"}, method="POST", path="/openai/batches*")
    assert gateway.create(file["id"]).status == 200
    assert "its clock" not in gateway.log and sim.created("batches") == 1
