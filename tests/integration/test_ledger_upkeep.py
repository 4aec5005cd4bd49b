"""What the prober does for the ledgers: fill an empty one, follow batches that nobody polls, count files."""

import hashlib
import hmac
import http.client
import os
import re
import signal
import threading

import pytest
from harness import (DEPLOYMENTS, GROUP, PROVIDER_KEYS, azure_account, azure_deployment, balanced_config, http_request, is_upkeep,
                     lines, multipart, sim_config, until, worker_pids)

SEAL = "a-seal-key-of-the-tests"
VERSION = "?api-version=2024-10-21"
REBUILT = r"quota ledger recovered: (\d+) batches, (\d+) tokens; (\d+) batches of other clients"


# --- batches as another gateway, or this one before it was killed, has left them ---

def fingerprint(*texts):
    return hashlib.sha256(b"".join(t.encode() + b"\0" for t in texts)).hexdigest()[:8]


def marker(sim, account, tokens, nonce, seal=SEAL, model=None):
    """The sealed pair of crypto/marker.h."""
    deployment = fingerprint("tranche deployment 1", "azure", sim.base(account), model or DEPLOYMENTS[account])
    text = f"2.{1:016x}.{2:016x}.{nonce}.{tokens:016x}.{deployment}.{0:08x}.file-1."
    prk = hmac.new(b"\0" * 32, seal.encode(), "sha256").digest()
    key = hmac.new(prk, b"tranche id seal\1", "sha256").digest()
    return text + hmac.new(key, b"t" + text.encode(), "sha256").hexdigest()[:16]


def provider(sim, account, method, path, body=None, headers=None):
    answer = http_request(sim.ports[account], method, path, body, {"api-key": PROVIDER_KEYS[account], **(headers or {})})
    assert answer.status in (200, 201), answer
    return answer.json()


def leave_file(sim, account, expires=False):
    fields = [("purpose", "batch"), ("file", None)]
    if expires:
        fields = [("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "1209600")] + fields
    body, form = multipart(fields, lines(model=DEPLOYMENTS[account]))
    return provider(sim, account, "POST", "/openai/files" + VERSION, body, {"Content-Type": form})["id"]


def leave_batch(sim, account, pair=None):
    body = {"input_file_id": leave_file(sim, account), "endpoint": "/chat/completions", "completion_window": "24h"}
    if pair is not None:
        body["metadata"] = {"tranche": pair}
    return provider(sim, account, "POST", "/openai/batches" + VERSION, body)["id"]


def leave_ours(sim, account, tokens, number, **more):
    return leave_batch(sim, account, marker(sim, account, tokens, f"{number:032x}", **more))


def config_of(sim, accounts=("eu",), **timeouts):
    settings = {"seal_keys": [SEAL], "timeouts": timeouts}
    return balanced_config(sim, accounts=accounts, tranche_settings={k: v for k, v in settings.items() if v})


def wait_rebuilt(gateway, sim, account, start=0):
    found = gateway.wait_line(rf"account 127\.0\.0\.1:{sim.ports[account]}: {REBUILT}", start=start)
    return tuple(int(n) for n in found.groups())


def upkeep(sim, account="eu"):
    return [r for r in sim.requests(account, upkeep=True) if is_upkeep(r)]


def ended(gateway, start=0):
    found = gateway.wait_line(r"(\d+) batches ended without being polled, (\d+) tokens released", start=start)
    return tuple(int(n) for n in found.groups())


# --- the rebuild ---

def test_an_empty_ledger_is_filled_from_the_batches_that_carry_our_marker(start, sim):
    leave_ours(sim, "eu", 500, 1)
    leave_ours(sim, "eu", 300, 2)
    leave_ours(sim, "us", 70, 3)
    leave_batch(sim, "eu")
    leave_ours(sim, "eu", 9000, 4, seal="a-seal-key-of-somebody-else")
    leave_ours(sim, "eu", 9000, 5, model="a-deployment-of-another-configuration")
    gateway = start(config_of(sim, ("eu", "us")), sim=sim)
    assert wait_rebuilt(gateway, sim, "eu") == (2, 800, 3)
    assert wait_rebuilt(gateway, sim, "us") == (1, 70, 0)


def test_a_killed_gateway_finds_its_batches_again(start, sim):
    leave_ours(sim, "eu", 500, 1)
    gateway = start(config_of(sim), sim=sim)
    assert wait_rebuilt(gateway, sim, "eu") == (1, 500, 0)
    gateway.deaths_expected = True
    gateway.popen.kill()
    gateway.wait()
    assert gateway.wait_output_end()
    leave_ours(sim, "eu", 20, 2)
    assert wait_rebuilt(start(config_of(sim), sim=sim), sim, "eu") == (2, 520, 0)


def test_a_list_of_many_pages_is_read_to_its_end(start, sim):
    for number in range(230):
        pair = marker(sim, "eu", 7, f"{number:032x}") if number % 2 == 0 else None
        leave_batch(sim, "eu", pair)
    gateway = start(config_of(sim), sim=sim)
    assert wait_rebuilt(gateway, sim, "eu") == (115, 805, 115)
    assert len([r for r in upkeep(sim) if "limit=100" in r["target"]]) == 3


def test_an_account_that_fails_at_first_is_read_once_it_answers(start, sim):
    leave_ours(sim, "eu", 500, 1)
    sim.fault({"status": 503}, account="eu", method="GET", path="/openai/batches", times=3)
    gateway = start(config_of(sim), sim=sim)
    gateway.wait_line("quota ledger recovery failed, assuming 0 enqueued tokens until it succeeds")
    assert wait_rebuilt(gateway, sim, "eu") == (1, 500, 0)


def test_a_reload_reads_only_accounts_with_new_deployments(start, sim):
    gateway = start(config_of(sim), sim=sim)
    wait_rebuilt(gateway, sim, "eu")
    seen = len(gateway.lines)
    leave_ours(sim, "us", 70, 1)
    gateway.write_config(config_of(sim, ("eu", "us")))
    gateway.send(signal.SIGHUP)
    assert wait_rebuilt(gateway, sim, "us", start=seen) == (1, 70, 0)
    assert len([r for r in upkeep(sim) if "limit=100" in r["target"]]) == 1


def test_accounts_that_are_not_balanced_are_left_alone(start, sim):
    config = config_of(sim, watch_ms=100, count_files_ms=100)
    config["litellm_settings"] = {}
    gateway = start(config, sim=sim)
    gateway.wait_line("unknown -> healthy")
    for _ in range(20):
        gateway.get("/v1/batches")
    assert upkeep(sim) == []


# --- the watch ---

def finish_all(sim):
    sim.advance(3_600_000)


def test_a_batch_that_ends_unseen_releases_its_tokens(start, sim):
    batch = leave_ours(sim, "eu", 500, 1)
    gateway = start(config_of(sim, watch_ms=100), sim=sim)
    assert wait_rebuilt(gateway, sim, "eu") == (1, 500, 0)
    sim.wait("eu", "GET", f"/openai/batches/{batch}", count=2)
    assert "ended without being polled" not in gateway.log
    finish_all(sim)
    assert ended(gateway) == (1, 500)
    provider(sim, "eu", "GET", f"/openai/batches/{batch}{VERSION}")


def test_many_batches_are_followed_by_one_list(start, sim):
    for number in range(6):
        leave_ours(sim, "eu", 100, number)
    gateway = start(config_of(sim, watch_ms=200), sim=sim)
    wait_rebuilt(gateway, sim, "eu")
    finish_all(sim)
    assert ended(gateway) == (6, 600)
    assert [r for r in upkeep(sim) if "/batches/" in r["target"]] == []


def test_a_batch_that_its_provider_denies_twice_is_released(start, sim):
    batch = leave_ours(sim, "eu", 500, 1)
    sim.fault({"status": 404}, account="eu", method="GET", path="/openai/batches/*", times=-1)
    gateway = start(config_of(sim, watch_ms=100), sim=sim)
    assert ended(gateway) == (1, 500)
    assert len([r for r in upkeep(sim) if batch in r["target"]]) == 2


def test_a_batch_denied_once_is_kept(start, sim):
    batch = leave_ours(sim, "eu", 500, 1)
    sim.fault({"status": 404}, account="eu", method="GET", path="/openai/batches/*", times=1)
    gateway = start(config_of(sim, watch_ms=100), sim=sim)
    sim.wait("eu", "GET", f"/openai/batches/{batch}", count=4)
    assert "ended without being polled" not in gateway.log


def test_a_killed_prober_goes_on_where_it_was(start, sim):
    leave_ours(sim, "eu", 500, 1)
    gateway = start(config_of(sim, watch_ms=100), sim=sim)
    wait_rebuilt(gateway, sim, "eu")
    gateway.deaths_expected = True
    os.kill(prober_pid(gateway), signal.SIGKILL)
    gateway.wait_line(r"prober .* ended")
    finish_all(sim)
    assert ended(gateway) == (1, 500)
    assert len(re.findall(REBUILT, gateway.log)) == 1


# --- creates of our own ---

def enqueued(gateway):
    (one,) = gateway.post("/v1/batches/placement", {"model": GROUP, "tokens": 1}).json()["candidates"]
    return one["enqueued_tokens"]


def test_a_batch_that_nobody_polls_makes_room_when_it_has_ended(start, sim):
    gateway = start(config_of(sim, watch_ms=100), sim=sim)
    wait_rebuilt(gateway, sim, "eu")
    gateway.created(gateway.uploaded()["id"])
    tokens = enqueued(gateway)
    assert tokens > 0
    finish_all(sim)
    assert ended(gateway) == (1, tokens)
    assert enqueued(gateway) == 0


def test_what_was_enqueued_before_the_kill_is_enqueued_after_it(start, sim):
    gateway = start(config_of(sim), sim=sim)
    wait_rebuilt(gateway, sim, "eu")
    for _ in range(3):
        gateway.created(gateway.uploaded()["id"])
    tokens = enqueued(gateway)
    assert tokens > 0
    gateway.deaths_expected = True
    gateway.popen.kill()
    gateway.wait()
    assert gateway.wait_output_end()
    gateway = start(config_of(sim), sim=sim)
    assert wait_rebuilt(gateway, sim, "eu") == (3, tokens, 0)
    assert enqueued(gateway) == tokens


def test_a_create_whose_worker_was_killed_is_found_by_its_marker(start, sim):
    gateway = start(config_of(sim, watch_ms=500), sim=sim, workers=1)
    wait_rebuilt(gateway, sim, "eu")
    file = gateway.uploaded()
    sim.fault({"hang": "answer"}, account="eu", method="POST", path="/openai/batches", times=1)
    client = threading.Thread(target=give_up, args=(gateway.create, file["id"]))
    client.start()
    until(lambda: sim.created("batches") == 1, "a batch is made and not told")
    gateway.deaths_expected = True
    os.kill(worker_pid(gateway), signal.SIGKILL)
    client.join()
    gateway.wait_line(r"died with 1 batch creates in flight, outcome unknown")
    gateway.wait_line(r"1 batches found that the quota ledger did not know")
    tokens = enqueued(gateway)
    assert tokens > 0
    finish_all(sim)
    assert ended(gateway) == (1, tokens)
    assert enqueued(gateway) == 0 and sim.created("batches") == 1


def give_up(call, *args):
    try:
        call(*args)
    except (ConnectionError, http.client.HTTPException):
        pass


def prober_pid(gateway):
    return int(gateway.wait_line(r"prober\[(\d+)\]: account").group(1))


def worker_pid(gateway):
    (pid,) = worker_pids(gateway, 1)
    return pid


# --- how many files an account holds ---

COUNTED = r"(\d+) input files that stay, (\d+) that expire"


@pytest.mark.parametrize("version", ["2024-10-21", "v1"])
def test_the_input_files_of_an_azure_account_are_counted(start, sim, version):
    for n in range(5):
        leave_file(sim, "eu", expires=n < 2)
    config = config_of(sim, count_files_ms=100)
    config["tranche_settings"]["log_level"] = "debug"
    config["model_list"] = [azure_deployment(sim, "eu", api_version=version)]
    gateway = start(config, sim=sim)
    assert gateway.wait_line(COUNTED).groups() == ("3", "2")
    seen = len(gateway.lines)
    leave_file(sim, "eu")
    gateway.wait_line(r"4 input files that stay, 2 that expire", start=seen)
    asked = [r["target"] for r in upkeep(sim) if "/files" in r["target"]]
    assert asked and all("purpose=batch" in target for target in asked)


def test_no_limit_no_count(start, sim):
    config = config_of(sim, count_files_ms=100)
    config["tranche_settings"]["limits"] = {"max_files": {"azure": 0}, "max_expiring_files": {"azure": 0}}
    gateway = start(config, sim=sim)
    wait_rebuilt(gateway, sim, "eu")
    for _ in range(20):
        gateway.get("/v1/batches")
    assert [r for r in upkeep(sim) if "/files" in r["target"]] == []


def test_a_full_account_gets_no_file(start, sim):
    for _ in range(3):
        leave_file(sim, "eu")
    config = config_of(sim, ("eu", "us"))
    config["tranche_settings"].update(log_level="debug", limits={"max_files": {"azure": 3}})
    gateway = start(config, sim=sim)
    gateway.wait_line(r"3 input files that stay")
    gateway.wait_line(r" 0 input files that stay")
    for _ in range(3):
        gateway.uploaded()
    assert len(sim.ledger("eu")["files"]) == 3 and len(sim.ledger("us")["files"]) == 3


def test_a_deleted_file_makes_room_for_the_next_one_at_once(start, sim):
    config = config_of(sim, ("eu", "us"))
    config["model_list"] = [azure_deployment(sim, "eu", order=1), azure_deployment(sim, "us", order=2)]
    config["tranche_settings"].update(log_level="debug", limits={"max_files": {"azure": 3}})
    gateway = start(config, sim=sim)
    for account in ("eu", "us"):
        gateway.wait_line(rf"account 127\.0\.0\.1:{sim.ports[account]}: 0 input files that stay")
    first = gateway.uploaded()
    for _ in range(3):
        gateway.uploaded()
    assert (len(sim.ledger("eu")["files"]), len(sim.ledger("us")["files"])) == (3, 1)
    assert gateway.delete(f"/v1/files/{first['id']}").status == 200
    gateway.uploaded()
    assert (len(sim.ledger("eu")["files"]), len(sim.ledger("us")["files"])) == (4, 1)
    gateway.uploaded()
    assert (len(sim.ledger("eu")["files"]), len(sim.ledger("us")["files"])) == (4, 2)


def test_output_files_are_not_counted(start, sim):
    leave_batch(sim, "eu")
    finish_all(sim)
    config = config_of(sim)
    config["tranche_settings"]["log_level"] = "debug"
    assert start(config, sim=sim).wait_line(COUNTED).groups() == ("1", "0")


def test_upkeep_carries_our_key_and_nothing_of_a_client(start, sim):
    leave_ours(sim, "eu", 500, 1)
    gateway = start(config_of(sim), sim=sim)
    wait_rebuilt(gateway, sim, "eu")
    until(lambda: len(upkeep(sim)) >= 2, "the ledger's call and the count")
    for request in upkeep(sim):
        assert request["method"] == "GET" and request["headers"]["api-key"] == PROVIDER_KEYS["eu"]
        assert "authorization" not in request["headers"]


def moved_away(start, make_sim):
    """A gateway whose one batch runs on a copy, and how to start it once more."""
    sim = make_sim(sim_config([azure_account("eu", deployments=[{"name": "gpt-4o-batch-eu", "model": "gpt-4o", "sku": "GlobalBatch",
                                                                 "enqueued_token_limit": 600, "refusal": "fast"}]),
                               azure_account("us")]))
    config = config_of(sim, watch_ms=100)
    config["model_list"] = [azure_deployment(sim, "eu", weight=1), azure_deployment(sim, "us", weight=0)]
    config["tranche_settings"]["delete_moved_copies"] = True
    gateway = start(config, sim=sim)
    file = gateway.uploaded(lines(count=20))
    assert gateway.created(file["id"])["input_file_id"] == file["id"] and sim.created("batches", ["us"]) == 1
    return sim, config, gateway, file


def test_the_copy_of_a_moved_batch_goes_although_nobody_looks(start, make_sim):
    sim, _, gateway, file = moved_away(start, make_sim)
    sim.advance(3_600_000)
    sim.wait("us", "DELETE", "/openai/files/*")
    assert all(f["deleted"] for f in sim.ledger("us")["files"] if f["purpose"] == "batch")
    assert gateway.get(f"/v1/files/{file['id']}").status == 200


def test_the_copy_of_a_batch_that_ended_while_the_gateway_was_down_goes(start, make_sim):
    sim, config, gateway, file = moved_away(start, make_sim)
    gateway.finish(sim)
    sim.advance(3_600_000)
    gateway = start(config, sim=sim)
    sim.wait("us", "DELETE", "/openai/files/*")
    assert all(f["deleted"] for f in sim.ledger("us")["files"] if f["purpose"] == "batch")
    assert gateway.get(f"/v1/files/{file['id']}").status == 200
