"""Keys of tenants in the configuration and in their file: known from the first request on, and known anew when they change."""

import hashlib
import json
import os
import re
import signal

import pytest
from harness import alive, balanced_config, http_request, is_keeper, keeper_of, until

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
    start = len(gateway.lines)
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
    until(lambda: status(gateway, A) == 200, "only workers that know of keys are left")
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


# --- what the keeper does ---


def write_in_place(path, text):
    """In one step, as nobody reads half of it: spaces fill what the text before had more."""
    data = text.encode()
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        data += b" " * max(0, os.fstat(fd).st_size - len(data))
        assert os.pwrite(fd, data, 0) == len(data)
    finally:
        os.close(fd)


class KeysFile:
    """A keys file that a gateway watches."""

    def __init__(self, directory, *entries):
        self.path = directory / "keys.yaml"
        self.write(*entries)

    def write(self, *entries, text=None):
        write_in_place(self.path, json.dumps({"keys": list(entries)}) if text is None else text)

    def config(self, sim, **settings):
        return balanced_config(sim, tranche_settings={"keys_file": str(self.path), **settings})


@pytest.fixture
def file(tmp_path):
    (tmp_path / "keys").mkdir()
    return KeysFile(tmp_path / "keys", entry(A))


def known(gateway, key, what="the key works", times=1):
    until(lambda: [status(gateway, key) for _ in range(times)] == times * [200], what)


def unknown(gateway, key, what="the key is refused", times=1):
    until(lambda: [status(gateway, key) for _ in range(times)] == times * [401], what)


def keys_health(gateway):
    return gateway.get("/health").json()["keys"]


def test_there_is_a_keeper_where_a_file_can_change_and_nowhere_else(start, sim, file):
    for config in (balanced_config(sim), inline(sim, entry(A))):
        gateway = start(config, sim=sim)
        gateway.wait_line("generation 1 serves")  # all were started
        assert len(gateway.workers()) == 3 and not [pid for pid in gateway.workers() if is_keeper(pid)]
    gateway = start(file.config(sim), sim=sim)
    keeper_of(gateway)
    assert status(gateway, A) == 200 and keys_health(gateway) == {"count": 1, "failed": False}


def test_a_key_that_is_blocked_in_the_file_is_refused_by_every_worker_and_a_new_one_works(start, sim, file):
    gateway = start(file.config(sim), sim=sim, workers=2)
    known(gateway, A)
    file.write(entry(A, blocked=True), entry(B))
    unknown(gateway, A, times=8)
    assert [status(gateway, B) for _ in range(8)] == 8 * [200]  # one state: both at once
    file.write(entry(A))
    known(gateway, A, times=8)
    assert [status(gateway, B) for _ in range(8)] == 8 * [401]


def test_a_file_that_is_put_in_its_place_is_read(start, sim, file, tmp_path):
    gateway = start(file.config(sim), sim=sim)
    other = KeysFile(tmp_path, entry(B))
    os.rename(other.path, file.path)
    known(gateway, B)
    assert status(gateway, A) == 401


def mounted(directory, version, *entries):
    """As Kubernetes mounts a secret: keys.yaml -> ..data/keys.yaml, ..data -> a directory of this version."""
    place = directory / f"..{version}"
    place.mkdir()
    KeysFile(place, *entries)
    (directory / "..data_tmp").symlink_to(place.name)
    os.rename(directory / "..data_tmp", directory / "..data")


def test_a_secret_that_kubernetes_mounts_is_read_when_it_changes(start, sim, tmp_path):
    directory = tmp_path / "secret"
    directory.mkdir()
    mounted(directory, "v1", entry(A))
    (directory / "keys.yaml").symlink_to("..data/keys.yaml")
    gateway = start(balanced_config(sim, tranche_settings={"keys_file": str(directory / "keys.yaml")}), sim=sim)
    known(gateway, A)
    mounted(directory, "v2", entry(B))
    known(gateway, B)
    assert status(gateway, A) == 401


def test_a_file_behind_a_link_to_elsewhere_is_read_when_it_changes(start, sim, file, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(file.path)
    gateway = start(balanced_config(sim, tranche_settings={"keys_file": str(link)}), sim=sim)
    known(gateway, A)
    file.write(entry(B))
    known(gateway, B)


@pytest.mark.parametrize("text, place", [("keys: [\n  oops", r":2: keys\[0\]"), ('{"keys": [{"hash": "sha256:12", "models": ["*"]}]}', r":1: keys\[0\]\.hash"),
                                         (None, "")], ids=["no-yaml", "no-hash", "gone"])
def test_a_bad_file_keeps_the_old_keys_and_shows_in_health_until_it_is_mended(start, sim, file, text, place):
    gateway = start(file.config(sim), sim=sim)
    known(gateway, A)
    gateway.wait_line(r"keeper\[\d+\]: .*keys\.yaml: 1 keys")  # a keeper that starts only now may read half of what is written next
    if text is None:
        file.path.unlink()
    else:
        file.write(text=text)
    until(lambda: keys_health(gateway)["failed"], "health tells of the file")
    told = keys_health(gateway)
    assert re.fullmatch(re.escape(str(file.path)) + place, told["problem"]), told
    assert told["count"] == 1 and status(gateway, A) == 200
    kept = r" error keeper\[\d+\]: the keys of .* stay as they were"
    until(lambda: re.search(kept, gateway.log), "the log tells of the file")
    assert len(re.findall(kept, gateway.log)) == 1
    file.write(entry(B))
    known(gateway, B)
    assert status(gateway, A) == 401 and keys_health(gateway) == {"count": 1, "failed": False}


def test_a_plain_key_in_the_file_gets_neither_into_the_log_nor_into_health(start, sim, file):
    gateway = start(file.config(sim), sim=sim)
    file.write(text=json.dumps({"keys": [{"key": B, "models": ["*"], "expires": "soon"}]}))
    until(lambda: keys_health(gateway)["failed"], "health tells of the file")
    assert B not in gateway.log and B not in json.dumps(gateway.get("/health").json())


def test_more_keys_than_there_may_be_change_nothing(start, sim, file):
    gateway = start(file.config(sim, max_keys=2), sim=sim)
    file.write(entry(A), entry(B), entry(C))
    until(lambda: keys_health(gateway)["failed"], "health tells of the file")
    assert status(gateway, A) == 200 and status(gateway, B) == 401
    file.write(entry(A), entry(B))
    known(gateway, B)


def test_while_the_keeper_is_dead_known_keys_go_on_and_the_next_one_has_missed_nothing(start, sim, file):
    gateway = start(file.config(sim), sim=sim)
    gateway.deaths_expected = True
    keeper = keeper_of(gateway)
    os.kill(keeper, signal.SIGSTOP)  # it sees nothing of the change
    file.write(entry(A), entry(B))
    assert status(gateway, A) == 200 and status(gateway, B) == 401
    os.kill(keeper, signal.SIGKILL)
    gateway.wait_line(r"keeper \d+ \(pid \d+, generation 1\) ended: signal 9")
    assert status(gateway, A) == 200
    known(gateway, B, "the next keeper has read the file")
    file.write(entry(C))
    known(gateway, C, "and watches it")


def test_after_a_reload_the_next_keeper_has_the_word(start, sim, file):
    gateway = start(file.config(sim), sim=sim)
    first = keeper_of(gateway)
    file.write(entry(B))
    gateway.wait_line("generation 2 serves", start=reload(gateway))
    assert status(gateway, B) == 200 and status(gateway, A) == 401  # SIGHUP has read it, too
    keeper_of(gateway, other_than=first)
    until(lambda: not alive(first), "the end of the one before")
    file.write(entry(C))
    known(gateway, C)


def test_a_reload_with_a_bad_keys_file_is_refused_and_the_keeper_goes_on(start, sim, file):
    gateway = start(file.config(sim), sim=sim)
    file.write(text="keys: [\n  oops")
    gateway.wait_line("keeps serving", start=reload(gateway))
    assert status(gateway, A) == 200 and gateway.get("/health").json()["reload_failed"]
    file.write(entry(B))
    known(gateway, B)


def test_the_keeper_ends_with_the_gateway_and_with_its_master(start, sim, file):
    gateway = start(file.config(sim), sim=sim)
    gateway.deaths_expected = True
    keeper = keeper_of(gateway)
    os.kill(gateway.pid, signal.SIGKILL)
    gateway.wait()
    until(lambda: not alive(keeper), "the end of the keeper of a killed master")
    assert gateway.wait_output_end()
