"""What tenants own, in the database: a tenant's list of files is whole after any end of the gateway, and on each of several nodes
(tenants statement A46)."""

import json
import os
import signal

from harness import MASTER_KEY, balanced_config, keeper_of, until
from postgres import empty


class Host:
    """Gateways on one database, one after the other or beside each other."""

    def __init__(self, start, sim, url):
        self.start, self.sim, self.url = start, sim, url

    def begin(self, **settings):
        return self.start(balanced_config(self.sim, tranche_settings={"database": self.url, "seal_keys": ["sk-0123456789abcdef-seal"], **settings}), sim=self.sim)


def make_key(gateway, **fields):
    return gateway.post("/key/generate", json.dumps(fields).encode(), headers={"Content-Type": "application/json"}, key=MASTER_KEY).json()["key"]


def listed(gateway, key):
    """The ids of all files, and what the list says that it lacks."""
    answer = gateway.get("/v1/files?limit=100", key=key)
    assert answer.status == 200, answer
    return sorted(f["id"] for f in answer.json()["data"]), answer.headers.get("x-tranche-partial")


def wait_whole(gateway, key, ids):
    until(lambda: listed(gateway, key) == (sorted(ids), None), "the list is whole")


def kill(gateway):
    gateway.deaths_expected = True
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait()


def test_a_tenants_list_is_whole_after_each_end_of_the_gateway(start, sim, url):
    host = Host(start, sim, url)
    gateway = host.begin()
    alice, bob = make_key(gateway, team_id=None, key_alias="alice"), make_key(gateway, key_alias="bob")
    wait_whole(gateway, alice, [])
    files = [gateway.uploaded(key=alice)["id"] for _ in range(3)]
    other = gateway.uploaded(key=bob)["id"]
    assert listed(gateway, alice) == (sorted(files), None)
    assert gateway.delete(f"/v1/files/{files[0]}", key=alice).status == 200
    before = gateway.get("/v1/files", key=alice).json()
    assert gateway.stop() == 0  # and what was written last is there
    gateway = host.begin()
    wait_whole(gateway, alice, files[1:])
    assert gateway.get("/v1/files", key=alice).json() == before
    wait_whole(gateway, bob, [other])
    assert gateway.get("/v1/files?strict=true", key=alice).status == 200
    # All of it is killed: what is lost is told, what is not lost is there, and a gap in which no file was made is closed
    kill(gateway)
    gateway = host.begin()
    wait_whole(gateway, alice, files[1:])
    wait_whole(gateway, bob, [other])


def test_what_was_lost_with_a_killed_gateway_is_told(start, sim, tmp_path):
    host = Host(start, sim, f"sqlite://{tmp_path}/keys.db")
    gateway = host.begin()
    key = make_key(gateway)
    wait_whole(gateway, key, [])
    keeper = keeper_of(gateway)
    os.kill(keeper, signal.SIGSTOP)  # it writes nothing any more
    file = gateway.uploaded(key=key)["id"]
    kill(gateway)
    gateway = host.begin()
    gateway.wait_line("files of the time that their lists leave open are not known to be anybody's")
    ids, lacks = listed(gateway, key)
    assert ids == [] and "files made between" in lacks
    assert gateway.get(f"/v1/files/{file}", key=key).status == 200  # its id proves whose it is
    assert listed(gateway, key)[0] == [file]


def test_each_node_shows_what_another_one_took(start, sim, cluster):
    host = Host(start, sim, empty(cluster).url)
    one, two = host.begin(), host.begin()
    key = make_key(one)
    files = [one.uploaded(key=key)["id"], two.uploaded(key=key)["id"]]
    for node in (one, two):
        wait_whole(node, key, files)
    assert one.delete(f"/v1/files/{files[0]}", key=key).status == 200
    wait_whole(two, key, files[1:])
