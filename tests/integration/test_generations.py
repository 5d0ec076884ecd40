"""Every executor generation on every CPython gives the same spans, and its application does what it does
without us."""

import re

import pytest

from rig import pythons, scenarios, traces

pytestmark = pytest.mark.timeout(120)

EVERY = [(generation, version) for generation in scenarios.GENERATIONS for version in pythons.find()]
WITHOUT_PROMPT_IDS = ("r0", "r1")  # their executors are not told


@pytest.mark.parametrize(
    "generation, version, name",
    [(generation, version, name) for generation, version in EVERY for name in scenarios.names(generation)],
)
def test_spans(traced, generation, version, name):
    run = traced(generation, version)
    trace = run.traces[name]
    assert trace, "no trace has come"
    told = generation not in WITHOUT_PROMPT_IDS
    prompt_id = run.prompt_ids[name] if told else ""
    assert traces.problems(trace, run.scenarios[name], prompt_id, queue_wait_known=told) == []


@pytest.mark.parametrize("generation, version", EVERY)
def test_the_stack_says_where_it_was_raised(traced, generation, version):
    trace = traced(generation, version).traces["failing"]
    failed = [span["meta"] for span in [trace.root, *trace.nodes] if span["error"]]
    assert [meta["error.message"] for meta in failed] == ["the sampler refused a négative σ"] * 2
    stacks = [meta["error.stack"] for meta in failed]
    for stack in stacks:
        lines = stack.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[-1] == "ValueError: the sampler refused a négative σ"
        assert re.search(r'nodes\.py", line \d+, in run', stack)


@pytest.mark.parametrize("generation, version", EVERY)
def test_the_application_does_the_same(bare, traced, generation, version):
    without, with_library = bare(generation, version), traced(generation, version)
    assert with_library.histories == without.histories
    assert with_library.log == without.log
    assert with_library.exit_code == without.exit_code == 0


@pytest.mark.parametrize("generation, version", EVERY)
def test_the_library_says_what_it_found(traced, generation, version):
    (line,) = traced(generation, version).library_log
    assert "Per-node execution instrumented" in line
    assert f"generation {'hiddenswitch' if generation == 'hidden' else generation.upper()}" in line
    assert f"Python {version}" in line
    swapped = version in ("3.9", "3.10", "3.11") or generation in ("r0", "r1", "r2")  # those raise
    assert line.endswith(", code swap)" if swapped else ", sys.monitoring)")
