"""Seven workflows, each with the prompt to queue and the spans that must come of it: ok, cached, failing,
interrupted, lazy, expanding, async."""

import dataclasses
import typing


@dataclasses.dataclass
class Node:
    """What the span of one node must say. `executions` is how often the executor called it."""

    id: str
    class_type: str
    result: str = "SUCCESS"
    cached: bool = False
    executions: int = 1
    error: typing.Optional[tuple] = None  # type and message
    parent_id: typing.Optional[str] = None  # of a node made by expansion


@dataclasses.dataclass
class Workflow:
    name: str
    about: str
    prompt: dict
    nodes: list  # of Node, in no order
    status: str = "success"
    error: typing.Optional[tuple] = None
    error_has_stack: bool = True  # not when the executor itself noticed it
    interrupt_when: typing.Optional[str] = (
        None  # the application knows by this that the node runs: interrupt then
    )
    overlapping: tuple = ()  # ids of nodes that must have been open at the same time
    lacks: frozenset = frozenset()  # class types that the application has not: it cannot run this one

    @property
    def job_id(self):
        return f"demo-{self.name}"


def prompt(**nodes):
    """A prompt graph: n1=("ClassType", {input: value}); a value ("n1", 0) is a link, ids are the names
    without n."""

    def value(v):
        return [v[0][1:], v[1]] if isinstance(v, tuple) else v

    return {
        name[1:]: {"class_type": class_type, "inputs": {key: value(v) for key, v in inputs.items()}}
        for name, (class_type, inputs) in nodes.items()
    }


def _of_images(image, show, scale, fail, wait, interrupt_when):
    """ok, cached, failing and interrupted. The functions make the nodes of one application, as prompt() takes
    them: image(color), show(link), scale(link, times), fail(link, message), wait(link). Every image has a colour
    of its own, so that only what must be cached is cached."""

    def two_sizes(times):
        return prompt(
            n1=image(51),
            n2=("ImageInvert", {"image": ("n1", 0)}),
            n3=show(("n2", 0)),
            n4=scale(("n2", 0), times),
            n5=show(("n4", 0)),
        )

    def ending(color, node):
        return prompt(n1=image(color), n2=node, n3=show(("n2", 0)))

    def all_of(graph, cached=()):
        return [Node(id, node["class_type"], cached=id in cached) for id, node in graph.items()]

    failure = ("builtins.ValueError", "the sampler refused a négative σ")
    failing, waiting = fail(("n1", 0), failure[1]), wait(("n1", 0))
    first = Node("1", image(0)[0])
    return [
        Workflow("ok", "five nodes, two of which show an image", two_sizes(2), all_of(two_sizes(2))),
        Workflow(
            "cached",
            "the same with one input changed: three nodes come from the cache",
            two_sizes(3),
            all_of(two_sizes(3), cached=("1", "2", "3")),
        ),
        Workflow(
            "failing",
            "the second node raises",
            ending(1, failing),
            [first, Node("2", failing[0], "FAILURE", error=failure)],
            "error",
            failure,
        ),
        Workflow(
            "interrupted",
            "the user stops it in the second node",
            ending(2, waiting),
            [first, Node("2", waiting[0], "INTERRUPTED")],
            "interrupted",
            interrupt_when=interrupt_when,
        ),
    ]


def of_comfyui(classes, folder):
    """The seven for a ComfyUI checkout that has these node classes, all of its own but RigImage (where
    EmptyImage is missing), RigFail and RigWait."""
    image_class = "EmptyImage" if "EmptyImage" in classes else "RigImage"
    size = {"width": 64, "height": 64, "batch_size": 1}
    started = str(folder / "wait-started")

    def image(color):
        return image_class, {"color": color * 0x010101, **size}

    def scale(link, times):
        new_size = {"width": 16 * times, "height": 32}
        return "ImageScale", {"image": link, "upscale_method": "bilinear", "crop": "disabled", **new_size}

    seven = _of_images(
        image,
        lambda link: ("PreviewImage", {"images": link}),
        scale,
        lambda link, message: ("RigFail", {"image": link, "message": message}),
        lambda link: ("RigWait", {"image": link, "started": started}),
        interrupt_when=started,
    ) + [
        Workflow(
            "lazy",
            "a node asks for one of its two inputs once it knows which",
            prompt(
                n1=("StubImage", {"content": "WHITE", **size}),
                n2=("StubImage", {"content": "BLACK", **size}),
                n3=("StubMask", {"value": 0.0, **size}),
                n4=("TestLazyMixImages", {"image1": ("n1", 0), "image2": ("n2", 0), "mask": ("n3", 0)}),
                n5=("PreviewImage", {"images": ("n4", 0)}),
            ),
            [
                Node("1", "StubImage"),
                Node("3", "StubMask"),
                Node("4", "TestLazyMixImages", executions=2),
                Node("5", "PreviewImage"),
            ],
        ),
        Workflow(
            "expanding",
            "a node turns into four others",
            prompt(
                n1=("TestMixedExpansionReturns", {"input1": 0.5}), n2=("PreviewImage", {"images": ("n1", 0)})
            ),
            [
                Node("1", "TestMixedExpansionReturns", executions=2),
                Node("1.0.0.1", "StubMask", parent_id="1"),
                Node("1.0.0.2", "StubImage", parent_id="1"),
                Node("1.0.0.3", "StubImage", parent_id="1"),
                Node("1.0.0.4", "TestLazyMixImages", executions=2, parent_id="1"),
                Node("2", "PreviewImage"),
            ],
        ),
        Workflow(
            "async",
            "two nodes sleep at the same time",
            prompt(
                n1=image(3),
                n2=("TestSleep", {"value": ("n1", 0), "seconds": 0.2}),
                n3=("TestSleep", {"value": ("n1", 0), "seconds": 0.3}),
                n4=("TestVariadicAverage", {"input1": ("n2", 0), "input2": ("n3", 0)}),
                n5=("PreviewImage", {"images": ("n4", 0)}),
            ),
            [
                Node("1", image_class),
                Node("2", "TestSleep", executions=2),
                Node("3", "TestSleep", executions=2),
                Node("4", "TestVariadicAverage"),
                Node("5", "PreviewImage"),
            ],
            overlapping=("2", "3"),
        ),
    ]
    for workflow in seven:
        workflow.lacks = {node["class_type"] for node in workflow.prompt.values()} - classes
    return seven


def expanding(value):
    """The prompt and the nodes of a stand-in's node that becomes four others."""
    return prompt(n1=("Expand", {"value": value}), n2=("Show", {"value": ("n1", 0)})), [
        Node("1", "Expand", executions=2),
        Node("1.0.0.1", "Number", parent_id="1"),
        Node("1.0.0.2", "AddOne", parent_id="1"),
        Node("1.0.0.3", "Number", parent_id="1"),
        Node("1.0.0.4", "LazySwitch", executions=2, parent_id="1"),
        Node("2", "Show"),
    ]


def of_stand_in():
    """The seven for the stand-in."""

    def image(color):
        return "EmptyImage", {"width": 64, "height": 64, "color": color}

    return _of_images(
        image,
        lambda link: ("SaveImage", {"image": link}),
        lambda link, times: ("ImageScale", {"image": link, "factor": times}),
        lambda link, message: ("Fail", {"value": link, "message": message}),
        lambda link: ("WaitForInterrupt", {"value": link, "signal": "waiting"}),
        interrupt_when="waiting",
    ) + [
        Workflow(
            "lazy",
            "a node asks for one of its two inputs once it knows which",
            prompt(
                n1=("Number", {"value": 1}),
                n2=image(3),
                n3=image(4),
                n4=("LazySwitch", {"choice": ("n1", 0), "first": ("n2", 0), "second": ("n3", 0)}),
                n5=("SaveImage", {"image": ("n4", 0)}),
            ),
            [
                Node("1", "Number"),
                Node("2", "EmptyImage"),
                Node("4", "LazySwitch", executions=2),
                Node("5", "SaveImage"),
            ],
        ),
        Workflow("expanding", "a node turns into four others", *expanding(5)),
        Workflow(
            "async",
            "two nodes wait at the same time",
            prompt(
                n1=("Number", {"value": 6}),
                n2=("AsyncUntilReleased", {"value": ("n1", 0), "event": "released"}),
                n3=("AsyncTicks", {"value": ("n1", 0), "ticks": 20}),
                n4=("Release", {"value": ("n3", 0), "event": "released"}),
                n5=("Show", {"first": ("n2", 0), "second": ("n4", 0)}),
            ),
            [
                Node("1", "Number"),
                Node("2", "AsyncUntilReleased", executions=2),
                Node("3", "AsyncTicks", executions=2),
                Node("4", "Release"),
                Node("5", "Show"),
            ],
            overlapping=("2", "3"),
        ),
    ]


def chains(count, first):
    """`count` chains of two trivial nodes; other numbers from `first` on mean that nothing is cached."""
    graph = {}
    for i in range(count):
        graph[str(2 * i + 1)] = {"class_type": "RigNumber", "inputs": {"number": first + i}}
        graph[str(2 * i + 2)] = {"class_type": "RigEnd", "inputs": {"number": [str(2 * i + 1), 0]}}
    return graph
