"""What src/python/watch.h promises for coroutine functions."""

import asyncio
import collections.abc
import contextvars
import gc
import inspect
import os
import sys
import traceback
import types
import warnings
import weakref

from scenarios import run_all, scenario
from watched import BY_SWAP, PROBE, calls, try_to_watch, watch

Closed = type(None)  # what is reported for a coroutine that was closed or thrown away


@types.coroutine
def pause(value=None):
    """Suspends: yields `value` to whoever drives the coroutine, and returns what is sent."""
    return (yield value)


def make_execute():
    """A function object of its own each time."""

    async def execute(current_item, steps=1):
        sent = [await pause(step) for step in range(steps)]
        return (current_item, sent)

    execute.__code__ = execute.__code__.replace()  # else all of them share it
    return execute


def drive(coroutine, *values):
    """What the coroutine yields, then what it returns, when these values are sent."""
    yielded = [coroutine.send(None)]
    try:
        for value in values:
            yielded.append(coroutine.send(value))
    except StopIteration as stop:
        return yielded, stop.value
    return yielded, "suspended"


def ends(events):
    """[(value, raised)] of the ended calls; exceptions as their types."""
    return [(type(value) if raised else value, raised) for _, value, raised in calls(events)]


# ---- what is reported


@scenario
def a_call_begins_when_it_is_awaited_first_and_ends_once():
    execute = make_execute()
    events = watch(execute, "current_item", "steps")
    coroutine = execute("a", steps=2)
    assert events == []
    assert coroutine.send(None) == 0 and len(events) == 1
    assert coroutine.send("x") == 1 and len(events) == 1
    try:
        coroutine.send("y")
    except StopIteration as stop:
        assert stop.value == ("a", ["x", "y"])
    assert calls(events) == [(("a", 2), ("a", ["x", "y"]), False)]


@scenario
def one_that_never_waits_is_reported_as_well():
    execute = make_execute()
    events = watch(execute)
    assert asyncio.run(execute("a", 0)) == ("a", [])
    assert ends(events) == [(("a", []), False)]


@scenario
def every_kind_of_value_is_returned():
    async def execute(value):
        return value

    events = watch(execute)
    values = [None, (), (1, 2), [], StopIteration(5), KeyError("no error"), KeyError, ((1,),)]
    for value in values:
        assert asyncio.run(execute(value)) is value
    assert [value for value, _ in ends(events)] == values


@scenario
def one_that_is_never_awaited_warns_as_before_and_does_not_show():
    execute = make_execute()
    told = []
    for watched in (False, True):
        events = watch(execute) if watched else []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            execute("a")
            gc.collect()
        told.append([str(warning.message) for warning in caught])
    assert len(told[0]) == 1 and told[0] == told[1] and events == []


@scenario
def coroutines_that_take_turns_are_told_apart():
    execute = make_execute()
    events = watch(execute, "current_item")
    coroutines = [execute(n, 3) for n in range(5)]
    assert [c.send(None) for c in coroutines] == [0] * 5
    for _ in range(2):
        for coroutine in reversed(coroutines):
            coroutine.send(None)
    for coroutine in coroutines[1:] + coroutines[:1]:
        try:
            coroutine.send(None)
        except StopIteration:
            pass
    assert [arguments[0] for arguments, _, _ in calls(events)] == [1, 2, 3, 4, 0]


@scenario
def they_may_move_between_tasks_and_threads():
    async def main():
        return await asyncio.gather(*(execute(n, 0) for n in range(20)), asyncio.to_thread(asyncio.run, execute("t", 0)))

    execute = make_execute()
    events = watch(execute, "current_item")
    assert [value for value, _ in asyncio.run(main())] == list(range(20)) + ["t"]
    assert len(calls(events)) == 21


# ---- what the program sees


@scenario
def everything_that_can_be_asked_of_it_stays():
    def properties(function):
        coroutine = function("a")
        try:
            return {
                "function": [
                    inspect.iscoroutinefunction(function), inspect.isfunction(function),
                    str(inspect.signature(function)), inspect.getsource(function)],
                "coroutine": [
                    asyncio.iscoroutine(coroutine), inspect.iscoroutine(coroutine), inspect.isawaitable(coroutine),
                    isinstance(coroutine, collections.abc.Coroutine), type(coroutine), coroutine.__name__,
                    coroutine.__qualname__, inspect.getcoroutinestate(coroutine), coroutine.cr_await],
                "code": [coroutine.cr_code.co_name, coroutine.cr_code.co_filename, coroutine.cr_frame.f_lineno],
            }
        finally:
            coroutine.close()

    execute = make_execute()
    before = properties(execute)
    watch(execute)
    assert properties(execute) == before


@scenario
def what_is_sent_and_yielded_passes():
    results = []
    for watched in (False, True):
        execute = make_execute()
        if watched:
            watch(execute)
        results.append([drive(execute("a", 3), "x", (1, 2), None), drive(execute("a", 3), "x")])
    assert results[0] == results[1]


@scenario
def context_variables_are_the_tasks():
    async def execute(variable, value):
        variable.set(value)
        await asyncio.sleep(0)
        return variable.get()

    async def main():
        directly = await execute(variable, "direct")
        in_tasks = await asyncio.gather(execute(variable, "a"), execute(variable, "b"))
        return directly, in_tasks, variable.get()

    variable = contextvars.ContextVar("variable", default="outer")
    watch(execute)
    assert asyncio.run(main()) == ("direct", ["a", "b"], "direct")


@scenario
def the_traceback_of_an_error_that_is_caught_inside_is_the_same():
    async def execute(fails):
        try:
            await asyncio.sleep(0)
            fails()
        except ValueError:
            return traceback.format_exc()

    def fails():
        raise ValueError("told")

    texts = []
    for watched in (False, True):
        if watched:
            watch(execute)
        texts.append(asyncio.run(execute(fails)))
    assert texts[0] == texts[1] and "fails()" in texts[0]


@scenario
def the_traceback_of_an_error_that_leaves_shows_the_function_only():
    async def execute():
        await asyncio.sleep(0)
        raise KeyError("told")

    def frames():
        try:
            asyncio.run(execute())
        except KeyError as error:
            shown = traceback.extract_tb(error.__traceback__)
            return [(f.filename, f.name, f.lineno) for f in shown if f.filename == __file__]

    before = frames()
    watch(execute)
    assert frames() == before and len(before) == 2


@scenario
def what_a_cancellation_carries_is_the_same():
    async def execute(again, depth):
        try:
            await (again(again, depth - 1) if depth else asyncio.sleep(60))
        finally:
            await asyncio.sleep(0)

    async def main():
        task = asyncio.ensure_future(execute(execute, 2))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            return "".join(traceback.format_exception(type(error), error, error.__traceback__))

    before = asyncio.run(main())
    watch(execute)
    assert asyncio.run(main()) == before and before.count(", in execute") >= 3, before


@scenario
def nothing_is_kept_alive():
    class Tensor:
        pass

    async def execute(make, current_item):
        output = make()
        await asyncio.sleep(0)
        return output is None

    async def main():
        await execute(make, make())

    def make():
        output = Tensor()
        alive.append(weakref.ref(output))
        return output

    alive = []
    watch(execute)
    gc.disable()
    try:
        asyncio.run(main())
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


@scenario
def a_cycle_through_a_suspended_call_is_collected():
    class Tensor:
        pass

    async def execute(tensor):
        await pause()

    events = watch(execute)
    tensor = Tensor()
    reference = weakref.ref(tensor)
    tensor.coroutine = execute(tensor)
    tensor.coroutine.send(None)
    del tensor
    gc.collect()
    assert reference() is None
    if BY_SWAP:
        assert ends(events) == [(Closed, True)]


# ---- errors, and ends half-way


class Told(Exception):
    pass


async def catching(how):
    """Stops at a pause, and answers what is thrown into it."""
    try:
        await pause("first")
    except Told:
        if how == "return":
            return "returned"
        if how == "wait":
            return await pause("second")
        if how == "raise":
            raise OSError("instead")
        raise
    finally:
        if how == "finally":
            raise ZeroDivisionError


THROWN = [
    (Told,), (Told("instance"),), (Told, "value"), (Told, Told("both"), None), (KeyError("not caught"),),
    (GeneratorExit,), (StopIteration("as an error"),), (asyncio.CancelledError(),)]


def answer(function, how, thrown):
    coroutine = function(how)
    coroutine.send(None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several arguments are deprecated since 3.12
            answered = ["yielded", coroutine.throw(*thrown)]
        coroutine.close()
    except BaseException as error:
        answered = [type(error), str(error), type(error.__cause__), type(error.__context__)]
    return answered + [inspect.getcoroutinestate(coroutine)]


@scenario
def what_is_thrown_arrives_and_is_answered_as_before():
    cases = [(how, thrown) for how in ("return", "wait", "raise", "again", "finally") for thrown in THROWN]
    before = [answer(catching, *case) for case in cases]
    events = watch(catching, "how")
    for case, wanted in zip(cases, before):
        assert answer(catching, *case) == wanted, case
    if BY_SWAP:
        assert len(calls(events)) == len(cases)


@scenario
def an_exception_is_reported_with_its_traceback():
    async def execute():
        await asyncio.sleep(0)
        raise KeyError("told")

    lines = []
    events = watch(
        execute,
        then=lambda event: event.raised and lines.extend(traceback.extract_tb(event.value.__traceback__)))
    try:
        asyncio.run(execute())
    except KeyError:
        pass
    if BY_SWAP:
        assert ends(events) == [(KeyError, True)]
        assert lines and lines[-1].line == 'raise KeyError("told")'


@scenario
def closing_runs_what_is_inside_as_before():
    async def execute(how, log):
        try:
            await pause()
        except GeneratorExit:
            log.append(how)
            if how == "ignore":
                await pause()
            if how == "raise":
                raise KeyError("while closing")
            raise

    def close(how):
        coroutine = execute(how, log)
        coroutine.send(None)
        try:
            return coroutine.close()
        except BaseException as error:
            return [type(error), str(error)]

    log = []
    kinds = ["pass", "ignore", "raise"]
    before = [close(how) for how in kinds]
    events = watch(execute, "how")
    assert [close(how) for how in kinds] == before
    assert log == kinds * 2
    if BY_SWAP:
        ended = calls(events)
        assert [arguments[0] for arguments, _, _ in ended] == kinds and all(raised for _, _, raised in ended)


@scenario
def one_that_is_thrown_away_half_way_is_ended():
    execute = make_execute()
    events = watch(execute)
    coroutine = execute("a")
    coroutine.send(None)
    gc.disable()
    try:
        del coroutine
    finally:
        gc.enable()
    if BY_SWAP:
        assert ends(events) == [(Closed, True)]


@scenario
def one_that_is_closed_is_ended_then():
    execute = make_execute()
    events = watch(execute)
    coroutine = execute("a")
    coroutine.send(None)
    awaited = coroutine.cr_await
    coroutine.close()
    if BY_SWAP:
        assert ends(events) == [(Closed, True)]
    del awaited


@scenario
def one_that_is_lost_before_it_is_awaited_is_ended():
    """As by Ctrl-C between the two."""
    execute = make_execute()
    events = watch(execute)
    callables = [constant for constant in execute.__code__.co_consts if type(constant) is type(len)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the coroutine that nobody awaits
        for call in callables:
            call(("a", 1))
    assert ends(events) == [(Closed, True)] * BY_SWAP


@scenario
def after_the_end_of_watching_nothing_is_reported():
    execute = make_execute()
    events = watch(execute)
    halfway = execute("a", steps=2)
    halfway.send(None)
    pid = os.fork()
    if pid == 0:  # the end is for ever: for this process alone
        try:
            told = PROBE.probe_stop(), halfway.send("x"), drive(execute("b"), "y")
            os._exit(told != (1, 1, ([0], ("b", ["y"]))) or len(events) != 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


@scenario
def one_that_is_cancelled_is_ended():
    async def execute(item):
        await asyncio.sleep(60)

    async def main(limit):
        task = asyncio.ensure_future(execute("a"))
        await asyncio.sleep(0)
        if limit:
            await asyncio.wait_for(task, 0.001)
        task.cancel("by name") if sys.version_info < (3, 14) else task.cancel()
        await task

    events = watch(execute)
    for limit, wanted in ((False, asyncio.CancelledError), (True, asyncio.TimeoutError)):
        try:
            asyncio.run(main(limit))
        except wanted:
            continue
        raise AssertionError("swallowed")
    if BY_SWAP:
        assert ends(events) == [(asyncio.CancelledError, True)] * 2


@scenario
def an_error_being_handled_stays_the_context():
    async def execute():
        await asyncio.sleep(0)
        raise KeyError("second")

    async def main():
        try:
            raise OSError("first")
        except OSError:
            await execute()

    watch(execute)
    try:
        asyncio.run(main())
    except KeyError as error:
        assert isinstance(error.__context__, OSError) and error.__context__.__context__ is None
        return
    raise AssertionError("swallowed")


@scenario
def a_finished_coroutine_cannot_be_awaited_again():
    execute = make_execute()
    watch(execute)
    coroutine = execute("a", 0)
    asyncio.run(coroutine)
    try:
        asyncio.run(coroutine)
    except RuntimeError as error:
        assert str(error) == "cannot reuse already awaited coroutine"
        return
    raise AssertionError("awaited again")


@scenario
def a_nested_chain_is_watched_at_every_level():
    async def execute(n, execute):
        await asyncio.sleep(0)
        return n and await execute(n - 1, execute)

    events = watch(execute, "n")
    assert asyncio.run(execute(30, execute)) == 0
    assert [arguments[0] for arguments, _, _ in calls(events)] == list(range(31))


@scenario
def asynchronous_generators_and_closures_are_left_alone():
    async def closure(item):
        return execute

    async def generator(item):
        yield item

    execute = None
    for function in (closure, generator):
        code = function.__code__
        assert (try_to_watch(function) is None) == BY_SWAP and function.__code__ is code


if __name__ == "__main__":
    run_all()
