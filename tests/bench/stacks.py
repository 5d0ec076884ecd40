"""Captures Python stacks through frames_probe.c, counted by callgrind.

usage: stacks.py METER PROBE COUNT"""

import ctypes
import sys

METER = ctypes.CDLL(sys.argv[1])
PROBE, HELD = ctypes.CDLL(sys.argv[2]), ctypes.PyDLL(sys.argv[2])
COUNT = int(sys.argv[3])


def inside(depth, work):
    """Calls `work` with so many Python frames on the stack, each of a function of its own."""
    names = {"f%d" % (depth + 1): work}
    for number in range(len(list(frames())) + 1, depth + 1):
        exec("def f%d():\n    return f%d()\n" % (number, number + 1), names)
        first = names.setdefault("first", names["f%d" % number])
    first()


def frames():
    frame = sys._getframe(1)
    while frame:
        yield frame
        frame = frame.f_back


def count(name, function, *arguments):
    function(*arguments)  # whatever happens once
    METER.meter_begin()
    function(*arguments)
    METER.meter_end(name.encode())


assert HELD.probe_start()
PROBE.probe_sample_many.argtypes = [ctypes.c_int, ctypes.c_uint64]
count("left out", PROBE.probe_sample_many, COUNT, 1)
for depth in (10, 40):
    inside(depth - 2, lambda: count("depth %d" % depth, PROBE.probe_sample_many, COUNT, 1 << 20))
