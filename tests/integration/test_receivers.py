"""What the library sends is what Datadog's receivers take: nothing to complain about, and nothing lost on the
way."""

import os
import pathlib
import shutil

import pytest

from rig import comfyui, pythons, scenarios, session, traces
from rig.agent import Agent
from rig.mini_agent import MiniAgent
from rig.stand_in import StandIn

pytestmark = pytest.mark.timeout(180)

VERSION = list(pythons.find())[-1]


def test_the_test_agent_finds_nothing_wrong(agent, traced):
    traced("a3", VERSION)
    assert agent.complaints() == ""
    passed = agent.checks_passed()
    for check in ("trace_count_header", "meta_tracer_version_header", "trace_content_length"):
        assert passed[check] > 0


def test_the_mini_agent_sends_on_what_it_was_sent(tmp_path):
    if not shutil.which("npm"):
        pytest.skip("the mini agent comes from npm, which is not here")
    with MiniAgent(tmp_path) as agent:
        run = session.run(StandIn(pythons.with_pillow(VERSION), "a3"), tmp_path, agent)
        count = sum(1 + len(scenario.nodes) for scenario in run.scenarios.values())
        session.collect(run, agent.spans(count))
    for name, scenario in run.scenarios.items():
        assert run.traces[name], name
        assert traces.problems(run.traces[name], scenario, run.prompt_ids[name]) == []


SNAPSHOTS = pathlib.Path(__file__).resolve().parent / "snapshots"
IN_SNAPSHOTS = ["ok", "half-cached", "failing", "lazy", "expanding", "async"]
MEASURED = [  # besides what the agent never compares
    "meta.error.stack",
    "metrics.node.active_ms",
    "metrics.workflow.queue_wait_ms",
    "metrics.memory.ram_available_bytes.before",
    "metrics.memory.ram_available_bytes.after",
    "metrics.memory.rss_bytes.after",
]


@pytest.mark.parametrize("generation", ["r4", "x1", "a3"])
def test_spans_are_like_their_snapshot(tmp_path, generation):
    """Every field of every span. SNAPSHOT_UPDATE=1 writes what is received now."""
    snapshot = SNAPSHOTS / f"{generation}.json"
    if os.environ.get("SNAPSHOT_UPDATE"):
        snapshot.unlink(missing_ok=True)
    else:
        assert snapshot.exists()
    chosen = [s for s in scenarios.of(generation) if s.name in IN_SNAPSHOTS]
    with Agent(tmp_path, SNAPSHOTS) as agent:
        agent.start_session(generation)
        app = comfyui.ComfyUI(
            StandIn(pythons.find()[VERSION], generation),
            tmp_path / "app",
            session.LIBRARY,
            {"DD_TRACE_AGENT_URL": agent.url},
        )
        with app as application:
            for number, scenario in enumerate(chosen):
                prompt_id = f"00000000-0000-4000-8000-{number:012}"
                application.submit(scenario.prompt, {"job_id": scenario.job_id}, prompt_id=prompt_id)
                application.wait(prompt_id)
        agent.compare_with_snapshot(generation, MEASURED)
