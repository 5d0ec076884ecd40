"""Scenarios that run in another Python than pytest's: a script registers functions, runs them all, and prints
as JSON what each raised. Only the standard library; any Python from 3.9 on."""

import ctypes
import json
import sys
import traceback

_scenarios = {}  # module -> {name: function}, in the order of their definition


def scenario(function):
    _scenarios.setdefault(function.__module__, {})[function.__name__] = function
    return function


def names(module):
    return list(_scenarios[module])


def run_all(*only):
    """Runs the main script's, or those with these names. Prints {name: None, or the traceback}."""
    results = {}
    for name in only or _scenarios["__main__"]:
        try:
            _scenarios["__main__"][name]()
            results[name] = None
        except BaseException:
            results[name] = traceback.format_exc()
    print(json.dumps(results))


class Trace(ctypes.Structure):
    """struct flight_trace (include/comfydd/flight.h)."""

    _fields_ = [
        ("trace_id_high", ctypes.c_uint64),
        ("trace_id_low", ctypes.c_uint64),
        ("root_span_id", ctypes.c_uint64),
        ("agent_rate", ctypes.c_double),
        ("rule_rate", ctypes.c_double),
        ("limit_rate", ctypes.c_double),
        ("priority", ctypes.c_int8),
        ("mechanism", ctypes.c_int8),
        ("inherited", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 5),
    ]


class Parent(ctypes.Structure):
    """struct ids_parent (src/trace/ids.h)."""

    _fields_ = [
        ("trace_id_high", ctypes.c_uint64),
        ("trace_id_low", ctypes.c_uint64),
        ("span_id", ctypes.c_uint64),
        ("priority", ctypes.c_int),
        ("has_priority", ctypes.c_bool),
        ("origin", ctypes.c_char * 128),
        ("tags", ctypes.c_char * 512),
    ]


def load_probe(path):
    """bridge_probe.c, with its signatures. Tokens are addresses, None for NULL."""
    probe = ctypes.PyDLL(path)
    probe.probe_enter.argtypes = [ctypes.POINTER(Trace), ctypes.c_uint64, ctypes.c_char_p, ctypes.c_char_p]
    probe.probe_enter.restype = ctypes.c_void_p
    probe.probe_leave.argtypes = [ctypes.c_void_p]
    probe.probe_leave.restype = None
    probe.probe_both_while_raising.argtypes = [ctypes.POINTER(Trace)]
    probe.probe_both_while_raising.restype = ctypes.py_object
    probe.probe_current.argtypes = [ctypes.POINTER(Parent)]
    probe.probe_runtime_id.restype = ctypes.c_char_p
    probe.comfydd_set_bridge.argtypes = [ctypes.py_object] * 3
    return probe


# None in pytest, which imports the scripts for the names of their scenarios.
PROBE = load_probe(sys.argv[1]) if sys.argv[1:] and sys.argv[1].endswith("bridge_probe.so") else None
