"""What src/python/exc_stack.h promises: exceptions that are being handled around and inside a watched coroutine."""

import sys

from scenarios import run_all, scenario
from watch_coroutine_scenarios import drive, pause
from watched import PROBE, watch

seen = []  # global, because closures cannot be watched


def note():
    seen.append(str(sys.exc_info()[1]))


def note_levels():
    seen.append(PROBE.probe_levels())


@scenario
def a_raise_does_not_look_at_our_own_coroutine():
    """Of what runs: the coroutine itself. (From 3.12 on a stub's coroutine is there too.)"""

    async def execute(item):
        note_levels()
        await pause()
        note_levels()

    def generator():
        note_levels()
        yield

    seen.clear()
    watch(execute, "item")
    next(generator())
    assert drive(execute(1), None)[1] is None
    assert seen == ([1, 1, 1] if sys.version_info < (3, 12) else [-1, -1, -1])


@scenario
def what_is_handled_around_a_coroutine_is_seen_in_it_and_after_it():
    async def execute(how):
        note()
        try:
            raise KeyError("inner")
        except KeyError as error:
            note()
            seen.append(str(error.__context__))
            await pause()
            note()
        note()
        await pause()
        note()
        if how == "raise":
            raise ValueError("end")

    async def caller(how):
        try:
            raise OSError("outer")
        except OSError:
            try:
                await execute(how)
            except ValueError as error:
                seen.append(str(error.__context__))
            note()
        note()

    def what_is_seen(how):
        seen.clear()
        coroutine = caller(how)
        for _ in range(2):
            coroutine.send(None)
            note()
        try:
            if how == "throw":
                coroutine.throw(ValueError("thrown"))
            else:
                coroutine.send(None)
        except StopIteration:
            seen.append(str(sys.exc_info()[1].__context__))
        note()
        return list(seen)

    bare = {how: what_is_seen(how) for how in ("return", "raise", "throw")}
    watch(execute, "how")
    assert {how: what_is_seen(how) for how in bare} == bare
    assert bare["raise"].count("outer") == 6, bare
    try:
        raise LookupError("around all")
    except LookupError:
        for how in bare:
            what_is_seen(how)
            assert str(sys.exc_info()[1]) == "around all"


if __name__ == "__main__":
    run_all()
