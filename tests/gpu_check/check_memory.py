"""What happens at an allocation: which layers are called, what the ledger has, what the program sees."""

import itertools

from machine import COUNTING, PROBE, Unable
from report import judge, skip

MIB = 1 << 20
ROUNDING = 2 * MIB  # what the driver takes of the device for an allocation
UNIT = 512  # the same within a pool


def names(calls):
    return " ".join(f"{name} × {count}" for name, count in calls.items()) or "no driver call"


def layers(machine):
    for kind in ("shared", "static"):
        try:
            told = machine.run("layers", machine.runtime(kind), preload=COUNTING)
        except Unable as why:
            yield skip(f"{kind} runtime: each allocation is one of the driver's", str(why))
            continue
        asked, ways = told["asked"], told["ways"]
        question = f"{kind} runtime: it gets the driver's functions where hooks see it"
        yield judge(question, "questions to cuGetProcAddress_v2 at the start", asked, str(asked))
        for way in ways:
            times, question = way["calls"], f"{kind} runtime, {way['what']}: one driver call each"
            right = sum(way["allocated"].values()) == times == sum(way["freed"].values())
            right = right and way["runtime"] == (times if kind == "shared" else 0)
            expected = f"{times} of the driver, {times if kind == 'shared' else 0} seen in the runtime"
            found = f"{names(way['allocated'])}, {names(way['freed'])}, {way['runtime']} in the runtime"
            if way["own"] is not None:
                right = right and way["own"] == times
                expected += ", none cut from a larger one"
                found += f", {times - way['own']} cut"
            yield judge(question, expected, right, found)
        wrong = [f"{way['what']}: {way['live']} bytes, then {way['left']}" for way in ways if not is_kept(way)]
        found = "; ".join(wrong) or f"{sum(way['live'] for way in ways)} bytes, 0 after"
        yield judge(f"{kind} runtime: the ledger", "all while it lives, 0 bytes after", ways and not wrong, found)


def is_kept(way):
    return way["live"] and way["live"] == (way["bytes"] or way["live"]) and not way["left"]


def ledger(machine):
    for way in machine.run("ledger", machine.runtime("shared"), preload=PROBE):
        name, count, ours, driver = (way[key] for key in ("way", "count", "ledger", "driver"))
        found = f"{ours}, and {way['left']} after the frees"
        if "used" in way:
            expected = f"pool used {way['used']} less up to {UNIT} each, and its reserved {way['reserved']} gone from free"
            found += f"; {driver} gone"
            right = 0 <= way["used"] - ours < count * UNIT and abs(driver - way["reserved"]) <= ROUNDING
        else:
            expected = f"the {driver} that free has lost less up to {ROUNDING >> 20} MiB each, 0 after"
            right = 0 <= driver - ours <= count * ROUNDING
        yield judge(f"{name}, {count} allocations: the ledger", expected, right and ours > 0 and way["left"] == 0, found)


def state(machine):
    runtime = machine.runtime("shared")
    bare, hooked = machine.run("state", runtime), machine.run("state", runtime, preload=PROBE)
    for question, is_of_it in (
        ("errors, the last one that sticks too", lambda what: "capture" not in what),
        ("how stream captures end", lambda what: "capture" in what),
    ):
        pairs = [(one, other) for one, other in itertools.zip_longest(bare, hooked, fillvalue=("nothing", "nothing"))
                 if is_of_it(one[0])]  # fmt: skip
        wrong = [f"{one[0]}: {one[1]} without, {other[1]} with" for one, other in pairs if one != other]
        found = wrong[0] if wrong else f"{len(pairs)} the same"
        yield judge(question, f"{len(pairs)} results the same with the library", pairs and not wrong, found)
