"""What bench.py measures, run by each CPython: a stand-in ComfyUI with a known amount of work.

usage: workload.py METER GENERATION LAYOUT python
       workload.py METER GENERATION LAYOUT nodes COUNT
METER is the library made of meter.c. python: pieces of Python code that are not the executor, each counted
by itself, first in a program that has imported the executor and runs no workflow (idle), then inside the one
node of a workflow. nodes: a workflow of COUNT trivial nodes in chains of two, counted from its start to the
end of the process. The last line tells the resident memory in KiB.
"""

import ctypes
import os
import sys

METER, GENERATION, LAYOUT, WHAT, *REST = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "fakes", "comfyui", GENERATION))

import main  # the stand-in's

import application
import nodes

meter = ctypes.CDLL(METER)


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


class Counter:
    def __init__(self):
        self.value = 0

    def add(self, amount):
        self.value += amount
        return self


def numbers(count):
    for number in range(count):
        yield number


def fail(text):
    raise ValueError(text)


def calls():
    fib(20)


def methods():
    counter = Counter()
    for _ in range(10_000):
        counter.add(1).add(2).add(3)


def generators():
    for _ in range(100):
        sum(numbers(1000))


def exceptions():
    for _ in range(20_000):
        try:
            fail("told")
        except ValueError:
            pass


def measure(place):
    for work in (calls, methods, generators, exceptions):
        work()  # CPython 3.11+ adapts code that has run before
        meter.meter_begin()
        work()
        meter.meter_end(f"{place} {work.__name__}".encode())


class Measure(nodes.Node):
    OUTPUT_NODE = True

    def run(self):
        measure("node")
        return ()


nodes.NODE_CLASS_MAPPINGS["Measure"] = Measure


def chains(count):
    prompt = {}
    for chain in range(count // 2):
        prompt[f"{chain}.1"] = {"class_type": "Number", "inputs": {"value": chain}}
        prompt[f"{chain}.2"] = {"class_type": "Show", "inputs": {"value": [f"{chain}.1", 0]}}
    return prompt


def shake(layout):
    """Moves what is made later to other addresses. Where an object lies in CPython's pools, and what else
    hashes to its place in the method cache, can cost a loop 1 %: bench.py takes the least of several."""
    return [type(f"Shaken{number}", (), {"number": [number]}) for number in range(37 * layout)]


def resident_kib():
    """Resident memory. Flight memory counts whole: its pages are reserved, touched or not."""
    total, shared = 0, False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            name, *rest = line.split()
            if "-" in name:
                shared = "/memfd:" in line
            elif name == ("Size:" if shared else "Rss:"):
                total += int(rest[0])
    return total


shaken = shake(int(LAYOUT))
application.configure(main.GENERATION)
if WHAT == "python":
    measure("idle")
    application.run_here({"1": {"class_type": "Measure", "inputs": {}}}, "bench", {})
else:
    prompt = chains(int(REST[0]))
    meter.meter_begin()
    application.run_here(prompt, "bench", {})
print(resident_kib())
