"""What bench.py measures of GPU memory, run by each CPython with a fake GPU.

usage: gpu.py METER LOOP NAMES COUNT     METER and LOOP are the libraries made of meter.c and cuda_loop.c, NAMES is a file of
driver functions. Counts, each by itself, what the one node of a workflow does: resolving all names, then COUNT pairs of
plain and of async calls.
"""

import ctypes
import os
import sys

METER, LOOP, NAMES, COUNT = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "fakes", "comfyui", "a3"))

import main  # the stand-in's

import application
import nodes

meter, loop = ctypes.CDLL(METER), ctypes.CDLL(LOOP)
names = open(NAMES, "rb").read().split()
table = (ctypes.c_char_p * len(names))(*names)


def measure(name, function, *arguments):
    meter.meter_begin()
    function(*arguments)
    meter.meter_end(name)


class Measure(nodes.Node):
    OUTPUT_NODE = True

    def run(self):
        loop.async_pairs(10)  # what happens once
        loop.plain_pairs(10)
        measure(b"resolver", loop.resolve, table, len(names))
        measure(b"stream-ordered", loop.async_pairs, int(COUNT))
        measure(b"plain", loop.plain_pairs, int(COUNT))
        return ()


nodes.NODE_CLASS_MAPPINGS.update(Measure=Measure)
application.configure(main.GENERATION)
application.run_here({"1": {"class_type": "Measure", "inputs": {}}}, "bench", {})
