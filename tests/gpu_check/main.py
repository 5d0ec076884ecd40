"""Checks what only a real GPU can tell; see docs/gpu-check.md. A line for each question, the last line is the total.

usage: gpu-check [--built] [--fake] [--write] [CHECK...]
  --built  with what is in build/ already
  --fake   on the fake GPU of tests/fakes/cuda, to test the checks themselves: says nothing about hardware
  --write  also puts the lines into docs/gpu-check.md
"""

import argparse
import subprocess
import sys

import report
from check_cost import cost
from check_driver import addresses, devices, places, rounding
from check_memory import layers, ledger, state
from check_torch import torch
from machine import COUNTING, PROBE, REPOSITORY, Broken, Machine, Unable

CHECKS = (devices, addresses, layers, ledger, rounding, places, state, cost, torch)
DOCUMENT = REPOSITORY / "docs/gpu-check.md"


def answers(check, machine):
    """Its results; one more, a failure, when it breaks off."""
    try:
        yield from check(machine)
    except Unable as why:
        yield report.skip(check.__name__, str(why))
    except (Broken, OSError, subprocess.SubprocessError) as error:
        yield report.judge(check.__name__, "that its programs come to their end", False, str(error))


def parse():
    parser = argparse.ArgumentParser("gpu-check", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fake", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(check.__name__ for check in CHECKS))
    options = parser.parse_args()
    unknown = set(options.checks) - {check.__name__ for check in CHECKS}
    if unknown:
        parser.error(f"there is no check {', '.join(unknown)}")
    if options.fake and options.write:
        parser.error("--write is for what hardware has said, not the fake")
    return options


def main():
    options = parse()
    for library in (PROBE, COUNTING):
        if not library.exists():
            sys.exit(f"gpu-check: {library} is not built: scripts/install-deps, then make gpu-check-probes")
    machine = Machine(options.fake)
    try:
        name = machine.describe()
    except Broken as broken:
        sys.exit(f"gpu-check: no NVIDIA GPU can be used here: {broken}")
    print(f"gpu-check: {name}", flush=True)
    results = []
    for check in CHECKS:
        if options.checks and check.__name__ not in options.checks:
            continue
        for result in answers(check, machine):
            results.append(result)
            print(result, flush=True)
    print(f"gpu-check{' on the fake GPU, not on hardware' if options.fake else ''}: {report.total(results)}")
    if options.write:
        report.write(DOCUMENT, name, results)
    sys.exit(any(result.outcome == report.FAILED for result in results))


main()
