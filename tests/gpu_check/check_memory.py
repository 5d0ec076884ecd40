"""What happens at an allocation: which layers are called, what the ledger has, what the program sees."""

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
        asked, found = told["asked"], told["ways"]
        question = f"{kind} runtime: it gets the driver's functions where hooks see it"
        yield judge(question, asked, f"{asked} questions to cuGetProcAddress_v2 at the start")
        for way in found:
            times, question = way["calls"], f"{kind} runtime, {way['what']}: one driver call each"
            right = sum(way["allocated"].values()) == times == sum(way["freed"].values())
            right = right and way["runtime"] == (times if kind == "shared" else 0)
            figures = f"{times} calls, {way['runtime']} seen in the runtime, {names(way['allocated'])}; {names(way['freed'])}"
            if way["own"] is not None:
                right = right and way["own"] == times
                figures += f"; {way['own']} not cut from a larger one"
            yield judge(question, right, figures)
        wrong = [f"{way['what']}: {way['live']} bytes, then {way['left']}" for way in found if not is_kept(way)]
        figures = "; ".join(wrong) or f"{sum(way['live'] for way in found)} bytes, 0 after"
        yield judge(f"{kind} runtime: the ledger has all while it lives, and nothing after", not wrong, figures)


def is_kept(way):
    return way["live"] and way["live"] == (way["bytes"] or way["live"]) and not way["left"]


def ledger(machine):
    for way in machine.run("ledger", machine.runtime("shared"), preload=PROBE):
        name, count, ours, driver = (way[key] for key in ("way", "count", "ledger", "driver"))
        figures = f"{count} allocations, ledger {ours}, less free {driver}, ledger afterwards {way['left']}"
        if "used" in way:
            figures += f", pool used {way['used']} reserved {way['reserved']}"
            right = 0 <= way["used"] - ours < count * UNIT and abs(driver - way["reserved"]) <= ROUNDING
        else:
            right = 0 <= driver - ours <= count * ROUNDING
        yield judge(f"{name}: the ledger is what cuMemGetInfo tells", right and ours > 0 and way["left"] == 0, figures)


def state(machine):
    runtime = machine.runtime("shared")
    bare, hooked = machine.run("state", runtime), machine.run("state", runtime, preload=PROBE)
    for question, is_of_it in (
        ("errors, the last one that sticks too, are the same with the library", lambda what: "capture" not in what),
        ("stream captures end the same with the library", lambda what: "capture" in what),
    ):
        pairs = [(one, other) for one, other in zip(bare, hooked) if is_of_it(one[0])]
        wrong = [f"{one[0]}: {one[1]} without, {other[1]} with" for one, other in pairs if one != other]
        yield judge(question, pairs and not wrong, wrong[0] if wrong else f"{len(pairs)} results")
