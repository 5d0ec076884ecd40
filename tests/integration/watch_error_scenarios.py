"""What src/python/watch.h promises for errors that leave a watched function: whoever catches them sees no difference."""

import gc
import sys
import traceback
import weakref

from scenarios import run_all, scenario
from watched import BY_SWAP, watch


@scenario
def the_exception_has_its_traceback_when_it_is_reported():
    def fail():
        raise KeyError("told")

    stacks = []
    watch(fail, then=lambda event: event.raised and stacks.extend(traceback.extract_tb(event.value.__traceback__)))
    try:
        fail()
    except KeyError:
        pass
    if BY_SWAP:
        assert [frame.line for frame in stacks] == ['raise KeyError("told")']


@scenario
def the_traceback_of_an_error_that_leaves_shows_the_function_only():
    def fail(item):
        raise KeyError(item)

    def frames():
        try:
            fail(1)
        except KeyError as error:
            return [(frame.filename, frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]

    before = frames()
    watch(fail)
    assert frames() == before and len(before) == 2


@scenario
def what_an_error_that_leaves_carries_is_the_same():
    def fail(again, depth):
        if depth:
            again(again, depth - 1)
        try:
            {}["key"]
        except KeyError:
            raise ValueError(depth)

    def told():
        try:
            raise OSError("being handled by the caller")
        except OSError:
            try:
                fail(fail, 2)
            except ValueError as error:
                inside = sys.exc_info()[1] is error
                text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            return inside, text, repr(sys.exc_info()[1])

    before = told()
    watch(fail)
    assert told() == before, told()[1]
    assert before[1].count(", in fail") == 4 and before[2].startswith("OSError")


@scenario
def the_callable_among_the_constants_takes_nothing_off_others_errors():
    def fail():
        raise KeyError("told")

    def others():
        {}["key"]

    watch(fail)
    callables = [constant for constant in fail.__code__.co_consts if type(constant) is type(len)]
    assert len(callables) == BY_SWAP
    for call in callables:
        assert call() is None
        try:
            others()
        except KeyError as error:
            assert call() is None
            assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][1:] == ["others"]


@scenario
def an_error_that_leaves_is_kept_by_nobody():
    class Failure(Exception):
        pass

    def fail(error):
        raise error()

    def once():
        try:
            fail(Failure)
        except Failure as error:
            return weakref.ref(error)

    events = watch(fail)
    gc.disable()
    counts = []
    for _ in range(10):
        failure = once()
        del events[:]
        assert failure() is None
        counts.append([sys.getrefcount(kept) for kept in (Failure, fail, fail.__code__)])
    assert counts[0] == counts[-1], counts


if __name__ == "__main__":
    run_all()
