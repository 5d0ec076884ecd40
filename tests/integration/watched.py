"""Watches functions through watch_probe.c, in any Python from 3.9 on, and shows what its handlers were told.

Scripts that import it are called with the probe's path and a mechanism: "swap" (WATCH_EXCEPTIONS) or "monitoring"
(WATCH_RETURNS, which is sys.monitoring on 3.12 and later)."""

import ctypes
import sys
from typing import Any, NamedTuple

RETURNS, EXCEPTIONS = range(2)  # enum watch_needs
ARGUMENTS = 8  # WATCH_ARGUMENTS


class Event(NamedTuple):
    what: str  # "enter" or "leave"
    key: int
    arguments: tuple  # of the names given to watch()
    value: Any
    raised: bool


# None in pytest, which imports the scripts for the names of their scenarios.
PROBE = ctypes.PyDLL(sys.argv[1]) if sys.argv[1:] and sys.argv[1].endswith("watch_probe.so") else None
if PROBE:
    PROBE.probe_watch.argtypes = [
        ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    PROBE.probe_mechanism.argtypes = [ctypes.py_object]
    PROBE.probe_mechanism.restype = ctypes.c_char_p
NEEDS = RETURNS if "monitoring" in sys.argv else EXCEPTIONS
BY_SWAP = NEEDS == EXCEPTIONS


def try_to_watch(function, *names, needs=NEEDS, then=None, silent=False):
    """The list that will hold the events of this function's calls; None when it cannot be watched. `then` is called
    with each event, inside the handler. No Python code runs in the handlers when `silent`: then there are no events."""
    events = []

    def report(what, key, arguments, value, raised, error_was_set):
        event = Event(what, key, arguments[: len(names)], value, bool(raised))
        events.append(event if not error_was_set else "%s with an error set" % what)
        if then:
            then(event)

    wanted = (ctypes.c_char_p * (ARGUMENTS + 1))(*(name.encode() for name in names))
    return events if PROBE.probe_watch(function, None if silent else report, needs, wanted) else None


def watch(function, *names, **options):
    events = try_to_watch(function, *names, **options)
    assert events is not None, "cannot be watched"
    return events


def calls(events):
    """[(arguments, value or exception, raised)] of the calls in order of their ends. Every enter must have a leave."""
    open_calls, ended = {}, []
    for event in events:
        assert isinstance(event, Event), event
        if event.what == "enter":
            assert event.key not in open_calls, "the key of an open call"
            open_calls[event.key] = event
        else:
            begun = open_calls.pop(event.key)
            assert event.arguments == begun.arguments
            ended.append((event.arguments, event.value, event.raised))
    assert not open_calls, "never left: %r" % list(open_calls.values())
    return ended
