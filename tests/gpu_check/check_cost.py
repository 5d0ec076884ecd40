"""What hooks cost, by the clock: pairs of runs without and with the library, one after the other."""

import statistics
import subprocess

from machine import PROBE, Broken
from report import judge, skip

RUNS = 5
PAIRS = 3000
MOST_NS, MOST_SHARE = 500, 0.05  # of a pair of calls, whichever is more
MOST_RESOLVER = 1.2


def exported(path):
    """The functions that the driver exports, as cuGetProcAddress knows them."""
    try:
        done = subprocess.run(["readelf", "-W", "--dyn-syms", path], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return []
    symbols = [line.split()[-1].split("@")[0] for line in done.stdout.splitlines() if " FUNC " in line and " UND " not in line]
    plain = {name.removesuffix("_ptsz").removesuffix("_ptds") for name in symbols if name.startswith("cu")}
    return sorted({name[:-3] if name[-3:-1] == "_v" else name for name in plain})


def cost(machine):
    names = exported(machine.driver_library())
    if not names:
        raise Broken("the driver's names cannot be read (readelf)")
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
        figures = f"{bare:.0f} ns without, {more:+.0f} ns with the library"
        if way == "resolver":
            figures, right = f"{figures}, × {(bare + more) / bare:.2f}", bare + more <= MOST_RESOLVER * bare
            question += f": at most × {MOST_RESOLVER}"
        else:
            figures += f", {more / 4:+.0f} ns for each hooked call"  # two calls, in two layers
            right = more <= max(MOST_NS, MOST_SHARE * bare)
            question += f": at most {MOST_NS} ns or {MOST_SHARE:.0%} more"
        yield skip(question, f"times of a fake say nothing ({figures})") if machine.fake else judge(question, right, figures)
