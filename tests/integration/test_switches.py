"""The switches that say what is traced, seen from the agent, and executors that run without a cache."""

import json
import socket

import pytest

from rig import pythons, scenarios, session
from rig.stand_in import StandIn

pytestmark = pytest.mark.timeout(120)

ENDS = sorted({list(pythons.find())[0], list(pythons.find())[-1]})  # both ways of watching
WANTED = ["ok", "half-cached", "failing"]
MEMORY = {"memory.ram_available_bytes.before", "memory.ram_available_bytes.after", "memory.rss_bytes.after"}


def run(folder, agent, version, **variables):
    app = StandIn(pythons.find()[version])
    done = session.run(app, folder, agent, wanted=WANTED, environment=variables)
    assert done.exit_code == 0
    return session.collect(done, agent.take_spans())


def resources(trace):
    return [span["resource"] for span in trace.nodes]


@pytest.mark.parametrize("version", ENDS)
def test_all_of_them_as_they_are_by_default(agent, tmp_path, version):
    done = run(tmp_path, agent, version)
    assert resources(done.traces["half-cached"]) == ["EmptyImage", "ImageInvert", "ImageScale", "SaveImage"]
    assert all(MEMORY <= set(span["metrics"]) for span in done.traces["ok"].nodes)


@pytest.mark.parametrize("version", ENDS)
def test_without_cached_nodes(agent, tmp_path, version):
    done = run(tmp_path, agent, version, COMFYDD_CACHED_NODES="false")
    assert resources(done.traces["half-cached"]) == ["ImageScale", "SaveImage"]
    assert len(done.traces["ok"].nodes) == 4


@pytest.mark.parametrize("version", ENDS)
def test_without_node_spans(agent, tmp_path, version):
    done = run(tmp_path, agent, version, NODE_TRACING_ENABLED="false")
    assert all(trace.nodes == [] for trace in done.traces.values())
    assert done.traces["ok"].root["metrics"]["workflow.nodes.executed"] == 4
    assert done.traces["half-cached"].root["metrics"]["workflow.nodes.cached"] == 2
    assert done.traces["failing"].root["meta"]["error.type"] == "builtins.ValueError"


@pytest.mark.parametrize("version", ENDS)
def test_without_memory_figures(agent, tmp_path, version):
    done = run(tmp_path, agent, version, NODE_MEMORY_TRACKING="false")
    assert all(not MEMORY & set(span["metrics"]) for trace in done.traces.values() for span in trace.nodes)
    assert len(done.traces["ok"].nodes) == 4


@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("variable", ["COMFYDD_ENABLED", "DD_TRACE_ENABLED", "DD_APM_TRACING_ENABLED"])
def test_off(agent, tmp_path, version, variable):
    done = run(tmp_path, agent, version, **{variable: "false"})
    assert done.traces == {name: None for name in WANTED}
    assert done.library_log == []


@pytest.mark.parametrize("version", ENDS)
def test_identity(agent, tmp_path, version):
    variables = {
        "DD_SERVICE": "pictures",
        "DD_ENV": "test",
        "DD_VERSION": "1.2",
        "DD_TAGS": "team:blue,floor:3",
    }
    done = run(tmp_path, agent, version, **variables)
    for trace in done.traces.values():
        for span in [trace.root, *trace.nodes]:
            assert span["service"] == "pictures"
            named = {name: span["meta"].get(name) for name in ("env", "version", "team", "floor")}
            assert named == {"env": "test", "version": "1.2", "team": "blue", "floor": "3"}


SPAN_RULES = """[{"resource": "Image*", "max_per_second": 50}, {"name": "comfyui.workflow.*"}]"""


def test_sampling_and_ids(agent, tmp_path):
    """Traces are dropped, but for one job's, and single spans: of nodes that ran, nodes that were cached, and workflows."""
    variables = {"DD_TRACE_SAMPLE_RATE": "0", "DD_SPAN_SAMPLING_RULES": SPAN_RULES}
    variables["DD_TRACE_SAMPLING_RULES"] = """[{"tags": {"workflow.prompt_id": "*-*", "job.id": "demo-failing"}}]"""
    done = run(tmp_path, agent, ENDS[-1], DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED="false", **variables)
    tags = [f"_dd.span_sampling.{name}" for name in ("mechanism", "rule_rate", "max_per_second")]
    by_rule = {"ImageInvert": (8, 1, 50), "ImageScale": (8, 1, 50), "EmptyImage": (None,) * 3, "SaveImage": (None,) * 3}
    for name in ("ok", "half-cached"):
        root, nodes = done.traces[name].root, done.traces[name].nodes
        assert root["metrics"]["_sampling_priority_v1"] == -1 and root["metrics"]["_dd.rule_psr"] == 0
        assert not {"_dd.p.dm", "_dd.p.tid"} & root["meta"].keys()
        assert tuple(map(root["metrics"].get, tags)) == (8, 1, None)
        assert {span["resource"]: tuple(map(span["metrics"].get, tags)) for span in nodes} == by_rule
    kept = done.traces["failing"]
    assert kept.root["metrics"]["_sampling_priority_v1"] == 2 and kept.root["meta"]["_dd.p.dm"] == "-3"
    assert not any(tags[0] in span["metrics"] for span in (kept.root, *kept.nodes))


def test_the_systems_host_name(agent, tmp_path):
    done = run(tmp_path, agent, ENDS[-1], DD_TRACE_REPORT_HOSTNAME="true")
    assert done.traces["ok"].root["meta"]["_dd.hostname"] == socket.gethostname()


def test_lines_for_developers(agent, tmp_path):
    done = run(tmp_path, agent, ENDS[-1], DD_TRACE_DEBUG="true")
    assert any("POST /v0.4/traces" in line for line in done.library_log)


def test_the_configuration_is_told_when_asked_for(agent, tmp_path):
    """In the form that all of Datadog's tracers have."""
    done = run(tmp_path, agent, ENDS[-1], DD_TRACE_STARTUP_LOGS="true", DD_SERVICE="pictures", DD_TRACE_SAMPLE_RATE="0.5")
    told, _ = done.library_log
    told = json.loads(told.partition("DATADOG TRACER CONFIGURATION - ")[2])
    assert {"lang": "c", "service": "pictures", "env": "production", "sample_rate": 0.5}.items() <= told.items()
    assert told["agent_url"] == agent.url


@pytest.mark.parametrize(
    "url, sent",
    [
        ("https://example.com/a/b.git", "https://example.com/a/b.git"),
        ("https://me:s3cret@example.com/a/b@c", "https://example.com/a/b@c"),
        ("https://t0ken@example.com", "https://example.com"),
        ("https://me:p@ss@example.com/a", "https://example.com/a"),
        ("ssh://git@example.com:22/a/b", "ssh://example.com:22/a/b"),
        ("git@example.com:a/b.git", "git@example.com:a/b.git"),
    ],
)
def test_what_the_code_is_and_on_which_host_it_runs(agent, tmp_path, url, sent):
    """Once per trace, where Datadog looks for it: on the first span of a chunk."""
    done = run(
        tmp_path,
        agent,
        ENDS[-1],
        DD_GIT_REPOSITORY_URL=url,
        DD_GIT_COMMIT_SHA="5ca1ab1e",
        DD_TRACE_REPORT_HOSTNAME="true",
        DD_HOSTNAME="gpu-7",
    )
    wanted = {"_dd.git.repository_url": sent, "_dd.git.commit.sha": "5ca1ab1e", "_dd.hostname": "gpu-7"}
    for trace in done.traces.values():
        assert wanted.items() <= trace.root["meta"].items()
        assert not any(wanted.keys() & span["meta"].keys() for span in trace.nodes)


@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("generation", scenarios.CACHE_NONE)
@pytest.mark.parametrize("options, kept", [(["--cache-none"], 0), (["--cache-lru", "1"], 1), (["--cache-lru", "9"], 9)])
def test_a_node_that_runs_twice_has_two_spans(agent, tmp_path, generation, options, kept, version):
    """With a cache that keeps little, an input that is asked for late is made once more."""
    app = StandIn(pythons.find()[version], generation, options)
    wanted = ["ok", "cached", "lazy-late", "expanding", "async"]
    done = session.collect(session.run(app, tmp_path, agent, wanted=wanted), agent.take_spans())
    root, nodes = done.traces["lazy-late"].root, done.traces["lazy-late"].nodes
    again = [] if kept == 9 else ["1"]
    assert [span["meta"]["node.id"] for span in nodes] == ["1", "2", "3", "4", *again, "5"]
    assert not any("node.cached" in span["meta"] for span in nodes)
    assert root["metrics"]["workflow.nodes.executed"] == root["metrics"]["workflow.nodes.total"] == len(nodes)
    assert done.traces["cached"].root["metrics"]["workflow.nodes.executed"] == (0 if kept == 9 else 4)
    for name in ("expanding", "async"):
        assert len(done.traces[name].nodes) == len({span["meta"]["node.id"] for span in done.traces[name].nodes})
