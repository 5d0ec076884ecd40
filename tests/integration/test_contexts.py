"""The trace context that a job brings in its extra_data, right or wrong, and nothing else of extra_data."""

import json

import pytest

from rig import comfyui, pythons, session
from rig.stand_in import StandIn
from rig.workflows import prompt

pytestmark = pytest.mark.timeout(120)

HIGH, LOW, PARENT = 0x6710000000000001, 0x1122334455667788, 987654321
WIDE = HIGH << 64 | LOW
W3C = f"00-{WIDE:032x}-{PARENT:016x}-"

# extra_data, and the (upper half, lower half, parent, priority) that must come of it
ACCEPTED = {
    "texts": ({"dd_trace_id": str(LOW), "dd_parent_id": str(PARENT)}, (0, LOW, PARENT, 1)),
    "numbers": ({"dd_trace_id": LOW, "dd_parent_id": PARENT}, (0, LOW, PARENT, 1)),
    "wide-text": ({"dd_trace_id": str(WIDE), "dd_parent_id": str(PARENT)}, (HIGH, LOW, PARENT, 1)),
    "wide-number": ({"dd_trace_id": WIDE, "dd_parent_id": PARENT}, (HIGH, LOW, PARENT, 1)),
    "largest": ({"dd_trace_id": 2**64 - 1, "dd_parent_id": 2**64 - 1}, (0, 2**64 - 1, 2**64 - 1, 1)),
    "kept-by-user": (
        {"dd_trace_id": LOW, "dd_parent_id": PARENT, "dd_sampling_priority": "2"},
        (0, LOW, PARENT, 2),
    ),
    "priority-number": (
        {"dd_trace_id": LOW, "dd_parent_id": PARENT, "dd_sampling_priority": 2},
        (0, LOW, PARENT, 2),
    ),
    "rejected": (
        {"dd_trace_id": LOW, "dd_parent_id": PARENT, "dd_sampling_priority": -1},
        (0, LOW, PARENT, -1),
    ),
    "odd-priority": (
        {"dd_trace_id": LOW, "dd_parent_id": PARENT, "dd_sampling_priority": "7"},
        (0, LOW, PARENT, 1),
    ),
    "traceparent": ({"traceparent": W3C + "01"}, (HIGH, LOW, PARENT, 1)),
    "traceparent-unsampled": ({"traceparent": W3C + "00"}, (HIGH, LOW, PARENT, 0)),
    "tracestate": ({"traceparent": W3C + "01", "tracestate": "x=y,dd=s:2;o:rum;t.dm:-4;t.usr.id:YQ~~"}, (HIGH, LOW, PARENT, 2)),
    "none": ({"dd_trace_id": None, "dd_parent_id": None, "traceparent": W3C + "01"}, (HIGH, LOW, PARENT, 1)),
    "both": (
        {"dd_trace_id": LOW, "dd_parent_id": PARENT, "traceparent": f"00-{5:032x}-{6:016x}-00"},
        (0, LOW, PARENT, 1),
    ),
}

REFUSED = {
    "word": {"dd_trace_id": "abc", "dd_parent_id": "5"},
    "negative": {"dd_trace_id": "-5", "dd_parent_id": "5"},
    "zero": {"dd_trace_id": "0", "dd_parent_id": "5"},
    "zero-parent": {"dd_trace_id": "5", "dd_parent_id": 0},
    "fraction": {"dd_trace_id": "5", "dd_parent_id": 5.5},
    "too-long": {"dd_trace_id": "9" * 40, "dd_parent_id": "5"},
    "huge-number": {"dd_trace_id": 2**128, "dd_parent_id": 5},
    "list": {"dd_trace_id": [5], "dd_parent_id": {}},
    "no-parent": {"dd_trace_id": "5"},
    "surrogate": {"dd_trace_id": "5\udcff", "dd_parent_id": "5"},
    "beside-a-traceparent": {"dd_trace_id": "abc", "dd_parent_id": "5", "traceparent": W3C + "01"},
    "traceparent-word": {"traceparent": "garbage"},
    "traceparent-zero": {"traceparent": f"00-{0:032x}-{0:016x}-01"},
    "traceparent-number": {"traceparent": 5},
    "traceparent-capitals": {"traceparent": "00-" + "AB" * 16 + "-" + "cd" * 8 + "-01"},
}
COMPLAINTS = 10  # log lines of that kind per process

NUMBER = prompt(n1=("Fresh", {"value": 1}), n2=("Show", {"a": ("n1", 0)}))
SECRETS = {
    "api_key_comfy_org": "comfyui-s3cret",
    "auth_token_comfy_org": "t0ken",
    "extra_pnginfo": {"workflow": {"id": "w0rkflow"}},
}


@pytest.fixture(scope="module", params=sorted({list(pythons.find())[0], list(pythons.find())[-1]}))
def contexts(request, running_agent, tmp_path_factory):
    """(traces by case, the library's log lines, all spans as text): every case as a job of one process."""
    folder = tmp_path_factory.mktemp("contexts")
    app = StandIn(pythons.find()[request.param])
    with comfyui.ComfyUI(
        app, folder / "app", session.LIBRARY, {"DD_TRACE_AGENT_URL": running_agent.url}
    ) as application:
        for name, extra_data in {**{n: case[0] for n, case in ACCEPTED.items()}, **REFUSED}.items():
            application.wait(application.submit(NUMBER, {"job_id": name, **SECRETS, **extra_data}))
    spans = running_agent.take_spans()
    lines = [line for line in application.log().splitlines() if line.startswith("comfydd:")]
    return {name: session.of_job(spans, name) for name in [*ACCEPTED, *REFUSED]}, lines, json.dumps(spans)


def context_of(trace):
    root = trace.root
    high = int(root["meta"].get("_dd.p.tid", "0"), 16)
    return high, root["trace_id"], root["parent_id"], root["metrics"]["_sampling_priority_v1"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_context_is_taken_over(contexts, name):
    trace = contexts[0][name]
    assert context_of(trace) == ACCEPTED[name][1]
    assert [span["trace_id"] for span in trace.nodes] == [trace.root["trace_id"]] * 2


def test_the_origin_of_a_trace_is_kept(contexts):
    trace = contexts[0]["tracestate"]
    assert [span["meta"]["_dd.origin"] for span in (trace.root, *trace.nodes)] == ["rum"] * 3


def test_the_tags_of_a_trace_are_kept(contexts):
    meta = contexts[0]["tracestate"].root["meta"]
    assert (meta["_dd.p.dm"], meta["_dd.p.usr.id"]) == ("-4", "YQ==")
    assert "_dd.p.dm" not in contexts[0]["traceparent"].root["meta"]  # nobody has said who decided


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_context_starts_a_new_trace(contexts, name):
    trace = contexts[0][name]
    high, low, parent, priority = context_of(trace)
    assert (parent, priority) == (0, 1)
    assert low not in (0, 5, LOW)
    assert high >> 32  # a time: a fresh 128-bit id
    assert len(trace.nodes) == 2


def test_malformed_contexts_are_reported_a_few_times(contexts):
    lines = [line for line in contexts[1] if "starts a trace of its own" in line]
    assert len(lines) == min(COMPLAINTS, len(REFUSED))
    assert sum("dd_sampling_priority" in line for line in contexts[1]) == 1


def test_nothing_else_of_extra_data_leaves_the_process(contexts):
    _, lines, spans = contexts
    for secret in ("comfyui-s3cret", "t0ken", "w0rkflow"):
        assert secret not in spans
        assert not any(secret in line for line in lines)
