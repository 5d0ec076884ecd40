"""Executors inside executors, forks and child processes: each workflow has its own tree, children are left
alone."""

import pytest

from rig import comfyui, pythons, scenarios, session
from rig.stand_in import StandIn
from rig.workflows import prompt

pytestmark = pytest.mark.timeout(120)

EVERY = [(generation, version) for generation in scenarios.GENERATIONS for version in pythons.find()]
ENDS = sorted({list(pythons.find())[0], list(pythons.find())[-1]})  # both ways of watching
CHILDREN = {
    "python": (["PYTHON", "-c", "print(6 * 7)"], "0 42\n"),
    "python-that-fails": (["PYTHON", "-c", "import sys; sys.exit(3)"], "3 "),
    "shell": (["sh", "-c", "echo hello; exit 4"], "4 hello\n"),
    "true": (["true"], "0 "),
}


def run(folder, agent, generation, version, jobs):
    """What the jobs {job id: prompt} showed, all spans, and the application, with and without the library."""
    results = []
    for library in (None, session.LIBRARY):
        app = StandIn(pythons.find()[version], generation)
        environment = {"DD_TRACE_AGENT_URL": agent.url}
        with comfyui.ComfyUI(app, folder / f"app{len(results)}", library, environment) as application:
            ids = {job: application.submit(graph, {"job_id": job}) for job, graph in jobs.items()}
            shown = {job: application.wait(prompt_id)["outputs"] for job, prompt_id in ids.items()}
        log = [line for line in application.log().splitlines() if "listening on" not in line]
        results.append(
            (shown, [line for line in log if not line.startswith("comfydd:")], application.exit_code)
        )
    assert results[0] == results[1]
    spans = agent.take_spans()
    return results[1][0], spans, [line for line in log if line.startswith("comfydd:")]


def names(trace):
    return [(span["meta"]["node.id"], span["resource"], span["meta"]["node.result"]) for span in trace.nodes]


def outer(class_type, **inputs):
    return prompt(
        n1=("Number", {"value": 1}),
        n2=(class_type, {"value": ("n1", 0), **inputs}),
        n3=("Show", {"a": ("n2", 0)}),
    )


def workflows(spans):
    return [span for span in spans if span["name"] == "comfyui.workflow.execute"]


@pytest.mark.parametrize("generation, version", EVERY)
def test_an_executor_inside_a_node(agent, tmp_path, generation, version):
    jobs = {"threaded": outer("NestedExecutor", prompt_id="inner-1", thread=True)}
    if generation not in scenarios.ASYNC:  # a loop runs on the thread already
        jobs["same-thread"] = outer("NestedExecutor", prompt_id="inner-2", thread=False)
    _, spans, _ = run(tmp_path, agent, generation, version, jobs)
    for job in jobs:
        trace = session.of_job(spans, job)
        assert names(trace) == [
            ("1", "Number", "SUCCESS"),
            ("2", "NestedExecutor", "SUCCESS"),
            ("3", "Show", "SUCCESS"),
        ]
    inner = [root for root in workflows(spans) if "job.id" not in root["meta"]]
    assert len(inner) == len(jobs)
    for root in inner:
        children = [span for span in spans if span["parent_id"] == root["span_id"]]
        assert sorted(span["resource"] for span in children) == ["Number", "Show"]
        assert {span["trace_id"] for span in children} == {root["trace_id"]}
        assert root["meta"]["workflow.status"] == "success"
    assert len(spans) == 4 * len(jobs) + 3 * len(inner)


@pytest.mark.parametrize("version", pythons.find())
@pytest.mark.parametrize("generation", ["r4", "a3"])
def test_a_fork_inside_a_node(agent, tmp_path, generation, version):
    """The child runs Python and ends; only the parent's spans arrive, once."""
    shown, spans, _ = run(tmp_path, agent, generation, version, {"fork": outer("ForkPython", prompt_id="")})
    assert shown["fork"]["3"]["values"] == ["43"]
    assert names(session.of_job(spans, "fork")) == [
        ("1", "Number", "SUCCESS"),
        ("2", "ForkPython", "SUCCESS"),
        ("3", "Show", "SUCCESS"),
    ]
    assert len(spans) == 4


@pytest.mark.parametrize("version", pythons.find())
@pytest.mark.parametrize("generation", ["r4", "a3"])
def test_a_fork_that_runs_a_workflow(agent, tmp_path, generation, version):
    """The child's workflow is a tree of its own."""
    shown, spans, _ = run(
        tmp_path, agent, generation, version, {"fork": outer("ForkPython", prompt_id="in-the-child")}
    )
    assert shown["fork"]["3"]["values"] == ["43"]
    assert len(session.of_job(spans, "fork").nodes) == 3
    (child,) = [root for root in workflows(spans) if root["meta"]["workflow.prompt_id"] == "in-the-child"]
    inner = [span for span in spans if span["parent_id"] == child["span_id"]]
    assert sorted(span["resource"] for span in inner) == ["Number", "Show"]
    (parent,) = [root for root in workflows(spans) if root is not child]
    assert child["metrics"]["process_id"] != parent["metrics"]["process_id"]
    assert len(spans) == 7


@pytest.mark.parametrize("version", ENDS)
def test_children_of_a_node(agent, tmp_path, version):
    jobs = {job: outer("SpawnProcess", command={"words": words}) for job, (words, _) in CHILDREN.items()}
    shown, spans, lines = run(tmp_path, agent, "a3", version, jobs)
    assert {job: outputs["3"]["values"] for job, outputs in shown.items()} == {
        job: [result] for job, (_, result) in CHILDREN.items()
    }
    assert len(spans) == 4 * len(jobs)
    assert len(lines) == 1
