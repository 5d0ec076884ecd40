"""Not a node: writes how long each prompt took and what it cost its thread, "WALL CPU" in ns, as a line of
the file that COMFYDD_BENCH_TIMES names."""

import os
import time

import execution

NODE_CLASS_MAPPINGS = {}

_execute = execution.PromptExecutor.execute

_times = open(os.environ["COMFYDD_BENCH_TIMES"], "w", buffering=1)


def _timed(self, *args, **kwargs):
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    try:
        return _execute(self, *args, **kwargs)
    finally:
        _times.write(f"{time.perf_counter_ns() - wall} {time.thread_time_ns() - cpu}\n")


execution.PromptExecutor.execute = _timed
