#!/usr/bin/env python3
"""Runs tranche-sim and checks it against providers statements 1 to 72, one by one.

usage: check.py [path of tranche-sim] [word in the names of the checks]

Standard library only. Ends with `N passed, N failed`, exit status 1 when something failed.
"""

import sys
import traceback

# Each adds its checks to CHECKS, in this order.
import check_openai
import check_azure
import check_entra
import check_itself
from check_kit import CHECKS, CONFIG, Openai, Sim, find_program


def run(program, word):
    sim = Sim(program, CONFIG)
    o = Openai(sim)
    passed, failed = 0, 0
    for f in CHECKS:
        if word not in f.__name__:
            continue
        try:
            sim.reset()
            f(sim, o)
            passed += 1
        except Exception:
            failed += 1
            print(f"FAILED {f.__name__}", flush=True)
            traceback.print_exc()
    status, left = sim.stop()
    if status != 0 or left:
        print(f"FAILED: exit status {status}, left behind: {left}")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1] if len(sys.argv) > 1 else find_program(), sys.argv[2] if len(sys.argv) > 2 else ""))
