"""A real ComfyUI, of the version in COMFYUI (run by COMFYUI_PYTHON): its traces say what happened, and
everything that its users can see is the same as without the library.

The same session is run twice, bare and with the library loaded: seven workflows, one after the other, then a
stop."""

import dataclasses
import os
import re
import signal

import pytest

from rig import comfyui, traces
from rig.agent import Agent
from rig.messages import Normaliser, Recorder
from rig.process import http
from rig.products import LIBRARY

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not os.environ.get("COMFYUI"),
        reason="needs a ComfyUI checkout: COMFYUI=dir COMFYUI_PYTHON=its-interpreter",
    ),
]

NAMES = ["ok", "cached", "failing", "interrupted", "lazy", "expanding", "async"]
CLIENT = "c0ffee00c0ffee00c0ffee00c0ffee00"
# What the client of the workflow `failing` says of itself: its span belongs into that client's trace.
PARENT = {"dd_trace_id": "1234567890123456789", "dd_parent_id": "987654321", "dd_sampling_priority": "2"}


@dataclasses.dataclass
class Session:
    """What could be seen of one run of the application."""

    prompt_ids: dict = dataclasses.field(default_factory=dict)  # by name of the workflow
    workflows: dict = dataclasses.field(default_factory=dict)
    traces: dict = dataclasses.field(default_factory=dict)
    messages: list = None
    history: dict = None
    images: list = None
    log: list = None
    library_log: list = None  # what comfydd said
    exit_code: int = None
    complaints: str = None  # the agent's
    checks: dict = None


def run_session(folder, agent=None):
    """Runs the session, with the library loaded when there is an agent."""
    app = comfyui.checkout_from_environment()
    # Without hash randomisation the executor's sets have the same order each time, and so have its messages.
    environment = {"PYTHONHASHSEED": "0", **({"DD_TRACE_AGENT_URL": agent.url} if agent else {})}
    session = Session()
    with comfyui.ComfyUI(app, folder / "app", LIBRARY if agent else None, environment) as application:
        recorder = Recorder(application.url, CLIENT)
        for workflow in application.workflows(folder):
            if workflow.lacks:
                continue
            prompt_id = application.run(workflow, CLIENT, **(PARENT if workflow.name == "failing" else {}))
            session.workflows[workflow.name] = workflow
            session.prompt_ids[workflow.name] = prompt_id
            if agent:
                session.traces[workflow.name] = agent.trace(prompt_id)
        history = http(application.url + "/history")
        session.images = [
            application.image(image)
            for entry in history.values()
            for node_id in sorted(entry["outputs"])
            for image in entry["outputs"][node_id].get("images", [])
        ]
        messages = recorder.stop()
    normaliser = Normaliser(session.prompt_ids.values(), folder)
    session.history = normaliser.value(history)
    session.messages = normaliser.messages(messages)
    session.log = normaliser.log(application.log())
    session.library_log = [line for line in application.log().splitlines() if line.startswith("comfydd:")]
    session.exit_code = application.exit_code
    return session


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return run_session(tmp_path_factory.mktemp("session"))


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    with Agent(folder) as agent:
        session = run_session(folder, agent)
        session.complaints = agent.complaints()
        session.checks = agent.checks_passed()
    return session


@pytest.mark.parametrize("name", NAMES)
def test_trace(traced, name):
    if name not in traced.workflows:
        pytest.skip("this ComfyUI has no nodes for it")
    trace, parent = traced.traces[name], {}
    assert trace, "no trace has come"
    if name == "failing":
        parent = {"parent_id": int(PARENT["dd_parent_id"]), "priority": int(PARENT["dd_sampling_priority"])}
        assert trace.root["trace_id"] == int(PARENT["dd_trace_id"])
    assert traces.problems(trace, traced.workflows[name], traced.prompt_ids[name], **parent) == []


def test_the_stack_of_the_failing_node_says_where_it_was_raised(traced):
    trace = traced.traces["failing"]
    stacks = [span["meta"]["error.stack"] for span in [trace.root] + trace.nodes if span["error"]]
    assert len(stacks) == 2
    for stack in stacks:
        where, line, what = stack.splitlines()[-3:]
        assert re.search(r'comfydd_rig_nodes\.py", line \d+, in fail$', where)
        assert (line.strip(), what) == (
            "raise ValueError(message)",
            "ValueError: the sampler refused a négative σ",
        )


def test_every_workflow_is_a_trace_of_its_own(traced):
    ids = {(trace.root["trace_id"], trace.root["meta"].get("_dd.p.tid")) for trace in traced.traces.values()}
    assert len(ids) == len(traced.workflows)


def test_the_agent_has_nothing_to_complain_about(traced):
    assert traced.complaints == ""
    for check in ("trace_count_header", "meta_tracer_version_header", "trace_content_length"):
        assert traced.checks[check] > 0


def test_the_library_says_once_that_it_traces(traced):
    assert sum("Per-node execution instrumented" in line for line in traced.library_log) == 1
    assert len(traced.library_log) <= 3


def test_messages_are_the_same(bare, traced):
    assert traced.messages == bare.messages
    assert {"executing", "executed", "execution_error"} <= {m["type"] for m in bare.messages}


def test_history_is_the_same(bare, traced):
    assert traced.history == bare.history
    assert len(bare.history) == len(bare.workflows)


def test_images_are_the_same(bare, traced):
    assert traced.images == bare.images
    assert len(bare.images) >= 4


def test_log_is_the_same(bare, traced):
    assert traced.log == bare.log
    assert sum(line.endswith("got prompt") for line in bare.log) == len(bare.workflows)


def test_exit_code_is_the_same(bare, traced):
    """Before June 2023 it does not catch the signal that stops it."""
    assert traced.exit_code == bare.exit_code
    assert bare.exit_code in (0, -signal.SIGINT)
