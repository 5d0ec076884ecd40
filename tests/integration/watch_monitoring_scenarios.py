"""How src/python/watch_monitoring.c shares sys.monitoring with others. Each scenario needs a fresh process.

usage: watch_monitoring_scenarios.py .../watch_probe.so monitoring SCENARIO"""

import sys
import types

from scenarios import run_all, scenario
from watched import PROBE, calls, watch

MONITORING = getattr(sys, "monitoring", None)
TOOLS = range(6)


def execute(server, current_item):
    return server(current_item)


def global_events():
    return [MONITORING.get_events(tool) for tool in TOOLS if MONITORING.get_tool(tool)]


def use(*tools):
    """Takes tool ids, as others do."""
    for tool in tools:
        MONITORING.use_tool_id(tool, "tool %d" % tool)


def assert_watched(events):
    assert execute(str.upper, "a") == "A"
    assert [value for _, value, _ in calls(events)] == ["A"]


@scenario
def takes_the_free_tool_five():
    assert_watched(watch(execute))
    assert [MONITORING.get_tool(tool) for tool in TOOLS] == [None] * 5 + ["comfydd"]
    assert PROBE.probe_mechanism(execute) == b"sys.monitoring"


@scenario
def takes_tool_zero_where_five_is_taken():
    use(5)
    assert_watched(watch(execute))
    assert MONITORING.get_tool(0) == "comfydd" and MONITORING.get_tool(5) == "tool 5"


@scenario
def swaps_code_where_both_are_taken():
    use(0, 5)
    code = execute.__code__
    assert_watched(watch(execute))
    assert execute.__code__ is not code and PROBE.probe_mechanism(execute) == b"code swap"
    assert [MONITORING.get_tool(tool) for tool in TOOLS] == ["tool 0"] + [None] * 4 + ["tool 5"]


@scenario
def sets_no_global_event():
    events = watch(execute)
    code = execute.__code__
    assert global_events() == [0]
    wanted = MONITORING.events.PY_START | MONITORING.events.PY_RETURN
    assert MONITORING.get_local_events(5, code) == wanted
    assert_watched(events)

    def fail():
        raise KeyError

    for function in (fail, global_events, calls):
        assert MONITORING.get_local_events(5, function.__code__) == 0
    assert global_events() == [0]


@scenario
def exceptions_elsewhere_call_nothing_of_ours():
    """Not even when one leaves the watched function: that would be PY_UNWIND."""
    events = watch(execute)

    def fail(item):
        raise KeyError(item)

    for _ in range(100):
        try:
            fail(1)
        except KeyError:
            pass
    assert events == []
    try:
        execute(fail, 1)
    except KeyError:
        pass
    assert [event.what for event in events] == ["enter"]


@scenario
def tools_of_others_see_what_they_saw_before():
    """coverage takes tool 1, cProfile and ddtrace's profiler 2, ddtrace 3 and 4; torch's debugger takes 0."""
    seen = []
    events = MONITORING.events

    def note(tool, event, answer=None):
        def callback(code, *_):
            if code.co_name in ("execute", "helper"):
                seen.append((tool, event, code.co_name))
            return answer

        return callback

    def helper(item):
        return item

    use(0, 1, 2, 3, 4)
    for tool in (0, 1, 2, 3, 4):
        for event in ("PY_START", "PY_RETURN"):
            MONITORING.register_callback(tool, getattr(events, event), note(tool, event))
    MONITORING.set_events(2, events.PY_START | events.PY_RETURN)
    for code in (execute.__code__, helper.__code__):
        MONITORING.set_local_events(4, code, events.PY_START | events.PY_RETURN)
        MONITORING.set_local_events(0, code, events.PY_START)
    state = [(MONITORING.get_tool(tool), MONITORING.get_events(tool), MONITORING.get_local_events(tool, execute.__code__))
             for tool in (0, 1, 2, 3, 4)]
    execute(helper, 1)
    before = sorted(seen)
    del seen[:]
    ours = watch(execute)
    execute(helper, 1)
    assert sorted(seen) == before and len(calls(ours)) == 1
    assert [(MONITORING.get_tool(tool), MONITORING.get_events(tool), MONITORING.get_local_events(tool, execute.__code__))
            for tool in (0, 1, 2, 3, 4)] == state


@scenario
def what_others_have_disabled_stays_disabled():
    """restart_events() would undo it, for every tool."""
    seen = []

    def callback(code, *_):
        seen.append(code.co_name)
        return MONITORING.DISABLE

    use(3)
    MONITORING.register_callback(3, MONITORING.events.PY_START, callback)
    MONITORING.set_local_events(3, execute.__code__, MONITORING.events.PY_START)
    execute(str.upper, "a")
    assert seen == ["execute"]
    events = watch(execute)
    assert_watched(events)
    execute(str.upper, "b")
    assert seen == ["execute"]


@scenario
def a_tool_that_starts_later_sees_everything():
    events = watch(execute)
    seen = []
    use(1)
    MONITORING.register_callback(1, MONITORING.events.PY_START, lambda code, _: seen.append(code.co_name))
    MONITORING.set_events(1, MONITORING.events.PY_START)
    execute(str.upper, "a")
    MONITORING.set_events(1, 0)
    assert seen.count("execute") == 1 and len(calls(events)) == 1


@scenario
def restarting_and_profiling_by_others_does_not_disturb():
    import cProfile

    events = watch(execute)
    execute(str.upper, "a")
    MONITORING.restart_events()
    execute(str.upper, "b")
    profiler = cProfile.Profile()
    profiler.runcall(execute, str.upper, "c")
    sys.setprofile(lambda *_: None)
    execute(str.upper, "d")
    sys.setprofile(None)
    sys.settrace(lambda *_: None)
    execute(str.upper, "e")
    sys.settrace(None)
    assert [value for _, value, _ in calls(events)] == list("ABCDE")


@scenario
def a_lost_exit_shows_as_the_same_key_again():
    """An exception is not seen: whoever pairs the events must close what is open when the key comes again."""
    events = watch(execute)

    def fail(item):
        raise KeyError(item)

    for function in (fail, fail, str):
        try:
            execute(function, 1)
        except KeyError:
            pass
    assert [event.what for event in events] == ["enter", "enter", "enter", "leave"]
    assert events[-1].key == events[-2].key


@scenario
def a_hundred_functions_are_watched():
    """More than monitoring has room for: the others get stubs."""
    functions = []
    for n in range(100):
        scope = {}
        exec("def execute(server): return server", scope)
        functions.append(scope["execute"])
    codes = [function.__code__ for function in functions]
    everything = [watch(function) for function in functions]
    assert sum(function.__code__ is code for function, code in zip(functions, codes)) <= 64
    assert [function(n) for n, function in enumerate(functions)] == list(range(100))
    assert [[value for _, value, _ in calls(events)] for events in everything] == [[n] for n in range(100)]


@scenario
def code_rewritten_later_does_not_crash():
    """By a tool that injects bytecode: the new code object is not ours, and is left alone."""
    events = watch(execute)
    original = execute.__code__
    execute.__code__ = original.replace(co_name="rewritten")
    assert execute(str.upper, "a") == "A"
    inner = types.FunctionType(original, globals())
    assert inner(str.upper, "b") == "B" and [value for _, value, _ in calls(events)] == ["B"]


if __name__ == "__main__":
    run_all(*sys.argv[3:])
