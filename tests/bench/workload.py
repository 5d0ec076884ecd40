"""What bench.py measures, run by each CPython: a stand-in ComfyUI with a known amount of work.

usage: workload.py METER GENERATION python
       workload.py METER GENERATION nodes|gpu COUNT WORKFLOWS LAYOUT
       workload.py METER GENERATION tensors COUNT
METER is the library made of meter.c. python: pieces of Python code that are not the executor, each counted
by itself in several layouts of memory, first in a program that has imported the executor and runs no workflow
(idle), then inside the one node of a workflow. nodes: so many workflows of COUNT trivial nodes in chains of two, counted
from the first one's start to the end of the process. The last line tells the resident memory in KiB. gpu: the same in a process that has a tensor on the (fake) GPU.
tensors: a node makes COUNT tensors, one after the other, ten calls deep; tells the seconds of processor time for each.
"""

import ctypes
import gc
import os
import sys
import time

METER, GENERATION, WHAT, *REST = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "fakes", "comfyui", GENERATION))

import main  # the stand-in's

import application
import nodes

LAYOUTS = 15

meter = ctypes.CDLL(METER)


def shake(amount):
    """Objects to keep, so that what is made later lies elsewhere: whether a loop works at the edge of one of
    CPython's pools can cost it 1 %, which is none of ours. bench.py takes the least of several layouts."""
    return [bytearray(b"x" * size) + bytes(size) for size in range(8, 512, 8) for _ in range(amount)]


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def numbers(count):
    for number in range(count):
        yield number


def fail(text):
    raise ValueError(text)


def calls():
    fib(20)


def methods():
    class Counter:  # a new one each time: its place in the method cache is part of the layout
        def __init__(self):
            self.value = 0

        def add(self, amount):
            self.value += amount
            return self

    counter = Counter()
    for _ in range(5_000):
        counter.add(1).add(2).add(3)


def generators():
    for _ in range(40):
        sum(numbers(1000))


def exceptions():
    for _ in range(7_000):
        try:
            fail("told")
        except ValueError:
            pass


def measure(place):
    kept = []
    for work in (calls, methods, generators, exceptions):
        work()  # CPython 3.11+ adapts code that has run before
        for _ in range(LAYOUTS):
            kept.append(shake(1))
            meter.meter_begin()
            work()
            meter.meter_end(f"{place} {work.__name__}".encode())


class Measure(nodes.Node):
    OUTPUT_NODE = True

    def run(self):
        measure("node")
        return ()


class Tensors(nodes.Node):
    OUTPUT_NODE = True

    def run(self):
        def deeper(levels):
            if levels:
                return deeper(levels - 1)
            begin = time.process_time()
            for _ in range(COUNT):
                free(allocate(0, 1 << 20))
            return time.process_time() - begin

        allocate, free = allocator()
        print(deeper(9) / COUNT, "seconds a tensor")
        return ()


nodes.NODE_CLASS_MAPPINGS.update(Measure=Measure, Tensors=Tensors)


def allocator():
    """Functions that make and free what a tensor has of the GPU."""
    c10 = ctypes.CDLL("libc10_cuda.so")
    c10.c10_cuda_allocate.restype = ctypes.c_void_p
    c10.c10_cuda_allocate.argtypes = [ctypes.c_int, ctypes.c_size_t]
    c10.c10_cuda_free.argtypes = [ctypes.c_void_p]
    return c10.c10_cuda_allocate, c10.c10_cuda_free


def chains(count):
    prompt = {}
    for chain in range(count // 2):
        prompt[f"{chain}.1"] = {"class_type": "Number", "inputs": {"value": chain}}
        prompt[f"{chain}.2"] = {"class_type": "Show", "inputs": {"value": [f"{chain}.1", 0]}}
    return prompt


def resident_kib():
    """Resident memory. Flight memory counts whole: its pages are reserved, touched or not."""
    total, shared = 0, False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            name, *rest = line.split()
            if "-" in name:
                shared = "/memfd:" in line or "/dev/shm/comfydd-" in line
            elif name == ("Size:" if shared else "Rss:"):
                total += int(rest[0])
    return total


application.configure(main.GENERATION)
if WHAT == "python":
    measure("idle")
    application.run_here({"1": {"class_type": "Measure", "inputs": {}}}, "bench", {})
elif WHAT == "tensors":
    COUNT = int(REST[0])
    application.run_here({"1": {"class_type": "Tensors", "inputs": {}}}, "bench", {})
else:
    if WHAT == "gpu":
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "backend:cudaMallocAsync"  # ComfyUI's default
        allocator()[0](0, 1 << 20)
    count, workflows, layout = map(int, REST)
    prompt, shaken = chains(count), shake(layout)
    gc.disable()  # with the library, collections come at other moments, and cost more than it does
    meter.meter_begin()
    for workflow in range(workflows):
        application.run_here(prompt, f"bench-{workflow}", {})
print(resident_kib())
