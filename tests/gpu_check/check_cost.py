"""What hooks cost, by the clock: pairs of runs without and with the library, one after the other."""

import statistics

from machine import PROBE
from report import judge, skip

RUNS = 5
PAIRS = 3000
MOST_NS, MOST_SHARE = 500, 0.05  # of a pair of calls, whichever is more
MOST_RESOLVER = 1.2


def exported(symbols):
    """The functions that the driver exports, as cuGetProcAddress knows them."""
    symbols = [name.split("@")[0] for name in symbols]
    plain = {name.removesuffix("_ptsz").removesuffix("_ptds") for name in symbols if name.startswith("cu")}
    return sorted({name[:-3] if name[-3:-1] == "_v" else name for name in plain})


def cost(machine):
    names = exported(machine.driver_symbols())
    arguments = [machine.runtime("shared"), 200 if machine.fake else PAIRS, *names]
    runs = 1 if machine.fake else RUNS
    pairs = [(machine.run("cost", *arguments), machine.run("cost", *arguments, preload=PROBE)) for _ in range(runs)]
    for way, question in (
        ("plain", "cudaMalloc and cudaFree, 1 MiB"),
        ("async", "cudaMallocAsync and cudaFreeAsync, 1 MiB"),
        ("resolver", f"asking the driver for {len(names)} names, twice"),
    ):
        bare = statistics.median(one[way] for one, _ in pairs)
        more = statistics.median(other[way] - one[way] for one, other in pairs)
        found = f"{bare:.0f} ns without, {more:+.0f} ns with the library"
        if way == "resolver":
            found, right = f"{found}, × {(bare + more) / bare:.2f}", bare + more <= MOST_RESOLVER * bare
            expected = f"at most × {MOST_RESOLVER}"
        else:
            found += f", {more / 4:+.0f} ns for each hooked call"  # two calls, in two layers
            right = more <= max(MOST_NS, MOST_SHARE * bare)
            expected = f"at most {MOST_NS} ns or {MOST_SHARE:.0%} more"
        if machine.fake:
            yield skip(question, f"times of a fake say nothing ({found})")
        else:
            yield judge(question, expected, right, found)
