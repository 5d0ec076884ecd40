"""Not a node: writes how long each prompt took and what it cost its thread, "WALL CPU" in ns, as a line of
the file that COMFYDD_BENCH_TIMES names. A prompt whose extra_data says {"bare": true} is executed by a copy of the
executor's module that has another name, which the library does not know and does not watch.
COMFYDD_BENCH_METER is meter.c as a library: it counts each."""

import ctypes
import enum
import importlib.util
import os
import shutil
import time

import execution

NODE_CLASS_MAPPINGS = {}


def _copy(module, path):
    """The module, imported once more from a copy of its file; with the same enumerations, as main.py passes some."""
    shutil.copyfile(module.__file__, path)
    spec = importlib.util.spec_from_file_location("comfydd_bench_bare", path)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    for name, value in vars(module).items():
        if isinstance(value, enum.EnumMeta):
            setattr(copy, name, value)
    return copy


_path = os.environ["COMFYDD_BENCH_TIMES"]
_times = open(_path, "w", buffering=1)
_meter = ctypes.CDLL(os.environ["COMFYDD_BENCH_METER"]) if "COMFYDD_BENCH_METER" in os.environ else None

_bare = _copy(execution, _path + ".bare.py").PromptExecutor
_init = execution.PromptExecutor.__init__
_execute = execution.PromptExecutor.execute


def _twice(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    self.comfydd_bench_bare = _bare(*args, **kwargs)


def _timed(self, prompt, prompt_id, extra_data={}, *args, **kwargs):
    bare = self.comfydd_bench_bare if extra_data.get("bare") else None
    if _meter:
        _meter.meter_begin()
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    try:
        if not bare:
            return _execute(self, prompt, prompt_id, extra_data, *args, **kwargs)
        return bare.execute(prompt, prompt_id, extra_data, *args, **kwargs)
    finally:
        if _meter:
            _meter.meter_end(b"prompt")
        line = f"{time.perf_counter_ns() - wall} {time.thread_time_ns() - cpu}\n"
        for name in ("history_result", "outputs_ui", "success", "status_messages"):  # for the prompt's worker
            if hasattr(bare, name):
                setattr(self, name, getattr(bare, name))
        _times.write(line)


execution.PromptExecutor.__init__ = _twice
execution.PromptExecutor.execute = _timed
