"""Not a node: measures from inside what the library costs, in turns short enough that a noisy machine is the same in
both. For each prompt a line of JSON goes to the file that COMFYDD_BENCH_TIMES names. extra_data's "bench" says which:

"watched"  the library sees the prompt and every node (the default).
"bare"     the library sees nothing: node calls go without its sys.monitoring events (Python 3.12 or newer), the prompt
           by a function that it does not know. All else is the same, down to where code and objects lie in memory.
"mixed"    the library sees the prompt, and of every four TURNs of nodes two: the middle ones or the outer ones, by
           chance.

"nodes" of the line: [watched, clock, CPU] of each turn that was mixed. "prompt": [clock, CPU] from the call to the
first statement of the prompt's function and from its last to the return, where the library works for the prompt itself.
All times are ns, CPU those of the executor's thread. COMFYDD_BENCH_METER is meter.c as a library: it counts each.
COMFYDD_BENCH_EVENTS, without the library: nodes have its events all the same, with callbacks that do nothing."""

import ctypes
import importlib.util
import json
import operator
import os
import random
import shutil
import sys
import time
import types

import execution

NODE_CLASS_MAPPINGS = {}
TURN = 5  # nodes


def _unwatched(name, path):
    """The method of PromptExecutor as it was before the library found it: from a copy of the module."""
    shutil.copyfile(execution.__file__, path)
    spec = importlib.util.spec_from_file_location("comfydd_bench_bare", path)
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    method = getattr(copy.PromptExecutor, name)
    return types.FunctionType(method.__code__, vars(execution), name, method.__defaults__)


def _empty_events(code):
    """As the library has them, but for what it does in them."""
    sys.monitoring.use_tool_id(5, "comfydd")
    events = sys.monitoring.events
    sys.monitoring.register_callback(5, events.PY_START, operator.is_)  # the fastest: of C, for two arguments
    sys.monitoring.register_callback(5, events.PY_RETURN, slice)  # for three
    sys.monitoring.set_local_events(5, code, events.PY_START | events.PY_RETURN)


class _NodeEvents:
    """The library's events on the function that executes a node; none without the library."""

    def __init__(self, code):
        self.code = code
        if "COMFYDD_BENCH_EVENTS" in os.environ:
            _empty_events(code)
        self.tool = next((tool for tool in range(6) if sys.monitoring.get_tool(tool) == "comfydd"), None)
        self.all = sys.monitoring.get_local_events(self.tool, code) if self.tool is not None else 0

    def switch(self, on):
        if self.all:
            sys.monitoring.set_local_events(self.tool, self.code, self.all if on else 0)


def _now():
    return time.perf_counter_ns(), time.thread_time_ns()


def _between(before, after):
    return [after[0] - before[0], after[1] - before[1]]


class _Prompt:
    """What is measured of the prompt under way."""

    def __init__(self, kind):
        self.kind = kind
        self.staged = 0  # nodes so far
        self.turns = []
        self.began = self.first = self.last = None
        _events.switch(kind != "bare")

    def stage(self):
        """A node comes next."""
        if self.kind == "mixed" and self.staged % TURN == 0:
            self.turn()
        self.staged += 1

    def turn(self):
        now = _now()
        if self.staged:
            self.turns.append([self.on, *_between(self.since, now)])
        place = self.staged // TURN % 4
        if place == 0:
            self.middle = random.random() < 0.5
        self.on = (place in (1, 2)) == self.middle
        _events.switch(self.on)
        self.since = _now()

    def line(self, ended):
        edges = zip(_between(self.began, self.first), _between(self.last, ended))
        return json.dumps({"kind": self.kind, "nodes": self.turns, "prompt": [sum(edge) for edge in edges]})


_path = os.environ["COMFYDD_BENCH_TIMES"]
_times = open(_path, "w", buffering=1)
_meter = ctypes.CDLL(os.environ["COMFYDD_BENCH_METER"]) if "COMFYDD_BENCH_METER" in os.environ else None
_events = _NodeEvents(execution.execute.__code__)
_bare = _unwatched("execute_async", _path + ".bare.py")
_prompt = None

_execute = execution.PromptExecutor.execute
_first_statement = execution.set_preview_method
_last_statement = execution.PromptExecutor._notify_prompt_lifecycle
_stage = execution.ExecutionList.stage_node_execution


def _measured(self, prompt, prompt_id, extra_data={}, *args, **kwargs):
    global _prompt
    _prompt = _Prompt(extra_data.get("bench", "watched"))
    if _prompt.kind == "bare":
        self.execute_async = types.MethodType(_bare, self)
    if _meter:
        _meter.meter_begin()
    _prompt.began = _now()
    try:
        return _execute(self, prompt, prompt_id, extra_data, *args, **kwargs)
    finally:
        ended = _now()
        if _meter:
            _meter.meter_end(b"prompt")
        vars(self).pop("execute_async", None)
        _times.write(_prompt.line(ended) + "\n")


def _at_first_statement(*args):
    _prompt.first = _now()
    return _first_statement(*args)


def _at_last_statement(self, event, *args):
    _last_statement(self, event, *args)
    _prompt.last = _now()


async def _at_stage(self):
    _prompt.stage()
    return await _stage(self)


execution.PromptExecutor.execute = _measured
execution.set_preview_method = _at_first_statement
execution.PromptExecutor._notify_prompt_lifecycle = _at_last_statement
execution.ExecutionList.stage_node_execution = _at_stage
