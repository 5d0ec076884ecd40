"""Captures stacks through frames_probe.c, in any Python from 3.9 on, and compares them with what Python says. Scripts that
import it are called with the probe's path."""

import ctypes
import sys
import threading

FRAMES_MAX = 32

CALLBACK = ctypes.CFUNCTYPE(ctypes.c_uint32)
PROBE = HELD = released = held = None  # in pytest, which imports the scripts for the names of their scenarios
if sys.argv[1:] and sys.argv[1].endswith("frames_probe.so"):
    PROBE, HELD = ctypes.CDLL(sys.argv[1]), ctypes.PyDLL(sys.argv[1])
    released, held = PROBE.probe_capture, HELD.probe_capture
    PROBE.probe_call.argtypes = [CALLBACK]
    for function in (released, held, PROBE.probe_call, PROBE.probe_bare_thread, PROBE.probe_sample):
        function.restype = ctypes.c_uint32
    PROBE.probe_frames.argtypes = PROBE.probe_text.argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t]
    PROBE.probe_sample.argtypes = [ctypes.c_uint64]
    HELD.probe_failure.restype = ctypes.c_char_p
    HELD.probe_subinterpreter.restype = ctypes.py_object
    HELD.probe_subinterpreter.argtypes = [ctypes.c_char_p]

compared, wrong = [0], []
_buffers = threading.local()


def start():
    assert HELD.probe_start(), HELD.probe_failure().decode()


def stack():
    """[(file, function, line)] of the caller, innermost first, as captured ones should be."""
    frames, frame = [], sys._getframe(1)
    while frame and len(frames) < FRAMES_MAX:
        code = frame.f_code
        names = code.co_filename, getattr(code, "co_qualname", code.co_name)
        frames.append((*(name.encode("utf-8", "replace").decode() for name in names), frame.f_lineno or 0))
        frame = frame.f_back
    return frames


def frames_of(captured):
    """The same for a captured one."""
    if not hasattr(_buffers, "rows"):
        _buffers.rows = ctypes.create_string_buffer(1 << 16)
    count = PROBE.probe_frames(captured, _buffers.rows, len(_buffers.rows))
    rows = [row.split(b"\x1f") for row in _buffers.rows.value.split(b"\n")[:-1]]
    assert len(rows) == count, (count, rows)
    return [(file.decode(), name.decode(), int(line)) for file, name, line in rows]


def same(expected, *captured):
    """Notes what is wrong: where it is called, exceptions may have nowhere to go. settled() raises."""
    for number in captured:
        compared[0] += 1
        if frames_of(number) != expected:
            wrong.append((expected, frames_of(number)))


def settled(at_least=1):
    """So many stacks have been compared since the last call, and all were right."""
    count, problems = compared[0], wrong[:]
    compared[0] = 0
    wrong.clear()
    assert not problems, "%d of %d: %r instead of %r" % (len(problems), count, problems[0][1], problems[0][0])
    assert count >= at_least, count


def namespace():
    """For exec()."""
    return {"same": same, "stack": stack, "released": released, "held": held}
