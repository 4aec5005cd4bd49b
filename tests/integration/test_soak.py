"""The soak (soak.py): a short one always, a long one with --long. TRANCHE_SOAK_SEED repeats one that failed."""

import os
import random

import pytest
from soak import Soak, memory_counts, unknown

# Operations of each round: first with kills, then without; from round to round the providers are emptied.
SHORT = {"killing": [360], "measured": [180, 180]}
LONG = {"killing": [1200] * 4, "measured": [1500] * 5}
MAX_GROWTH_KB = 1536  # of one process, after its first round: for what its allocator and its logs of batches may take ...
MAX_GROWTH_BYTES = 50  # ... and for each operation
MAX_MORE_SOCKETS = 64  # of one process, after its first round: connections to providers that wait for more work
MAX_MORE_FILES = 2


@pytest.mark.parametrize("plan", [pytest.param(SHORT, id="short", marks=pytest.mark.timeout(600)),
                                  pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_after_a_storm_of_faults_kills_and_jumping_clocks_nothing_is_owed_and_nothing_was_made_twice(tmp_path, plan):
    seed = int(os.environ.get("TRANCHE_SOAK_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"TRANCHE_SOAK_SEED={seed}")
    soak = Soak(tmp_path, seed)
    memory, descriptors, made, asked = [], [], 0, 0
    try:
        for kills, rounds in ((True, plan["killing"]), (False, plan["measured"])):
            soak.kills = kills
            for operations in rounds:
                soak.run(operations)
                soak.settle()
                made += soak.judge_batches()
                asked += len(soak.intents)
                soak.renew()
                if not kills:
                    memory.append(soak.memory_kb())
                    descriptors.append(soak.descriptors())
        print(f"{soak.done} operations, {asked} intents, {made} batches, {unknown(soak.judged)} left unknown, "
              f"{len(soak.killed)} kills, kB {memory}, descriptors {descriptors}")
        assert made > asked / 2, "the storm left hardly any batch to judge"
        assert soak.unexpected_deaths() == set()
        assert memory[0].keys() == memory[-1].keys()
        allowed = MAX_GROWTH_KB + sum(plan["measured"][1:]) * MAX_GROWTH_BYTES // 1024
        grown = {pid: memory[-1][pid] - memory[0][pid] for pid in memory[0]}
        assert not memory_counts() or max(grown.values()) <= allowed, f"memory grows by {grown} kB"
        for (pid, sockets), before in descriptors[0].items():
            more = descriptors[-1][pid, sockets] - before
            assert more <= (MAX_MORE_SOCKETS if sockets else MAX_MORE_FILES), f"{descriptors[0]} became {descriptors[-1]}"
    finally:
        soak.end()
