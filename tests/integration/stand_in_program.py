"""For programs that run workflows of a stand-in by themselves, in a generation's folder, without the server."""

import json
import sys

sys.path.insert(0, "")
import main  # the generation's; must come before the others: it sets sys.path

import application
import nodes

application.configure(main.GENERATION)
GENERATION = main.__file__.rsplit("/", 2)[-2]


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def result(value):
    """Tells the test. Lines of its own kind: the stand-in writes events to standard output."""
    print("result", json.dumps(value), flush=True)


def chain(count):
    """A number, additions, and an output node: `count` in all."""
    prompt = {"0": node("Number", value=1)}
    for n in range(1, count - 1):
        prompt[str(n)] = node("AddOne", value=[str(n - 1), 0])
    prompt["end"] = node("Show", value=[str(count - 2), 0])
    return prompt


def shown(class_type, **inputs):
    return {"1": node("Number", value=1), "2": node(class_type, **inputs), "3": node("Show", value=["2", 0])}


def interrupt(value):
    nodes.interrupt_processing()
    return (value,)


nodes.NODE_CLASS_MAPPINGS["Interrupt"] = type(
    "Interrupt", (nodes.Node,), {"INPUTS": {"value": {}}, "run": lambda self, value: interrupt(value)})


def workflows():
    """Every kind of workflow that this generation has."""
    prompts = [
        chain(6),
        shown("Fail", value=["1", 0], message="told"),
        shown("OutOfMemory", value=["1", 0]),
        shown("Interrupt", value=["1", 0]),
        shown("KillWorker", value=["1", 0]),
    ]
    if GENERATION >= "x" or GENERATION.startswith("a"):
        prompts += [
            shown("LazySwitch", choice=1, first=["1", 0], second=["1", 0]),
            shown("Expand", value=["1", 0]),
            shown("ExpandToFailure", value=["1", 0], message="told"),
            shown("Block", value=["1", 0], message="told"),
        ]
    if GENERATION.startswith("a"):
        prompts += [shown("AsyncTicks", value=["1", 0], ticks=2), shown("AsyncFail", value=["1", 0], message="told")]
    return prompts


def run(count):
    """Runs that many workflows, each kind in turn: new executors, and one that has everything cached."""
    keeps = application.new_executor()
    prompts = workflows()
    for n in range(count):
        prompt = prompts[n % len(prompts)]
        executor = keeps if n % 3 == 0 else application.new_executor()
        try:
            application.run_with(executor, prompt, "prompt-%d" % n, {"job_id": str(n)})
        except (Exception, nodes.comfy.model_management.InterruptProcessingException, nodes.WorkerKilled):
            pass  # up to R2 errors leave the executor
