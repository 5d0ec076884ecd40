"""The shim, the library, an executor and ddtrace together: two tracers of one process send to one agent, and what
they send must be one trace."""

import json
import subprocess

import pytest
from programs import HERE, LIBRARY, REPOSITORY, environment
from rig.agent import Agent
from rig.pythons import python_of
from test_shim import MATRIX, PRESTARTUP, SILENT

GENERATIONS = REPOSITORY / "tests" / "fakes" / "comfyui"

pytestmark = pytest.mark.timeout(900)  # making virtual environments included

# ddtrace, Python, executor, how the library gets into the process.
RUNS = [(version, python, "a3", "LD_PRELOAD") for version, python in MATRIX]
RUNS += [("4.16.0", "3.11", "r4", "LD_PRELOAD"), ("4.16.0", "3.11", "a3", "COMFYDD_LIB")]


class Received:
    """What the agent received from one run of shim_application.py, and what that saw itself."""

    def __init__(self, spans, seen):
        self.spans = spans
        self.headers, self.logs, self.outer = seen["headers"], seen["logs"], seen["outer"]

    def workflow(self, prompt_id):
        return self.one(resource=f"workflow#{prompt_id}")

    def node(self, prompt_id, node_id):
        nodes = self.children(self.workflow(prompt_id), "comfyui.node.execute")
        (span,) = [span for span in nodes if span["meta"]["node.id"] == node_id]
        return span

    def one(self, **fields):
        (span,) = [s for s in self.spans if all(s[name] == value for name, value in fields.items())]
        return span

    def children(self, parent, *names):
        """The spans below `parent`, of these names if any are given, oldest first."""
        found = [
            s
            for s in self.spans
            if s["parent_id"] == parent["span_id"] and s["name"] in (names or [s["name"]])
        ]
        return sorted(found, key=lambda span: span["start"])


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def received(request, tmp_path_factory):
    version, python, generation, way = request.param
    command = [python_of(python, f"ddtrace=={version}", "requests", "httpx", "aiohttp")]
    command += [HERE / "shim_application.py", GENERATIONS / generation, PRESTARTUP]
    with Agent(tmp_path_factory.mktemp("agent")) as agent:
        variables = {**SILENT, way: LIBRARY, "DD_TRACE_AGENT_URL": agent.url, "DD_LOGS_INJECTION": "true"}
        variables["COMFYDD_FLIGHT_FOLDER"] = str(tmp_path_factory.mktemp("flight"))
        done = subprocess.run(
            command, env=environment(**variables), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("comfydd: ") == 1, done.stderr  # what instruments the nodes
        assert agent.complaints() == ""
        return Received(agent.spans(), json.loads(done.stdout.splitlines()[-1]))


def test_library_spans_are_children_of_their_nodes(received):
    for node_id, path in (("1", "/first"), ("2", "/second")):
        node = received.node("sync", node_id)
        found = [(span["name"], span["resource"]) for span in received.children(node)]
        get = ("requests.request", f"GET {path}")
        assert found == [get, ("http.request", "http.request"), get, ("sqlite.query", "select 1")]


def test_async_nodes_keep_their_library_spans_apart(received):
    if "/one" not in received.headers:
        pytest.skip("an executor without async nodes")
    first, second = received.node("async", "1"), received.node("async", "2")
    assert first["start"] < second["start"] < first["start"] + first["duration"]
    for node, path in ((first, "/one"), (second, "/two")):
        requests = received.children(node)
        assert [span["name"] for span in requests] == ["aiohttp.request"] * 2
        assert all(path in span["meta"]["http.url"] for span in requests)


def test_a_failing_library_call_is_below_the_node_that_failed(received):
    node = received.node("failing", "1")
    (query,) = received.children(node)
    assert query["name"] == "sqlite.query" and query["error"] == node["error"] == 1
    assert query["meta"]["error.type"] == node["meta"]["error.type"] == "sqlite3.OperationalError"


def test_both_tracers_say_the_same(received):
    workflow = received.workflow("sync")
    nodes = received.children(workflow)
    for library_span in [span for node in nodes for span in received.children(node)]:
        assert library_span["trace_id"] == workflow["trace_id"]
        meta, own = library_span["meta"], workflow["meta"]
        assert meta.get("_dd.base_service", library_span["service"]) == workflow["service"] == "comfyui"
        assert (
            library_span["metrics"]["_sampling_priority_v1"] == workflow["metrics"]["_sampling_priority_v1"]
        )
        for name in ("env", "runtime-id", "_dd.p.tid", "_dd.p.dm"):
            assert meta[name] == own[name], name
        assert meta["_dd.profiling.local_root_span_id"] == "%016x" % workflow["span_id"]


def test_headers_carry_our_trace(received):
    workflow, sent = received.workflow("sync"), received.headers["/first"]
    requests = received.children(received.node("sync", "1"), "requests.request")
    assert sent["x-datadog-trace-id"] == str(workflow["trace_id"])
    assert sent["x-datadog-parent-id"] == str(requests[-1]["span_id"])
    assert sent["x-datadog-sampling-priority"] == "1"
    tags = dict(tag.split("=") for tag in sent["x-datadog-tags"].split(","))
    assert tags == {name: workflow["meta"][name] for name in ("_dd.p.dm", "_dd.p.tid")}
    trace_id = workflow["meta"]["_dd.p.tid"] + "%016x" % workflow["trace_id"]
    assert sent["traceparent"] == "00-%s-%016x-01" % (trace_id, requests[-1]["span_id"])


def test_log_records_carry_the_node(received):
    assert received.logs["/first"] == str(received.node("sync", "1")["span_id"])
    assert received.logs["/second"] == str(received.node("sync", "2")["span_id"])
    if "/one" in received.logs:
        assert received.logs["/one"] == str(received.node("async", "1")["span_id"])
        assert received.logs["/two"] == str(received.node("async", "2")["span_id"])


def test_a_trace_dropped_upstream_is_dropped_downstream(received):
    sent = received.headers["/dropped"]
    assert (sent["x-datadog-trace-id"], sent["x-datadog-sampling-priority"]) == ("77", "-1")
    assert sent["traceparent"].endswith("-00")


def test_a_workflow_continues_the_trace_that_queued_it(received):
    trace_id, span_id = received.outer
    workflow = received.workflow("inside")
    assert (workflow["trace_id"], workflow["parent_id"]) == (trace_id % 2**64, span_id)
    assert workflow["meta"]["_dd.p.tid"] == "%016x" % (trace_id >> 64)
    assert len(received.children(received.node("inside", "1"))) == 4
    maker = received.one(resource="post /prompt")["meta"]["_dd.p.dm"]
    assert workflow["meta"]["_dd.p.dm"] == maker
    assert f"_dd.p.dm={maker}" in received.headers["/inside"]["x-datadog-tags"].split(",")


def test_a_trace_that_the_job_names_comes_first(received):
    workflow = received.workflow("named")
    assert (workflow["trace_id"], workflow["parent_id"]) == (79, 80)
    assert "_dd.p.tid" not in workflow["meta"]


def test_nothing_of_ours_is_active_outside(received):
    assert received.one(resource="GET /outside")["parent_id"] == 0
    assert received.one(resource="post /prompt")["parent_id"] == 0
