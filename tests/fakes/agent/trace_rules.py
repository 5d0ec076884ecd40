"""What a v0.4 payload must look like, field by field: the agent's types and limits, and our own promises.

Sources: datadog-agent pkg/trace (normalizer.go, truncator.go), dd-trace-cpp's tags, docs/protocol.md."""

import re

FIELDS = {
    "service": str, "name": str, "resource": str, "type": str,
    "trace_id": int, "span_id": int, "parent_id": int,
    "start": int, "duration": int, "error": int,
    "meta": dict, "metrics": dict,
}
TEXT_LIMITS = {"service": 100, "name": 100, "resource": 5000, "type": 100}
YEAR_2000 = 946684800 * 10**9
FIRST_SPAN_ONLY = ("_dd.p.dm", "_dd.p.tid", "_dd.p.ksr", "_dd.hostname",
                   "_dd.git.repository_url", "_dd.git.commit.sha")
FIRST_SPAN_METRICS = ("_sampling_priority_v1", "_dd.agent_psr", "_dd.rule_psr", "_dd.limit_psr", "_dd.tracer_kr")


class Broken(ValueError):
    """Says which rule a payload breaks, and where."""


def require(holds, *what):
    if not holds:
        raise Broken(" ".join(str(word) for word in what))


def check_headers(headers, chunk_count):
    require(headers.get("Content-Type") == "application/msgpack", "Content-Type is", headers.get("Content-Type"))
    require(headers.get("X-Datadog-Trace-Count") == str(chunk_count),
            "X-Datadog-Trace-Count is", headers.get("X-Datadog-Trace-Count"), "with", chunk_count, "chunks")
    for name in ("Datadog-Meta-Lang", "Datadog-Meta-Lang-Version", "Datadog-Meta-Lang-Interpreter",
                 "Datadog-Meta-Tracer-Version", "Datadog-Client-Computed-Top-Level"):
        require(headers.get(name), name, "is missing")
    require("Datadog-Client-Computed-Stats" not in headers, "no stats are computed here")


def check_payload(payload):
    require(type(payload) is list and payload, "a payload is an array of chunks")
    for chunk in payload:
        require(type(chunk) is list and chunk, "a chunk is an array of spans")
        for span in chunk:
            check_span(span)
        check_chunk(chunk)


def check_span(span):
    require(type(span) is dict and span.keys() == FIELDS.keys(), "a span has the fields", *FIELDS)
    for name, wanted in FIELDS.items():
        require(type(span[name]) is wanted, name, "is", type(span[name]).__name__)
    for name, limit in TEXT_LIMITS.items():
        require(0 < len(span[name].encode()) <= limit, name, "has", len(span[name].encode()), "bytes")
    require(re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", span["name"]), "name is", span["name"])
    for name, least in (("trace_id", 1), ("span_id", 1), ("parent_id", 0)):
        require(least <= span[name] < 2**64, name, "is", span[name])
    require(YEAR_2000 < span["start"] < 2**63, "start is", span["start"])
    require(0 <= span["duration"] < 2**63, "duration is", span["duration"])
    require(span["error"] in (0, 1), "error is", span["error"])
    require(span["parent_id"] != span["span_id"], "a span is its own parent")
    check_tags(span)


def check_tags(span):
    for key, value in span["meta"].items():
        require(type(value) is str, "meta", key, "is", type(value).__name__)
        require(0 < len(key.encode()) <= 200, "a meta key has", len(key.encode()), "bytes")
        require(len(value.encode()) <= 25000, "meta", key, "has", len(value.encode()), "bytes")
        require(not key.startswith("<"), key, "is a field, not a tag")
    for key, value in span["metrics"].items():
        require(type(value) is float, "metric", key, "is", type(value).__name__)
        require(0 < len(key.encode()) <= 200, "a metric key has", len(key.encode()), "bytes")
        require(value - value == 0, "metric", key, "is", value)
    if span["error"]:
        require(span["meta"].get("error.type"), "an error without a type")


def check_chunk(chunk):
    first = chunk[0]
    require(len({span["trace_id"] for span in chunk}) == 1, "a chunk of several traces")
    require(len({span["span_id"] for span in chunk}) == len(chunk), "a span twice in a chunk")
    priority = first["metrics"].get("_sampling_priority_v1")
    require(priority in (-1, 0, 1, 2), "_sampling_priority_v1 is", priority)
    maker = first["meta"].get("_dd.p.dm")
    require(maker is None or (priority > 0 and re.fullmatch(r"-\d+", maker)), "_dd.p.dm is", maker)
    require(re.fullmatch("[0-9a-f]{16}", first["meta"].get("_dd.p.tid", "0" * 16)), "_dd.p.tid is malformed")
    for span in chunk[1:]:
        for key in FIRST_SPAN_ONLY:
            require(key not in span["meta"], key, "on a later span")
        for key in FIRST_SPAN_METRICS:
            require(key not in span["metrics"], key, "on a later span")
        require(span["name"] != "comfyui.workflow.execute" or first["name"] == span["name"],
                "the workflow span is not first")
