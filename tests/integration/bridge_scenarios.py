"""What the C side of the bridge promises (src/python/bridge.h, include/comfydd/shim.h), in any Python,
without ddtrace.

usage: bridge_scenarios.py .../bridge_probe.so"""

import os
import signal
import sys
import tempfile
import types

from scenarios import PROBE, Parent, Trace, run_all, scenario

HIGH, LOW = 0x6710000000000000, 2**63 + 5
TRACE = Trace(trace_id_high=HIGH, trace_id_low=LOW, root_span_id=2**64 - 1, priority=2, mechanism=4)


class Bridge:
    """Records what it is called with; as a context manager it is the registered one."""

    def __init__(self, enter=None, leave=None, current=None):
        self.entered, self.left = [], []
        self.enter = enter or (lambda *arguments: self.entered.append(arguments) or object())
        self.leave = leave or self.left.append
        self.current = current or (lambda: None)

    def __enter__(self):
        assert PROBE.comfydd_set_bridge(self.enter, self.leave, self.current) == 0
        return self

    def __exit__(self, *_):
        assert PROBE.comfydd_set_bridge(None, None, None) == 0


def stderr_of(function):
    """What `function` makes the library write."""
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            function()
        finally:
            os.dup2(before, 2)
            os.close(before)
        file.seek(0)
        return file.read().decode()


def in_child(function):
    """What `function` returns (bytes) in a forked child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, function())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return data


def current_is(value):
    with Bridge(current=lambda: value):
        parent = Parent()
        return parent if PROBE.probe_current(parent) else None


@scenario
def nothing_happens_without_a_bridge():
    assert PROBE.probe_enter(TRACE, 1, None, None) is None
    PROBE.probe_leave(None)
    assert not PROBE.probe_current(Parent())


@scenario
def ids_arrive_whole():
    with Bridge() as bridge:
        PROBE.probe_leave(PROBE.probe_enter(TRACE, 2**63 + 1, b"rum", b"_dd.p.dm=-4"))
        low = Trace(trace_id_low=7, root_span_id=8, priority=-1, mechanism=-1)
        PROBE.probe_leave(PROBE.probe_enter(low, 9, None, None))
        PROBE.probe_leave(PROBE.probe_enter(TRACE, 10, b"", None))
        for high, root in ((HIGH, 11), (1, 11)):  # another workflow of that trace; a trace that looks alike
            other = Trace(trace_id_high=high, trace_id_low=LOW, root_span_id=root, priority=1, mechanism=0)
            PROBE.probe_leave(PROBE.probe_enter(other, 12, None, None))
    trace_id = (HIGH << 64) | LOW
    assert bridge.entered == [
        (trace_id, 2**63 + 1, 2**64 - 1, 2, 4, "rum", "_dd.p.dm=-4"),
        (7, 9, 8, -1, -1, None, None),
        (trace_id, 10, 2**64 - 1, 2, 4, None, None),
        (trace_id, 12, 11, 1, 0, None, None),
        ((1 << 64) | LOW, 12, 11, 1, 0, None, None),
    ]


@scenario
def an_origin_that_is_no_text_is_left_out():
    with Bridge() as bridge:
        PROBE.probe_leave(PROBE.probe_enter(TRACE, 1, b"\xff", None))
        PROBE.probe_leave(PROBE.probe_enter(TRACE, 2, b"ok", None))
    assert [arguments[5] for arguments in bridge.entered] == [None, "ok"]


@scenario
def leave_gets_what_enter_gave():
    given = [object(), object()]
    with Bridge(enter=lambda *arguments: given[arguments[1]]) as bridge:
        first, second = PROBE.probe_enter(TRACE, 0, None, None), PROBE.probe_enter(TRACE, 1, None, None)
        PROBE.probe_leave(first)
        PROBE.probe_leave(second)
    assert bridge.left[0] is given[0] and bridge.left[1] is given[1]


@scenario
def no_reference_is_lost_or_kept():
    def round_trip(number):
        other = Trace(trace_id_high=number, trace_id_low=number + 2**40, root_span_id=number + 2**41)
        PROBE.probe_leave(PROBE.probe_enter(other, number + 2**42, b"an origin", b"_dd.p.dm=-4"))
        parent = Parent()
        assert PROBE.probe_current(parent) and parent.span_id == 2**50

    token = types.SimpleNamespace()
    context = (2**100 + 1, 2**50, 1, "synthetics", "_dd.p.dm=-4")
    with Bridge(enter=lambda *_: token, leave=lambda _: None, current=lambda: context):
        round_trip(0)
        tokens, contexts, blocks = sys.getrefcount(token), sys.getrefcount(context), sys.getallocatedblocks()
        for number in range(1, 2001):
            round_trip(number)
        assert (sys.getrefcount(token), sys.getrefcount(context)) == (tokens, contexts)
        assert abs(sys.getallocatedblocks() - blocks) < 100


@scenario
def an_exception_ends_the_bridge_and_is_said_once():
    def check():
        def enter(*_):
            calls.append(1)
            if len(calls) > 1:
                raise ValueError("no more")
            return "token"

        calls = []
        with Bridge(enter=enter, current=lambda: (1, 1, 1, None, "")) as bridge:
            active = PROBE.probe_enter(TRACE, 1, None, None)
            assert PROBE.probe_enter(TRACE, 2, None, None) is None
            assert PROBE.probe_enter(TRACE, 3, None, None) is None and len(calls) == 2
            assert not PROBE.probe_current(Parent())
            PROBE.probe_leave(active)  # what is active is still taken back
            assert bridge.left == ["token"]

    text = stderr_of(check)  # the first exception of the process: keep this scenario before the others
    assert text.startswith("comfydd: ") and text.count("\n") == 1 and "ValueError (no more)" in text, text
    assert stderr_of(check) == ""


@scenario
def the_program_s_exception_goes_through():
    def fail(*_):
        raise ValueError("of the bridge")

    for bridge in (Bridge(), Bridge(leave=fail), Bridge(enter=fail)):
        with bridge:
            try:
                PROBE.probe_both_while_raising(TRACE)
            except TypeError as error:
                assert error.__context__ is None
            else:
                raise AssertionError("no exception")


@scenario
def ctrl_c_inside_the_bridge_is_the_program_s():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def enter(*_):
        if not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return "token"

    interrupted = []
    with Bridge(enter=enter):
        try:
            PROBE.probe_enter(TRACE, 1, None, None)
            for _ in range(1000):  # signal handlers run between instructions
                pass
        except KeyboardInterrupt:
            token = PROBE.probe_enter(TRACE, 2, None, None)
            assert token is not None  # the bridge has not ended
            PROBE.probe_leave(token)
            return
    raise AssertionError("Ctrl-C was swallowed")


@scenario
def what_the_program_s_stack_or_memory_has_no_room_for_does_not_end_the_bridge():
    def enter(*_):
        if raising:
            raise raising.pop()
        return "token"

    raising = [RecursionError(), MemoryError()]
    with Bridge(enter=enter):
        assert PROBE.probe_enter(TRACE, 1, None, None) is None
        assert PROBE.probe_enter(TRACE, 2, None, None) is None
        token = PROBE.probe_enter(TRACE, 3, None, None)
        assert token is not None
        PROBE.probe_leave(token)


@scenario
def what_is_not_callable_is_refused():
    with Bridge() as bridge:
        for arguments in ((1, 2, 3), (bridge.enter, bridge.leave, None), (None, None, bridge.current)):
            try:
                PROBE.comfydd_set_bridge(*arguments)
            except TypeError:
                continue
            raise AssertionError("accepted %r" % (arguments,))
        PROBE.probe_leave(PROBE.probe_enter(TRACE, 1, None, None))
        assert len(bridge.entered) == len(bridge.left) == 1  # the one before is still in force


@scenario
def the_bridge_can_be_replaced_while_nodes_run():
    with Bridge() as first:
        token = PROBE.probe_enter(TRACE, 1, None, None)
    PROBE.probe_leave(token)
    assert len(first.left) == 1  # taken away, but what was active is taken back
    with Bridge() as second:
        PROBE.probe_leave(PROBE.probe_enter(TRACE, 2, None, None))
    assert len(first.entered) == len(second.entered) == 1


@scenario
def the_active_parent_is_read():
    parent = current_is(((5 << 64) | 2**63, 2**63 + 1, 2, "synthetics", "_dd.p.dm=-4,_dd.p.a=b"))
    assert (parent.trace_id_high, parent.trace_id_low, parent.span_id) == (5, 2**63, 2**63 + 1)
    assert (parent.has_priority, parent.priority, parent.origin) == (True, 2, b"synthetics")
    assert parent.tags == b"_dd.p.dm=-4,_dd.p.a=b"
    parent = current_is((6, 7, None, None, "_dd.p.dm=-4"))
    assert (parent.trace_id_high, parent.trace_id_low, parent.span_id) == (0, 6, 7)
    assert not parent.has_priority and parent.origin == parent.tags == b""
    assert current_is((6, 7, 99, None, "")).priority == 2
    assert current_is((6, 7, -99, None, "")).priority == -1
    assert len(current_is((6, 7, 1, "x" * 500, "")).origin) == 127
    used = Parent(tags=b"_dd.p.b=c", origin=b"rum")
    with Bridge(current=lambda: (6, 7, 1, None, "_dd.p.a=b")):
        assert PROBE.probe_current(used) and (used.tags, used.origin) == (b"_dd.p.a=b", b"")
    many = ",".join(f"_dd.p.{number}=1" for number in range(1000))
    assert current_is((6, 7, 1, None, many)).tags == b""  # not a part of them


@scenario
def no_parent_is_none():
    assert current_is(None) is None
    assert current_is((1 << 64, 7, 1, None, "")) is None  # Datadog's intake drops a trace whose lower half is 0
    assert current_is((6, 0, 1, None, "")) is None


@scenario
def a_parent_of_another_shape_ends_the_bridge():
    wrong = [(), (1, 2, 3), 7, "text"]
    wrong += [("1", 2, 3, None), (1, 2, "3", None), (1, 2, 2**70, None), (1.5, 2, 3, None)]
    for value in wrong:
        with Bridge(current=lambda: value) as bridge:
            assert not PROBE.probe_current(Parent()), value
            assert PROBE.probe_enter(TRACE, 1, None, None) is None and not bridge.entered


@scenario
def the_runtime_id_is_a_process_s_own():
    own = PROBE.probe_runtime_id()
    assert len(own) == 32 and set(own) <= set(b"0123456789abcdef")
    assert PROBE.probe_runtime_id() == own
    of_child = in_child(PROBE.probe_runtime_id)
    assert len(of_child) == 32 and of_child != own


@scenario
def the_runtime_id_is_ddtrace_s_when_given():
    given = b"0123456789abcdef" * 2
    assert PROBE.comfydd_set_runtime_id(given) == 0 and PROBE.probe_runtime_id() == given
    for bad in (None, b"", given[:-1], given + b"0", given.upper(), b"g" * 32):
        assert PROBE.comfydd_set_runtime_id(bad) == -1 and PROBE.probe_runtime_id() == given
    assert in_child(PROBE.probe_runtime_id) != given


if __name__ == "__main__":
    run_all()
