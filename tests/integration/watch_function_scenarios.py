"""What src/python/watch.h promises for plain functions: the program sees no difference, C sees every call."""

import functools
import gc
import inspect
import pickle
import sys
import threading
import traceback
import types
import typing
import warnings
import weakref

from scenarios import run_all, scenario
from watched import BY_SWAP, PROBE, calls, try_to_watch, watch

def make_execute():
    """A function object of its own each time, in the way of ComfyUI's."""

    # Comments that inspect.getcomments finds.
    def execute(server, current_item: str, extra_data={"client": 1}) -> tuple:
        "Runs a node."
        try:
            output = server(current_item)
        except ValueError as error:
            return (False, traceback.format_exc(), error)
        return (True, output, extra_data)

    execute.marked = ["by", "custom", "nodes"]
    return with_own_code(execute)


def with_own_code(function):
    """The code object of a nested function is shared by all that are made from it; not this one's."""
    function.__code__ = function.__code__.replace()
    return function


# ---- what is reported


@scenario
def arguments_are_found_by_name_however_they_were_passed():
    execute = make_execute()
    events = watch(execute, "current_item", "extra_data", "absent")
    server = str.upper
    assert execute(server, "a") == (True, "A", {"client": 1})
    assert execute(server, current_item="b", extra_data={}) == (True, "B", {})
    assert execute(extra_data=None, current_item="c", server=server) == (True, "C", None)
    assert [arguments for arguments, _, _ in calls(events)] == [
        ("a", {"client": 1}, None), ("b", {}, None), ("c", None, None)]


@scenario
def values_are_those_that_the_caller_gets():
    execute = make_execute()
    events = watch(execute)
    result = execute(str.upper, "a")
    ((_, value, raised),) = calls(events)
    assert value is result and not raised


@scenario
def an_exception_reaches_the_caller_unchanged_and_is_seen():
    def fail(error):
        raise error

    events = watch(fail)
    error = KeyError("told")
    try:
        fail(error)
    except KeyError as raised:
        assert raised is error and raised.__context__ is None and raised.__cause__ is None
    else:
        raise AssertionError("swallowed")
    if BY_SWAP:
        ((_, value, raised),) = calls(events)
        assert value is error and raised


@scenario
def a_function_watched_twice_is_reported_once():
    execute = make_execute()
    events = watch(execute)
    code = execute.__code__
    assert watch(execute) == [] and execute.__code__ is code
    execute(str.upper, "a")
    assert len(calls(events)) == 1


@scenario
def two_functions_with_the_same_code_are_both_watched():
    first, second = make_execute(), make_execute()
    second.__code__ = first.__code__
    first_events, second_events = watch(first), watch(second)
    first(str.upper, "a")
    assert len(calls(first_events)) == 1
    second(str.upper, "b")
    assert len(calls(first_events)) + len(calls(second_events)) == 2


@scenario
def calls_on_several_threads_at_once_are_told_apart():
    def meet(name, barrier):
        barrier.wait(30)
        return name

    events = watch(meet, "name")
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=meet, args=(n, barrier)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((arguments[0], value) for arguments, value, _ in calls(events)) == [(n, n) for n in range(8)]


@scenario
def nested_calls_have_keys_of_their_own():
    def descend(n, descend):
        return n and descend(n - 1, descend)

    events = watch(descend, "n")
    descend(50, descend)
    assert [arguments[0] for arguments, _, _ in calls(events)] == list(range(51))


# ---- what the program sees


KINDS = 0x2AF  # of co_flags: all but NESTED and NOFREE, which ask nothing of callers


def properties(function):
    """All that a program can ask a function for, but its constants and its body."""
    code = function.__code__
    return {
        "attributes": {name: getattr(function, name) for name in (
            "__name__", "__qualname__", "__module__", "__doc__", "__dict__", "__defaults__", "__kwdefaults__",
            "__annotations__", "__closure__", "marked")},
        "globals": id(function.__globals__),
        "signature": str(inspect.signature(function)),
        "hints": str(typing.get_type_hints(function)),
        "source": inspect.getsource(function),
        "lines": inspect.getsourcelines(function)[1],
        "file": inspect.getsourcefile(function),
        "comments": inspect.getcomments(function),
        "kind": [test(function) for test in (
            inspect.isfunction, inspect.iscoroutinefunction, inspect.isgeneratorfunction,
            inspect.isasyncgenfunction)],
        "bound": str(inspect.signature(types.MethodType(function, 1))),
        "closure": inspect.getclosurevars(function).nonlocals,
        "code": [getattr(code, name, None) for name in (
            "co_name", "co_qualname", "co_filename", "co_firstlineno", "co_argcount", "co_posonlyargcount",
            "co_kwonlyargcount", "co_freevars", "co_cellvars")],
        "flags": code.co_flags & KINDS,
        "parameters": code.co_varnames[: code.co_argcount],
        "arguments": inspect.getcallargs(function, 1, 2),
        "hash": hash(function),
    }


@scenario
def everything_that_can_be_asked_of_a_function_stays():
    execute = make_execute()
    wrapped = functools.wraps(execute)(lambda: None)
    partial = functools.partial(execute, 1)
    before = properties(execute)
    events = watch(execute)
    assert properties(execute) == before
    assert wrapped.__wrapped__ is execute and partial.func is execute
    execute(str.upper, "a")
    assert len(calls(events)) == 1


@scenario
def positional_only_parameters_stay_so():
    def execute(server, current_item, /, extra_data=None):
        return current_item

    before = str(inspect.signature(execute))
    events = watch(execute, "current_item")
    assert str(inspect.signature(execute)) == before
    assert execute(1, 2) == 2
    try:
        execute(1, current_item=2)
    except TypeError:
        pass
    else:
        raise AssertionError("taken by name")
    assert [arguments for arguments, _, _ in calls(events)] == [(2,)]


@scenario
def wrong_calls_fail_as_before():
    def messages(function):
        for call in (lambda: function(), lambda: function(1), lambda: function(1, 2, 3, 4), lambda: function(1, 2, no=3)):
            try:
                call()
            except TypeError as error:
                yield str(error)

    execute = make_execute()
    before = list(messages(execute))
    events = watch(execute)
    assert len(before) == 4 and list(messages(execute)) == before and events == []


@scenario
def defaults_may_be_replaced_later():
    execute = make_execute()
    events = watch(execute, "extra_data")
    execute.__defaults__ = (5,)
    assert execute(str.upper, "a") == (True, "A", 5)
    assert [arguments for arguments, _, _ in calls(events)] == [(5,)]


def module_level(server):
    return server


@scenario
def pickles_by_name_as_before():
    watch(module_level)
    assert pickle.loads(pickle.dumps(module_level)) is module_level


@scenario
def the_traceback_of_an_error_that_is_caught_inside_is_the_same():
    execute = make_execute()

    def server(item):
        raise ValueError(item)

    results = []
    for watched in (False, True):
        if watched:
            watch(execute)
        results.append(execute(server, "a")[1])
    assert results[0] == results[1] and results[0].count("\n") >= 5, results


@scenario
def nothing_is_kept_alive():
    class Tensor:
        pass

    def execute(make, current_item):
        output = make()
        del make
        return (True, output, None)

    def make():
        output = Tensor()
        alive.append(weakref.ref(output))
        return output

    alive = []
    events = watch(execute, "current_item")
    gc.disable()
    try:
        execute(make, make())
        del events[:]
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


# ---- errors on their way


@scenario
def an_error_being_handled_stays_the_context():
    def fail(item):
        raise KeyError(item)

    watch(fail)
    try:
        try:
            raise OSError("first")
        except OSError as first:
            fail("second")
    except KeyError as second:
        assert isinstance(second.__context__, OSError) and second.__context__.__context__ is None
        return
    raise AssertionError("swallowed")


@scenario
def handlers_that_raise_inside_leave_no_trace():
    def execute(fails):
        if fails:
            raise KeyError("told")
        return sys.exc_info()

    def handler(event):
        try:
            raise RuntimeError("the handler's own")
        except RuntimeError:
            raise ZeroDivisionError("left to the probe, which clears it")

    watch(execute, then=handler)
    assert execute(False) == (None, None, None)
    try:
        execute(True)
    except KeyError as error:
        assert error.__context__ is None
    assert sys.exc_info() == (None, None, None)


@scenario
def errors_set_in_finally_blocks_win():
    def execute(how):
        try:
            raise KeyError("first")
        finally:
            if how == "raise":
                raise OSError("second")
            if how == "return":
                return "kept"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        events = watch(execute, "how")
    assert execute("return") == "kept"
    for how, wanted in (("raise", OSError), ("pass", KeyError)):
        try:
            execute(how)
        except wanted as error:
            assert isinstance(error.__context__, KeyError) == (how == "raise")
        else:
            raise AssertionError("swallowed")
    if BY_SWAP:
        assert [(a[0], type(value), raised) for a, value, raised in calls(events)] == [
            ("return", str, False), ("raise", OSError, True), ("pass", KeyError, True)]


@scenario
def a_base_exception_passes_and_is_seen():
    class Killed(BaseException):
        pass

    def execute(kind):
        raise kind("told")

    events = watch(execute, "kind")
    for kind in (Killed, SystemExit, KeyboardInterrupt, GeneratorExit):
        try:
            execute(kind)
        except kind:
            pass
    if BY_SWAP:
        assert [type(value) for _, value, _ in calls(events)] == [Killed, SystemExit, KeyboardInterrupt, GeneratorExit]


# ---- the recursion limit


def depth_until_the_limit(function):
    """How often `function` (called with a list) can call itself, measured from a fixed depth."""
    reached = []
    try:
        function(reached)
    except RecursionError:
        pass
    else:
        raise AssertionError("no limit in force")
    return len(reached)


def descend(reached):
    reached.append(None)
    descend(reached)


@scenario
def the_recursion_limit_is_where_it_was():
    before = depth_until_the_limit(descend)
    limit = sys.getrecursionlimit()
    watch(descend, silent=True)
    after = depth_until_the_limit(descend)
    assert sys.getrecursionlimit() == limit
    if BY_SWAP and sys.version_info >= (3, 12):
        assert before * 0.7 < after <= before  # C calls have a limit of their own there
    else:
        assert after == before, (before, after)


@scenario
def the_recursion_limit_comes_back_after_errors_too():
    def fail(n, fail):
        if n:
            return fail(n - 1, fail)
        raise KeyError

    limit = sys.getrecursionlimit()
    watch(fail)
    for _ in range(10):
        try:
            fail(5, fail)
        except KeyError:
            pass
    assert sys.getrecursionlimit() == limit


@scenario
def a_recursion_limit_that_is_set_inside_stays():
    def execute(limit, inner):
        sys.setrecursionlimit(limit or sys.getrecursionlimit())
        if inner:
            inner(limit and limit + 500, None)

    before = sys.getrecursionlimit()
    watch(execute)
    try:
        for limit, after in ((3000, 3500), (None, 3500)):
            execute(limit, execute)
            assert sys.getrecursionlimit() == after
    finally:
        sys.setrecursionlimit(before)


@scenario
def the_recursion_limit_counts_in_other_functions_called_inside():
    def helper(reached):
        reached.append(None)
        helper(reached)

    def execute(server, current_item):
        return server(current_item)

    before = execute(depth_until_the_limit, helper)
    watch(execute, silent=True)
    assert execute(depth_until_the_limit, helper) == before


# ---- what cannot be watched by a stub


def with_free_variable():
    outer = []

    def execute(server):
        return outer and server

    return execute


def with_arguments(*args):
    return args


def with_keywords(**kwargs):
    return kwargs


def with_keyword_only(server, *, current_item=1):
    return current_item


def a_generator(server):
    yield server


async def an_asynchronous_generator(server):
    yield server


def with_our_name(comfydd_):
    return comfydd_


class WithCode:
    """No function, but it has what one has."""

    __code__ = with_arguments.__code__

    def __call__(self, comfydd_):
        return comfydd_


UNSUITABLE = [
    with_free_variable(), with_arguments, with_keywords, with_keyword_only, a_generator,
    an_asynchronous_generator, with_our_name]


@scenario
def what_does_not_suit_a_stub_is_left_alone():
    for function in map(with_own_code, UNSUITABLE):
        code = function.__code__
        watched = try_to_watch(function)
        assert function.__code__ is code, function
        assert BY_SWAP == (watched is None), function
    assert with_free_variable()(1) == [] and with_arguments(1) == (1,) and with_keywords(a=1) == {"a": 1}
    assert with_keyword_only(1, current_item=2) == 2 and list(a_generator(1)) == [1] and with_our_name(1) == 1


@scenario
def what_is_no_function_is_refused():
    code = WithCode.__code__
    for thing in (len, int, print.__call__, 5, None, WithCode()):
        assert try_to_watch(thing) is None or not BY_SWAP and isinstance(thing, WithCode), thing
    assert WithCode.__code__ is code


# ---- others who work on the same function


@scenario
def a_code_object_put_there_later_is_obeyed():
    """As ddtrace wraps below 3.12: the function gets new code, which calls a copy with the code that it had."""
    execute = make_execute()
    events = watch(execute, "current_item")
    seen = []
    inner = types.FunctionType(execute.__code__, execute.__globals__, "execute", execute.__defaults__, execute.__closure__)

    def wrapper(server, current_item, extra_data=None):
        WRAPPER["seen"].append(current_item)
        return WRAPPER["inner"](server, current_item, extra_data)

    WRAPPER.update(seen=seen, inner=inner)
    execute.__code__ = wrapper.__code__
    again = watch(execute)  # as when the module is found a second time
    assert execute.__code__ is wrapper.__code__ and again == []
    assert execute(str.upper, "a") == (True, "A", {"client": 1}) and seen == ["a"]
    assert [arguments for arguments, _, _ in calls(events)] == [("a",)]


WRAPPER = {}


@scenario
def a_program_may_take_the_function_back():
    execute = make_execute()
    code = execute.__code__
    events = watch(execute)
    execute.__code__ = code
    assert execute(str.upper, "a") == (True, "A", {"client": 1})
    assert len(calls(events)) == (0 if BY_SWAP else 1)


@scenario
def warnings_as_errors_change_nothing():
    execute = make_execute()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events = watch(execute)
        execute(str.upper, "a")
    assert len(calls(events)) == 1


@scenario
def the_mechanism_is_the_one_that_was_asked_for():
    execute = make_execute()
    code = execute.__code__
    watch(execute)
    assert (execute.__code__ is code) == (not BY_SWAP)
    assert PROBE.probe_mechanism(execute) == (b"code swap" if BY_SWAP else b"sys.monitoring")
    assert PROBE.probe_mechanism(make_execute()) == b"nothing"


if __name__ == "__main__":
    run_all()
