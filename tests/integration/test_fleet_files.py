"""Several gateways over one database hold an account's files together: what one has stored there no other one tries on top of it."""

import re

from harness import balanced_config, until
from test_fleet_creates import SEAL


def held(gateway):
    """Input files of each account as the gateway counts them, both kinds together; [] where it does not know."""
    sums = {}
    for labels, number in re.findall(r'^tranche_account_files\{(.*)\} (\d+)$', gateway.get("/metrics").body.decode(), re.MULTILINE):
        account = re.sub(r',?expires="\w+"', "", labels)
        sums[account] = sums.get(account, 0) + int(number)
    return sorted(sums.values())


def test_an_account_that_one_node_has_filled_gets_no_file_of_another(start, sim, database):
    def node():
        return start(balanced_config(sim, accounts=("eu", "us"), tranche_settings={
            "database": database.url, "seal_keys": [SEAL], "limits": {"max_files": {"azure": 3}, "max_expiring_files": {"azure": 3}}}), sim=sim, workers=1)

    two = node()
    until(lambda: database.psql("select count(*) from tranche.file_held", check=False).stdout.strip() == "4", "it has told what it has counted")
    one = node()
    for gateway in (one, two):
        until(lambda g=gateway: held(g) == [0, 0], "there is nothing yet")
    files = [one.uploaded() for _ in range(6)]
    assert len(sim.ledger("eu")["files"]) == len(sim.ledger("us")["files"]) == 3
    until(lambda: held(two) == [3, 3], "the other node hears of them")
    one.delete(f"/v1/files/{files[0]['id']}")
    until(lambda: held(two) == [2, 3], "and of one that is gone")
    two.uploaded()
    assert sorted(len([f for f in sim.ledger(a)["files"] if not f.get("deleted")]) for a in ("eu", "us")) == [3, 3]
