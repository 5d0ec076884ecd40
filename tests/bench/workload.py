"""What bench.py measures, run by each CPython: a stand-in ComfyUI with a known amount of work.

usage: workload.py GENERATION idle|node calls|methods|generators|exceptions COUNT
       workload.py GENERATION nodes COUNT
idle: the work runs in a program that has imported the executor and runs no workflow. node: the work runs in the one
node of a workflow. nodes: a workflow of COUNT trivial nodes in chains of two. The last line tells the resident memory.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "fakes", "comfyui", sys.argv[1]))

import main  # the stand-in's

import application
import nodes


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


def calls(count):
    for _ in range(count):
        fib(12)


def methods(count):
    counter = Counter()
    for _ in range(count):
        for _ in range(100):
            counter.add(1).add(2).add(3)


def generators(count):
    for _ in range(count):
        sum(numbers(300))


def exceptions(count):
    for _ in range(count):
        for _ in range(50):
            try:
                fail("told")
            except ValueError:
                pass


WORK = {work.__name__: work for work in (calls, methods, generators, exceptions)}


class Work(nodes.Node):
    INPUTS = {"name": {}, "count": {}}
    OUTPUT_NODE = True

    def run(self, name, count):
        WORK[name](count)
        return ()


nodes.NODE_CLASS_MAPPINGS["Work"] = Work


def chains(count):
    prompt = {}
    for chain in range(count // 2):
        prompt[f"{chain}.1"] = {"class_type": "Number", "inputs": {"value": chain}}
        prompt[f"{chain}.2"] = {"class_type": "Show", "inputs": {"value": [f"{chain}.1", 0]}}
    return prompt


def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def run():
    application.configure(main.GENERATION)
    where, *rest = sys.argv[2:]
    if where == "idle":
        WORK[rest[0]](int(rest[1]))
    elif where == "node":
        prompt = {"1": {"class_type": "Work", "inputs": {"name": rest[0], "count": int(rest[1])}}}
        application.run_here(prompt, "bench", {})
    else:
        application.run_here(chains(int(rest[0])), "bench", {})
    print(resident_kib())


run()
