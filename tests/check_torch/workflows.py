"""Runs two workflows of a stand-in for ComfyUI whose nodes use real PyTorch: the first runs out of memory, the second does not.
Prints what PyTorch has allocated after each. The working directory is the stand-in's."""

import gc

import torch
from stand_in_program import application, node, nodes, result

MIB = 1 << 20
executor = application.new_executor()


def tensor(size):
    return torch.empty(size, dtype=torch.uint8, device="cuda")


class Keep(nodes.Node):
    """Its output is a tensor."""

    INPUTS = {"size": {}}

    def run(self, size):
        return (tensor(size),)


class Use(nodes.Node):
    """Needs two tensors of that size at a time, while it runs."""

    INPUTS = {"value": {}, "size": {}}

    def run(self, value, size):
        one, other = tensor(size), tensor(size)
        del one, other
        return (value,)


class Exhaust(nodes.Node):
    INPUTS = {"value": {}, "size": {}}

    def run(self, value, size):
        tensors = []
        while True:
            tensors.append(tensor(size))


nodes.NODE_CLASS_MAPPINGS.update({class_.__name__: class_ for class_ in (Keep, Use, Exhaust)})


def workflow(job, **prompt):
    graph = {name[1:]: node(kind, **inputs) for name, (kind, inputs) in prompt.items()}
    application.run_with(executor, graph, f"prompt-{job}", {"job_id": job})
    stats = torch.cuda.memory_stats()
    result({"job": job, "allocated": stats["allocated_bytes.all.current"]})


KEEP = ("Keep", {"size": 200 * MIB})
SHOW = ("Show", {"value": ["2", 0]})
workflow("bad", n1=KEEP, n2=("Exhaust", {"value": ["1", 0], "size": 100 * MIB}), n3=SHOW)
gc.collect()
torch.cuda.empty_cache()
workflow("good", n1=KEEP, n2=("Use", {"value": ["1", 0], "size": 30 * MIB}), n3=SHOW)
