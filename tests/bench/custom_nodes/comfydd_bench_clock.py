"""Not a node: writes how long each prompt took and what it cost its thread, "WALL CPU" in ns, as a line of
the file that COMFYDD_BENCH_TIMES names. COMFYDD_BENCH_METER is meter.c as a library: it counts each."""

import ctypes
import os
import time

import execution

NODE_CLASS_MAPPINGS = {}

_execute = execution.PromptExecutor.execute

_times = open(os.environ["COMFYDD_BENCH_TIMES"], "w", buffering=1)


_meter = ctypes.CDLL(os.environ["COMFYDD_BENCH_METER"]) if "COMFYDD_BENCH_METER" in os.environ else None


def _timed(self, *args, **kwargs):
    if _meter:
        _meter.meter_begin()
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    try:
        return _execute(self, *args, **kwargs)
    finally:
        if _meter:
            _meter.meter_end(b"prompt")
        _times.write(f"{time.perf_counter_ns() - wall} {time.thread_time_ns() - cpu}\n")


execution.PromptExecutor.execute = _timed
