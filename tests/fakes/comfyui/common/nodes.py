"""The nodes of the stand-ins, with ComfyUI's node protocol: real work, and every way of ending badly."""

import asyncio
import collections
import hashlib
import os
import subprocess
import sys
import threading
import time
import zlib

import torch

import comfy.model_management
from comfy_execution.graph_utils import ExecutionBlocker, GraphBuilder

try:
    from PIL import Image, ImageOps
except ImportError:
    Image = None

DEADLINE_S = 60


def interrupt_processing(value=True):
    comfy.model_management.interrupt_current_processing(value)


def before_node_execution():
    comfy.model_management.throw_exception_if_processing_interrupted()


class Node:
    RETURN_TYPES = ("*",)
    FUNCTION = "run"
    INPUTS = {}  # name -> options
    HIDDEN = {}

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {name: ("*", options) for name, options in cls.INPUTS.items()},
            "hidden": dict(cls.HIDDEN),
        }


# ---- work


class Picture:
    """Gray pixels: Pillow's where it is installed."""

    def __init__(self, size, data):
        self.size, self.data = size, data

    def image(self):
        return Image.frombytes("L", self.size, self.data)


class EmptyImage(Node):
    INPUTS = {"width": {}, "height": {}, "color": {}}

    def run(self, width, height, color):
        return (Picture((width, height), bytes([color]) * (width * height)),)


class ImageInvert(Node):
    INPUTS = {"image": {}}

    def run(self, image):
        if Image:
            return (Picture(image.size, ImageOps.invert(image.image()).tobytes()),)
        return (Picture(image.size, image.data.translate(bytes(range(255, -1, -1)))),)


class ImageScale(Node):
    INPUTS = {"image": {}, "factor": {}}

    def run(self, image, factor):
        width, height = image.size
        size = (width * factor, height * factor)
        if Image:
            return (Picture(size, image.image().resize(size).tobytes()),)
        rows = [image.data[y * width : (y + 1) * width] for y in range(height)]
        wide = [bytes(pixel for pixel in row for _ in range(factor)) for row in rows]
        return (Picture(size, b"".join(row for row in wide for _ in range(factor))),)


class SaveImage(Node):
    INPUTS = {"image": {}}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def run(self, image):
        digest = hashlib.sha1(image.data).hexdigest()
        return {
            "ui": {
                "images": [
                    {"digest": digest, "packed": len(zlib.compress(image.data)), "size": list(image.size)}
                ]
            }
        }


class Number(Node):
    INPUTS = {"value": {}}

    def run(self, value):
        return (value,)


class AddOne(Node):
    """Takes any inputs, so that it can also stand at the end of many chains."""

    def run(self, **inputs):
        return (sum(inputs.values()) + 1,)


class Fresh(Number):
    """Never cached."""

    IS_CHANGED = staticmethod(lambda: os.urandom(8).hex())


class Show(Node):
    INPUTS = {"value": {}}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def run(self, **inputs):
        return {"ui": {"values": sorted(map(str, inputs.values()))}}


# ---- ways to end badly


class Fail(Node):
    INPUTS = {"value": {}, "message": {}}

    def run(self, value, message):
        raise ValueError(message)


class OutOfMemory(Node):
    INPUTS = {"value": {}}

    def run(self, value):
        raise torch.cuda.OutOfMemoryError("Allocation on device 0 would exceed allowed memory.")


def _signal(name):
    import application

    application.signals.add(name)


class WorkerKilled(BaseException):
    pass


class FailDeep(Node):
    """Two functions call each other (what Python prints of one that calls itself is short), and then one raises."""

    INPUTS = {"depth": {}}

    def run(self, depth):
        if depth == 0:
            raise ValueError("at the bottom")
        return self.further(depth)

    def further(self, depth):
        return self.run(depth - 1)


class KillWorker(Node):
    INPUTS = {"value": {}}

    def run(self, value):
        raise WorkerKilled("no executor catches this")


class ExitWorker(Node):
    """What a script does that ends itself when it is done, run as a node."""

    INPUTS = {"value": {}}

    def run(self, value):
        sys.exit(3)


class Sleep(Node):
    INPUTS = {"value": {}, "seconds": {}}

    def run(self, value, seconds):
        time.sleep(seconds)
        return (value,)


class WaitForInterrupt(Node):
    """Polls, as samplers do between steps. Sets the signal when it has begun."""

    INPUTS = {"value": {}, "signal": {}}

    def run(self, value, signal):
        _signal(signal)
        comfy.model_management.wait_for_interrupt(DEADLINE_S)
        comfy.model_management.throw_exception_if_processing_interrupted()
        raise TimeoutError("nobody interrupted")


class FinishDespiteInterrupt(Node):
    """Does not poll: the node after it is the one that stops."""

    INPUTS = {"value": {}, "signal": {}}

    def run(self, value, signal):
        _signal(signal)
        comfy.model_management.wait_for_interrupt(DEADLINE_S)
        return (value,)


# ---- from the inverted executor on


class LazySwitch(Node):
    INPUTS = {"choice": {}, "first": {"lazy": True}, "second": {"lazy": True}}

    def check_lazy_status(self, choice, first=None, second=None):
        name = "first" if choice == 1 else "second"
        return [name] if (first if choice == 1 else second) is None else []

    def run(self, choice, first=None, second=None):
        return (first if choice == 1 else second,)


class Expand(Node):
    """Becomes: a number, a choice, an addition behind a lazy switch."""

    INPUTS = {"value": {}}

    def run(self, value):
        graph = GraphBuilder()
        choice = graph.node("Number", value=1)
        added = graph.node("AddOne", "2", value=[graph.node("Number", "3", value=value), 0])
        switch = graph.node("LazySwitch", "4", choice=[choice, 0], first=[added, 0], second=[choice, 0])
        return {"result": ([switch, 0],), "expand": graph.finalize()}


class ExpandToFailure(Node):
    INPUTS = {"value": {}, "message": {}}

    def run(self, value, message):
        graph = GraphBuilder()
        failing = graph.node("Fail", value=value, message=message)
        return {"result": ([failing, 0],), "expand": graph.finalize()}


class ExpandToCycle(Node):
    INPUTS = {"value": {}}

    def run(self, value):
        graph = GraphBuilder()
        first = graph.node("AddOne", value=value)
        second = graph.node("AddOne", value=[first, 0])
        nodes = graph.finalize()
        nodes[first]["inputs"]["again"] = [second, 0]
        return {"result": ([second, 0],), "expand": nodes}


class Block(Node):
    INPUTS = {"value": {}, "message": {}}

    def run(self, value, message):
        return (ExecutionBlocker(message),)


# ---- async generations


class AsyncNow(Node):
    """A coroutine that never waits."""

    INPUTS = {"value": {}}

    async def run(self, value):
        return (value,)


class AsyncTicks(Node):
    INPUTS = {"value": {}, "ticks": {}}

    async def run(self, value, ticks):
        for _ in range(ticks):
            await asyncio.sleep(0)
        return (value,)


class AsyncFail(Node):
    INPUTS = {"value": {}, "message": {}}

    async def run(self, value, message):
        await asyncio.sleep(0)
        raise ValueError(message)


_released = {}  # (loop, name) -> asyncio.Event


def _event(name):
    return _released.setdefault((asyncio.get_running_loop(), name), asyncio.Event())


class AsyncUntilReleased(Node):
    INPUTS = {"value": {}, "event": {}}

    async def run(self, value, event):
        await asyncio.wait_for(_event(event).wait(), DEADLINE_S)
        return (value,)


class Release(Node):
    INPUTS = {"value": {}, "event": {}}

    def run(self, value, event):
        _event(event).set()
        return (value,)


# ---- other executors and other processes


def _inner_prompt(value):
    return {
        "1": {"class_type": "Number", "inputs": {"value": value}},
        "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}},
    }


class NestedExecutor(Node):
    """Runs a prompt of its own with a second PromptExecutor; `thread` where a loop runs on this one."""

    INPUTS = {"value": {}, "prompt_id": {}, "thread": {}}

    def run(self, value, prompt_id, thread):
        import application

        def run_inner():
            application.run_here(_inner_prompt(value), prompt_id, {})

        if thread:
            worker = threading.Thread(target=run_inner, name="nested")
            worker.start()
            worker.join()
        else:
            run_inner()
        return (value,)


_met = collections.defaultdict(threading.Event)


class Meet(Node):
    """Waits until the node that `awaits` this one's name is here too, on another thread."""

    INPUTS = {"value": {}, "name": {}, "awaits": {}}

    def run(self, value, name, awaits):
        _met[name].set()
        if not _met[awaits].wait(DEADLINE_S):
            raise TimeoutError("nobody came")
        return (value,)


class ForkPython(Node):
    """Forks; the child runs Python, or a whole prompt when it is given an id for one, and ends with 43."""

    INPUTS = {"value": {}, "prompt_id": {}}

    def run(self, value, prompt_id):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                self.child(value, prompt_id)
            finally:
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        return (os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status),)

    def child(self, value, prompt_id):
        import application

        if not prompt_id:
            os._exit(40 + len([n for n in range(3)]))
        worker = threading.Thread(target=application.run_here, args=(_inner_prompt(value), prompt_id, {}))
        worker.start()
        worker.join()
        os.execv("/bin/sh", ["sh", "-c", "exit 43"])


class SpawnProcess(Node):
    """`command` is an argument list; the word PYTHON stands for this interpreter."""

    INPUTS = {"value": {}, "command": {}}

    def run(self, value, command):
        words = [sys.executable if word == "PYTHON" else word for word in command["words"]]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE_S)
        return ("%d %s" % (done.returncode, done.stdout.decode("ascii", "backslashreplace")),)


class _Mappings(dict):
    def __missing__(self, class_type):
        if class_type.startswith("Named:"):  # any text may follow: it is for odd class types
            return Number
        raise KeyError(class_type)


NODE_CLASS_MAPPINGS = _Mappings(
    (class_.__name__, class_)
    for class_ in list(globals().values())
    if isinstance(class_, type) and issubclass(class_, Node) and class_ is not Node
)
