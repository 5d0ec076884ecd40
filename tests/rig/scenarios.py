"""What the stand-ins are made to do, and the spans that must come of it, written by hand."""

import dataclasses

from rig.workflows import Node, Workflow, expanding, prompt

RECURSIVE = ("r0", "r1", "r2", "r3", "r4")
ASYNC = ("a1", "a2", "a3", "hidden")
INVERTED = ("x1",) + ASYNC
GENERATIONS = RECURSIVE + INVERTED
CACHE_NONE = ("a2", "a3", "hidden")  # the generations that can run without caching


@dataclasses.dataclass
class Scenario(Workflow):
    """A workflow with the generations that can run it. Scenarios run in order, in one process: what a prompt
    shares with the one before it is cached."""

    generations: tuple = GENERATIONS
    attended: bool = True  # a client listens, so that the executor sends its messages
    shows: bool = True  # when it succeeds, its output nodes show something
    kills_worker: bool = False  # must be the last


def names(generation):
    """Of the scenarios of a generation."""
    return [scenario.name for scenario in of(generation)]


def of(generation):
    """Those that a generation can run."""
    return [scenario for scenario in _all(generation) if generation in scenario.generations]


def _all(generation):
    yield from _ordinary(generation)
    yield from _failing(generation)
    yield from _inverted(generation)
    yield from _async()
    yield _killing()


def picture(color, factor):
    return prompt(
        n1=("EmptyImage", {"width": 32, "height": 16, "color": color}),
        n2=("ImageInvert", {"image": ("n1", 0)}),
        n3=("ImageScale", {"image": ("n2", 0), "factor": factor}),
        n4=("SaveImage", {"image": ("n3", 0)}),
    )


def in_a_row(value, class_type, **inputs):
    """A number, a node that takes it, and one that shows what comes of it."""
    return prompt(
        n1=("Number", {"value": value}),
        n2=(class_type, {"value": ("n1", 0), **inputs}),
        n3=("Show", {"a": ("n2", 0)}),
    )


def _ordinary(generation):
    types = {"1": "EmptyImage", "2": "ImageInvert", "3": "ImageScale", "4": "SaveImage"}
    yield Scenario("ok", "four nodes in a row", picture(51, 2), [Node(*item) for item in types.items()])
    yield Scenario(
        "cached",
        "the same again: all of it comes from the cache",
        picture(51, 2),
        [Node(*item, cached=True) for item in types.items()],
    )
    yield Scenario(
        "cached-unattended",
        "the same with nobody listening",
        picture(51, 2),
        [Node(*item, cached=True) for item in types.items()],
        attended=False,
    )
    yield Scenario(
        "half-cached",
        "one input changed: the nodes before it come from the cache",
        picture(51, 3),
        [Node(id, class_type, cached=id < "3") for id, class_type in types.items()],
    )
    yield Scenario(
        "diamond",
        "a node that two others need, and two outputs",
        prompt(
            n1=("Number", {"value": 1}),
            n2=("AddOne", {"value": ("n1", 0)}),
            n3=("AddOne", {"value": ("n1", 0), "more": 5}),
            n4=("Show", {"a": ("n2", 0), "b": ("n3", 0)}),
            n5=("Show", {"a": ("n1", 0)}),
        ),
        [Node("1", "Number"), Node("2", "AddOne"), Node("3", "AddOne"), Node("4", "Show"), Node("5", "Show")],
    )
    # The inverted executors look into the cache once more before they run a node.
    yield Scenario(
        "twins",
        "two nodes that are the same",
        prompt(
            n1=("Number", {"value": 7}),
            n2=("Number", {"value": 7}),
            n3=("Show", {"a": ("n1", 0), "b": ("n2", 0)}),
        ),
        [Node("1", "Number", cached=generation in INVERTED), Node("2", "Number"), Node("3", "Show")],
    )


def _failing(generation):
    error = ("builtins.ValueError", "the sampler refused a négative σ")
    failing = in_a_row(2, "Fail", message=error[1])
    failed = Node("2", "Fail", "FAILURE", error=error)
    yield Scenario(
        "failing", "the second of three raises", failing, [Node("1", "Number"), failed], "error", error
    )
    # R0 forgets what ran before the failure.
    yield Scenario(
        "failing-again",
        "the same again",
        failing,
        [Node("1", "Number", cached=generation != "r0"), failed],
        "error",
        error,
    )
    # The inverted executors add advice to the message.
    advice = "\nThis error means you ran out of memory on your GPU." if generation in INVERTED else ""
    out_of_memory = ("OutOfMemoryError", "Allocation on device 0 would exceed allowed memory." + advice)
    yield Scenario(
        "oom",
        "a node runs out of device memory",
        in_a_row(3, "OutOfMemory"),
        [Node("1", "Number"), Node("2", "OutOfMemory", "FAILURE", error=out_of_memory)],
        "error",
        out_of_memory,
    )
    yield Scenario(
        "interrupted",
        "the user stops it in a node that notices",
        in_a_row(4, "WaitForInterrupt", signal="interrupt-me"),
        [Node("1", "Number"), Node("2", "WaitForInterrupt", "INTERRUPTED")],
        "interrupted",
        interrupt_when="interrupt-me",
    )
    yield Scenario(
        "interrupted-late",
        "the user stops it in a node that does not notice",
        prompt(
            n1=("Number", {"value": 5}),
            n2=("FinishDespiteInterrupt", {"value": ("n1", 0), "signal": "interrupt-me-late"}),
            n3=("AddOne", {"value": ("n2", 0)}),
            n4=("Show", {"a": ("n3", 0)}),
        ),
        [Node("1", "Number"), Node("2", "FinishDespiteInterrupt"), Node("3", "AddOne", "INTERRUPTED")],
        "interrupted",
        interrupt_when="interrupt-me-late",
    )


def _inverted(generation):
    yield Scenario(
        "lazy",
        "a node asks for one of its two inputs once it knows which",
        prompt(
            n1=("AddOne", {"value": ("n2", 0)}),
            n2=("Number", {"value": 6}),
            n3=("Number", {"value": 1}),
            n4=("LazySwitch", {"choice": ("n3", 0), "first": ("n1", 0), "second": ("n2", 0)}),
            n5=("Show", {"a": ("n4", 0)}),
        ),
        [
            Node("1", "AddOne"),
            Node("2", "Number"),
            Node("3", "Number"),
            Node("4", "LazySwitch", executions=2),
            Node("5", "Show"),
        ],
        generations=INVERTED,
    )
    yield Scenario(
        "expanding",
        "a node becomes four others",
        *expanding(8),
        generations=INVERTED,
    )
    error = ("builtins.ValueError", "deep down")
    yield Scenario(
        "expanding-fails",
        "a node becomes one that fails",
        prompt(n1=("ExpandToFailure", {"value": 9, "message": error[1]}), n2=("Show", {"a": ("n1", 0)})),
        [
            Node("1", "ExpandToFailure", "PENDING"),
            Node("1.0.0.1", "Fail", "FAILURE", error=error, parent_id="1"),
        ],
        "error",
        error,
        generations=INVERTED,
    )
    cycle = ("graph.DependencyCycleError", "Dependency cycle detected")
    yield Scenario(
        "cycle",
        "nodes that wait for each other",
        prompt(
            n1=("AddOne", {"value": ("n2", 0)}),
            n2=("AddOne", {"value": ("n1", 0)}),
            n3=("Show", {"a": ("n2", 0)}),
        ),
        [],
        "error",
        cycle,
        error_has_stack=False,
        generations=INVERTED,
    )
    yield Scenario(
        "expanding-to-cycle",
        "a node becomes nodes that wait for each other",
        prompt(n1=("ExpandToCycle", {"value": 10}), n2=("Show", {"a": ("n1", 0)})),
        [Node("1", "ExpandToCycle", "PENDING")],
        "error",
        cycle,
        error_has_stack=False,
        generations=INVERTED,
    )
    for name, value, message in (("blocked", 11, None), ("blocked-with-message", 16, "not today")):
        yield Scenario(
            name,
            "a node keeps those behind it from running",
            in_a_row(value, "Block", message=message),
            [Node("1", "Number"), Node("2", "Block"), Node("3", "Show")],
            generations=INVERTED,
            shows=False,
        )
    # The executors with cache entries show a node only what it has asked for.
    yield Scenario(
        "lazy-late",
        "a node asks for an input that has been there for a while",
        prompt(
            n1=("AddOne", {"value": 17}),
            n2=("Show", {"a": ("n1", 0)}),
            n3=("Number", {"value": 18}),
            n4=("LazySwitch", {"choice": ("n3", 0), "first": ("n3", 0), "second": ("n1", 0)}),
            n5=("Show", {"a": ("n4", 0)}),
        ),
        [
            Node("1", "AddOne"),
            Node("2", "Show"),
            Node("3", "Number"),
            Node("4", "LazySwitch", executions=1 if generation in ("x1", "a1") else 2),
            Node("5", "Show"),
        ],
        generations=INVERTED,
    )


def _async():
    yield Scenario(
        "async",
        "two nodes wait at the same time, a third runs meanwhile",
        prompt(
            n1=("Number", {"value": 12}),
            n2=("AsyncTicks", {"value": ("n1", 0), "ticks": 3}),
            n3=("AsyncUntilReleased", {"value": ("n1", 0), "event": "after 4"}),
            n4=("Release", {"value": ("n2", 0), "event": "after 4"}),
            n5=("Show", {"a": ("n3", 0), "b": ("n4", 0)}),
        ),
        [
            Node("1", "Number"),
            Node("2", "AsyncTicks", executions=2),
            Node("3", "AsyncUntilReleased", executions=2),
            Node("4", "Release"),
            Node("5", "Show"),
        ],
        overlapping=("2", "3"),
        generations=ASYNC,
    )
    yield Scenario(
        "async-now",
        "a coroutine node that never waits",
        prompt(n1=("AsyncNow", {"value": 13}), n2=("Show", {"a": ("n1", 0)})),
        [Node("1", "AsyncNow"), Node("2", "Show")],
        generations=ASYNC,
    )
    error = ("builtins.ValueError", "after a while")
    yield Scenario(
        "async-fails",
        "a coroutine node fails after it has waited",
        in_a_row(14, "AsyncFail", message=error[1]),
        [Node("1", "Number"), Node("2", "AsyncFail", "FAILURE", executions=2, error=error)],
        "error",
        error,
        generations=ASYNC,
    )


def _killing():
    error = ("nodes.WorkerKilled", "no executor catches this")
    return Scenario(
        "killing",
        "a BaseException ends the worker thread",
        in_a_row(15, "KillWorker"),
        [Node("1", "Number"), Node("2", "KillWorker", "FAILURE", error=error)],
        "error",
        error,
        kills_worker=True,
    )
