"""The soak (soak.py): a short one always, a long one with --long. TRANCHE_SOAK_SEED repeats one that failed."""

import os
import random

import pytest
from soak import Soak, memory_counts, unknown

pytestmark = pytest.mark.plain
# Operations of each round: with kills and reloads, with reloads alone, with neither; from round to round the providers are emptied.
SHORT = {"killing": [360], "reloading": [120, 120], "measured": [180, 180]}
LONG = {"killing": [1200] * 4, "reloading": [600] * 4, "measured": [1500] * 5}
MAX_GROWTH_KB = 1536  # of one process, after its first round: for what its allocator and its logs of batches may take ...
MAX_GROWTH_BYTES = 50  # ... and for each operation
MAX_MORE_SOCKETS = 64  # of one process, after its first round: connections to providers that wait for more work
MAX_MORE_FILES = 2
MORE_ROUNDS = 3  # where it grew by more: what leaks does so in each of them, what an allocator takes once does not


def judge_growth(rounds, kind, memory, descriptors, pids, share=1):
    """From the first round of a kind to its last one; `share` of what all rounds may take."""
    first, last = memory[kind][0], memory[kind][-1]
    allowed = int(MAX_GROWTH_KB * share) + sum(rounds[1:]) * MAX_GROWTH_BYTES // 1024
    grown = {pid: last[pid] - first[pid] for pid in pids}
    assert not memory_counts() or max(grown.values()) <= allowed, f"{kind}: memory grows by {grown} kB"
    first, last = descriptors[kind][0], descriptors[kind][-1]
    for pid in pids:
        for sockets, most in ((True, MAX_MORE_SOCKETS), (False, MAX_MORE_FILES)):
            assert last[pid, sockets] - first[pid, sockets] <= int(most * share), f"{kind}: {first} became {last}"


@pytest.mark.parametrize("plan", [pytest.param(SHORT, id="short", marks=pytest.mark.timeout(3000)),
                                  pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_after_a_storm_of_faults_kills_reloads_and_jumping_clocks_nothing_is_owed_and_nothing_was_made_twice(tmp_path, plan):
    seed = int(os.environ.get("TRANCHE_SOAK_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"TRANCHE_SOAK_SEED={seed}")
    soak = Soak(tmp_path, seed)
    memory, descriptors, made, asked = {}, {}, 0, 0

    def play(kind, operations):
        nonlocal made, asked
        soak.run(operations)
        soak.settle()
        made += soak.judge_batches()
        asked += len(soak.intents)
        soak.renew()
        memory[kind].append(soak.memory_kb())
        descriptors[kind].append(soak.descriptors())

    try:
        for kind, rounds in plan.items():
            soak.kills, soak.reloads = kind == "killing", kind != "measured"
            memory[kind], descriptors[kind] = [], []
            for operations in rounds:
                play(kind, operations)
        print(f"{soak.done} operations, {asked} intents, {made} batches, {unknown(soak.judged)} left unknown, {len(soak.killed)} kills, "
              f"{soak.reloaded} reloads, {soak.downloaded} whole downloads, kB {memory}, descriptors {descriptors}")
        assert made > asked / 2, "the storm left hardly any batch to judge"
        assert soak.unexpected_deaths() == set()
        assert soak.reloaded > 0 and soak.downloaded > 0
        judge_growth(plan["reloading"], "reloading", memory, descriptors, [soak.gateway.pid])  # a generation takes its workers along
        rounds, share = plan["measured"], 1
        for more in range(MORE_ROUNDS + 1):
            assert memory["measured"][0].keys() == memory["measured"][-1].keys()
            try:
                judge_growth(rounds, "measured", memory, descriptors, memory["measured"][0], share)
                break
            except AssertionError:
                if more == MORE_ROUNDS:
                    raise
            memory["measured"], descriptors["measured"], rounds = memory["measured"][-1:], descriptors["measured"][-1:], [0, rounds[-1]]
            share = 1 / (len(plan["measured"]) - 1)  # one round has its part of what all of them had
            play("measured", rounds[-1])
    finally:
        soak.end()
