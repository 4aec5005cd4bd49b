"""Keys of tenants in the configuration and in their file: known from the first request on, and known anew when they change."""

import hashlib
import os
import signal

from harness import balanced_config, http_request, until

A, B, C = (f"sk-{name}-3f7Kq9Zx1Lm5Tr8w" for name in ("alpha", "bravo", "charlie"))


def entry(key, **more):
    return {"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(), "key_alias": key[3:8], "models": ["*"], **more}


def status(gateway, key):
    """Of one poll that no provider sees."""
    return poll(gateway, key).status


def poll(gateway, key):
    return http_request(gateway.port, "GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})


def inline(sim, *entries, **settings):
    return balanced_config(sim, tranche_settings={"keys": list(entries), **settings})


def reload(gateway):
    start = len(gateway.log)
    gateway.send(signal.SIGHUP)
    return start


# --- what the master publishes ---


def test_a_key_of_the_configuration_is_known_and_any_other_one_is_not(start, sim):
    gateway = start(inline(sim, entry(A), entry(B, blocked=True)), sim=sim)
    assert status(gateway, A) == 200
    assert status(gateway, B) == 401
    assert poll(gateway, C).json()["error"]["type"] == "token_not_found_in_db"


def test_sighup_makes_keys_known_and_blocked_for_every_worker(start, sim):
    gateway = start(inline(sim, entry(A)), sim=sim, workers=2)
    assert status(gateway, A) == 200
    gateway.write_config(inline(sim, entry(A, blocked=True), entry(B)))
    gateway.wait_line("generation 2 serves", start=reload(gateway))
    assert [status(gateway, A) for _ in range(8)] == 8 * [401]
    assert [status(gateway, B) for _ in range(8)] == 8 * [200]


def test_keys_come_and_go_with_the_configuration(start, sim):
    gateway = start(balanced_config(sim), sim=sim)
    assert status(gateway, A) == 401
    gateway.write_config(inline(sim, entry(A)))
    gateway.wait_line("generation 2 serves", start=reload(gateway))
    assert status(gateway, A) == 200
    gateway.write_config(balanced_config(sim))
    gateway.wait_line("generation 3 serves", start=reload(gateway))
    until(lambda: status(gateway, A) == 401, "nobody knows the key any more")


def test_a_refused_configuration_leaves_the_keys_as_they_were(start, sim):
    gateway = start(inline(sim, entry(A)), sim=sim)
    gateway.write_config(inline(sim, entry(B), num_workers=0))
    gateway.wait_line("keeps serving", start=reload(gateway))
    assert status(gateway, A) == 200 and status(gateway, B) == 401


def test_the_next_program_knows_its_own_keys(start, sim):
    gateway = start(inline(sim, entry(A)), sim=sim)
    gateway.write_config(inline(sim, entry(A), entry(B)))
    gateway.send(signal.SIGUSR2)
    successor = int(gateway.wait_line(r"new program started, pid (\d+)").group(1))
    try:
        assert gateway.wait() == 0
        assert status(gateway, A) == 200 and status(gateway, B) == 200
    finally:
        os.kill(successor, signal.SIGTERM)
    assert gateway.wait_output_end(), "the successor did not end"
