"""`make demo` shows seven right traces on the stand-in, and would notice a wrong one."""

import copy
import os
import pathlib
import subprocess
import sys

import pytest

from rig import traces, workflows

DEMO = pathlib.Path(__file__).resolve().parents[1] / "demo.py"
FAILING = workflows.of_stand_in()[2]


@pytest.mark.timeout(240)
def test_the_demo_prints_seven_right_traces():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMFYUI")}
    done = subprocess.run(
        [sys.executable, DEMO],
        env=environment,
        timeout=200,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    for number, workflow in enumerate(workflows.of_stand_in(), 1):
        assert f"{number}. {workflow.name}: {workflow.about}" in done.stdout
    assert done.stdout.count("workflow#") == 7 + 1  # the killed one
    assert "WRONG" not in done.stdout
    assert "raised at" in done.stdout
    assert done.stdout.count("Per-node execution instrumented") == 1 + 2  # before the kill and after it
    assert "KILLED" in done.stdout and "demo-killed   failed   WaitForInterrupt" in done.stdout


def right_trace():
    """Spans of the failing workflow as they must be."""

    def span(span_id, parent_id, name, resource, start, duration, meta, metrics, error=None):
        errors = (
            {"error.type": error[0], "error.message": error[1], "error.stack": "Traceback"} if error else {}
        )
        return {
            "service": "comfyui",
            "name": name,
            "type": "worker",
            "resource": resource,
            "trace_id": 7,
            "span_id": span_id,
            "parent_id": parent_id,
            "start": start,
            "duration": duration,
            "error": 1 if error else 0,
            "metrics": metrics,
            "meta": {
                "env": "production",
                "component": "comfyui",
                "language": "c",
                "workflow.prompt_id": "p",
                **meta,
                **errors,
            },
        }

    def node(span_id, start, expected):
        return span(
            span_id,
            1,
            traces.NODE_NAME,
            expected.class_type,
            start,
            10**6,
            {
                "span.kind": "internal",
                "node.id": expected.id,
                "node.class_type": expected.class_type,
                "node.result": expected.result,
            },
            {
                "_dd.measured": 1,
                "node.executions": 1,
                "node.active_ms": 0.5,
                "memory.rss_bytes.after": 2**30,
                "memory.ram_available_bytes.before": 2**33,
                "memory.ram_available_bytes.after": 2**33,
            },
            expected.error,
        )

    root = span(
        1,
        0,
        traces.WORKFLOW_NAME,
        "workflow#p",
        1000,
        10**7,
        {"span.kind": "consumer", "job.id": FAILING.job_id, "workflow.status": "error"},
        {
            "_sampling_priority_v1": 1,
            "workflow.queue_wait_ms": 0.5,
            "workflow.nodes.total": 2,
            "workflow.nodes.executed": 2,
            "workflow.nodes.cached": 0,
            "workflow.nodes.failed": 1,
        },
        FAILING.error,
    )
    return [root] + [node(2 + i, 2000 + i * 10**6, expected) for i, expected in enumerate(FAILING.nodes)]


def wrong_traces():
    """One thing after the other that can be wrong with a right trace: (what, index of the span, what makes it
    so)."""
    right = right_trace()
    for i, span in enumerate(right):
        for field in ("name", "service", "resource", "type", "parent_id", "start", "error"):
            if field != "type" or i == 0:  # nothing says what type a node has
                yield f"{field} of span {i}", i, lambda s, f=field: s.update(
                    {f: "other" if isinstance(s[f], str) else s[f] + 10**12}
                )
        for kind in ("meta", "metrics"):
            for name in span[kind]:
                yield f"{name} of span {i} missing", i, lambda s, k=kind, n=name: s[k].pop(n)
        if i:
            yield f"node.cached of span {i}", i, lambda s: s["meta"].update({"node.cached": "true"})


def problems(spans):
    trace = traces.find(spans, "p")
    return traces.problems(trace, FAILING, "p") if trace else ["no trace"]


def test_a_right_trace_has_no_problems():
    assert problems(right_trace()) == []


@pytest.mark.parametrize(
    "index, change", [pytest.param(index, change, id=what) for what, index, change in wrong_traces()]
)
def test_a_wrong_trace_has_problems(index, change):
    spans = copy.deepcopy(right_trace())
    change(spans[index])
    assert problems(spans)


@pytest.mark.parametrize(
    "spans", [right_trace()[:2], right_trace() + right_trace()[2:], right_trace()[1:], []]
)
def test_missing_and_repeated_spans_are_problems(spans):
    assert problems(spans)
