"""Received spans as trees, what a workflow's tree must be, and its picture for a terminal."""

import collections

WORKFLOW_NAME = "comfyui.workflow.execute"
NODE_NAME = "comfyui.node.execute"


class Trace:
    """The span of one workflow and the spans of its nodes, by start."""

    def __init__(self, root, nodes):
        self.root = root
        self.nodes = sorted(nodes, key=lambda span: (span["start"], span["meta"].get("node.id", "")))

    def whole(self):
        """True when as many nodes have come as the workflow says it had."""
        return len(self.nodes) >= self.root["metrics"]["workflow.nodes.total"]


def find(spans, prompt_id):
    """The trace of one prompt, or None while its workflow span has not come."""
    mine = [span for span in spans if span["meta"].get("workflow.prompt_id") == prompt_id]
    roots = [span for span in mine if span["name"] == WORKFLOW_NAME]
    return Trace(roots[0], [span for span in mine if span not in roots]) if roots else None


# ---- what it must be ----


def problems(trace, workflow, prompt_id, parent_id=0, priority=1, queue_wait_known=True):
    """Everything in which a trace is not what its workflow must give, as texts; empty when all is right."""
    found = []

    def must(what, is_, should_be):
        if is_ != should_be:
            found.append(f"{what} is {is_!r}, not {should_be!r}")

    root, meta, metrics = trace.root, trace.root["meta"], trace.root["metrics"]
    must("workflow: name", root["name"], WORKFLOW_NAME)
    must("workflow: resource", root["resource"], f"workflow#{prompt_id}")
    must("workflow: type", root["type"], "worker")
    must("workflow: parent_id", root["parent_id"] or 0, parent_id)
    must("workflow: span.kind", meta.get("span.kind"), "consumer")
    must("workflow: job.id", meta.get("job.id"), workflow.job_id)
    must("workflow: workflow.status", meta.get("workflow.status"), workflow.status)
    must("workflow: _sampling_priority_v1", metrics.get("_sampling_priority_v1"), priority)
    must_have_error(must, "workflow", root, workflow.error, workflow.error_has_stack)
    cached = sum(node.cached for node in workflow.nodes)
    for name, count in (
        ("total", len(workflow.nodes)),
        ("cached", cached),
        ("executed", len(workflow.nodes) - cached),
        ("failed", sum(node.result == "FAILURE" for node in workflow.nodes)),
    ):
        must(f"workflow: workflow.nodes.{name}", metrics.get(f"workflow.nodes.{name}"), count)
    if queue_wait_known != (0 <= metrics.get("workflow.queue_wait_ms", -1) < 60_000):
        found.append(f"workflow: workflow.queue_wait_ms is {metrics.get('workflow.queue_wait_ms')!r}")

    must(
        "ids of the nodes",
        sorted(span["meta"].get("node.id", "none") for span in trace.nodes),
        sorted(node.id for node in workflow.nodes),
    )
    by_id = {node.id: node for node in workflow.nodes}
    for span in trace.nodes:
        node = by_id.get(span["meta"].get("node.id"))
        if node:
            check_node(must, found, span, node, root)
    check_overlap(found, trace, workflow.overlapping)
    for span in [root] + trace.nodes:
        must(f"{span['resource']}: service", span["service"], "comfyui")
        for name, value in (("env", "production"), ("component", "comfyui"), ("language", "c")):
            must(f"{span['resource']}: {name}", span["meta"].get(name), value)
    must(
        "number of different span ids",
        len({span["span_id"] for span in [root] + trace.nodes}),
        1 + len(trace.nodes),
    )
    return found


def check_node(must, found, span, node, root):
    who, meta, metrics = f"node {node.id}", span["meta"], span["metrics"]
    must(f"{who}: name", span["name"], NODE_NAME)
    must(f"{who}: resource", span["resource"], node.class_type)
    must(f"{who}: trace_id", span["trace_id"], root["trace_id"])
    must(f"{who}: parent_id", span["parent_id"], root["span_id"])
    must(f"{who}: span.kind", meta.get("span.kind"), "internal")
    must(f"{who}: _dd.measured", metrics.get("_dd.measured"), 1)
    must(f"{who}: node.class_type", meta.get("node.class_type"), node.class_type)
    must(f"{who}: node.result", meta.get("node.result"), node.result)
    must(f"{who}: node.cached", meta.get("node.cached"), "true" if node.cached else None)
    must(f"{who}: node.parent_id", meta.get("node.parent_id"), node.parent_id)
    must(
        f"{who}: node.display_id", meta.get("node.display_id"), node.parent_id
    )  # one level deep, they are the same
    must_have_error(must, who, span, node.error)
    end, root_end = span["start"] + span["duration"], root["start"] + root["duration"]
    if not root["start"] <= span["start"] <= end <= root_end:
        found.append(
            f"{who}: not within its workflow: {span['start'] - root['start']} to {end - root['start']} ns "
            f"of {root['duration']}"
        )
    if node.cached:
        return
    must(f"{who}: node.executions", metrics.get("node.executions"), node.executions)
    if not 0 < metrics.get("node.active_ms", 0) <= span["duration"] / 1e6 + 0.001:
        found.append(
            f"{who}: node.active_ms is {metrics.get('node.active_ms')} in {span['duration'] / 1e6} ms"
        )
    for name in (
        "memory.ram_available_bytes.before",
        "memory.ram_available_bytes.after",
        "memory.rss_bytes.after",
    ):
        if not 1 << 20 < metrics.get(name, 0) < 1 << 50:
            found.append(f"{who}: {name} is {metrics.get(name)}")


def must_have_error(must, who, span, error, with_stack=True):
    meta = span["meta"]
    must(f"{who}: error", span["error"], 1 if error else 0)
    must(f"{who}: error.type", meta.get("error.type"), error[0] if error else None)
    must(f"{who}: error.message", meta.get("error.message", "").strip(), error[1] if error else "")
    must(f"{who}: has error.stack", bool(meta.get("error.stack")), bool(error) and with_stack)


def check_overlap(found, trace, ids):
    spans = [span for span in trace.nodes if span["meta"].get("node.id") in ids]
    if spans and max(s["start"] for s in spans) >= min(s["start"] + s["duration"] for s in spans):
        found.append(f"nodes {', '.join(ids)} were not open at the same time")


# ---- its picture ----


def picture(trace):
    """The lines of a tree: the workflow, its nodes in the order they began, errors below the one that has
    them."""
    root, meta, metrics = trace.root, trace.root["meta"], trace.root["metrics"]
    counts = ", ".join(
        f"{metrics.get(f'workflow.nodes.{n}', 0):g} {n}" for n in ("executed", "cached", "failed")
    )
    queued = f"{metrics.get('workflow.queue_wait_ms', 0):.1f} ms"
    trace_id = f"{meta.get('_dd.p.tid', '')}{root['trace_id']:016x}"
    yield f"{root['resource']}  {meta.get('workflow.status', '?').upper()}  {duration(root['duration'])}"
    yield f"│    job {meta.get('job.id', '-')}   queued {queued}   nodes: {counts}"
    yield f"│    trace {trace_id}   service {root['service']}   env {meta.get('env')}"
    yield from error_lines(root, "│    ")
    rows = [node_row(span) for span in trace.nodes]
    widths = [max(map(len, column)) for column in zip(*rows)] if rows else []
    for i, (span, row) in enumerate(zip(trace.nodes, rows)):
        last = i == len(rows) - 1
        cells = "  ".join(
            cell.rjust(width) if column in (3, 4) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        yield f"{'└─' if last else '├─'} {cells}".rstrip()
        yield from error_lines(span, ("     " if last else "│    "))


def node_row(span):
    meta, metrics = span["meta"], span["metrics"]
    result = meta.get("node.result", "?") + (" cached" if meta.get("node.cached") else "")
    calls = metrics.get("node.executions", 1)
    return (
        meta.get("node.id", "?"),
        span["resource"],
        result,
        duration(span["duration"]),
        f"{calls:g} calls" if calls > 1 else "",
        memory(metrics),
    )


def memory(metrics):
    """All tags memory.*, before and after together: `ram_available 21.4→21.4 GiB  rss 512 MiB`."""
    values = collections.defaultdict(dict)
    for name, value in metrics.items():
        if name.startswith("memory."):
            base, _, moment = name[len("memory.") :].partition(".")
            values[base][moment] = size(value, base)
    return "  ".join(
        f"{base.replace('_bytes', '')} {'→'.join(moments[m] for m in ('before', '', 'after') if m in moments)}"
        for base, moments in sorted(values.items())
    )


def size(value, name):
    if "_bytes" not in name:
        return f"{value:g}"
    return f"{value / 2**30:.2f} GiB" if value >= 1 << 30 else f"{value / 2**20:.1f} MiB"


def duration(ns):
    return f"{ns / 1e9:.2f} s" if ns >= 1e9 else f"{ns / 1e6:.2f} ms"


def error_lines(span, indent):
    if span["error"]:
        meta = span["meta"]
        yield f"{indent}{meta.get('error.type')}: {meta.get('error.message', '').strip()}"
        stack = [
            line for line in meta.get("error.stack", "").splitlines() if line.strip().startswith("File ")
        ]
        if stack:
            yield f"{indent}  raised at {stack[-1].strip()[len('File '):]}"
