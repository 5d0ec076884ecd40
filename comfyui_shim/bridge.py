"""The bridge to ddtrace: libcomfydd.so calls enter() and leave() around each node, and current() when a
prompt is queued (include/comfydd/shim.h says when and where).

A span of the library's is shown to ddtrace as its active Context. ddtrace uses a Context up: once its first
child has finished, nothing is active. From 3.10 on a Context with `_reactivate` set comes back instead, but
3.x and 4.0 clear that flag when a pool task ends; NodeContext is a Context whose flag cannot be cleared.

Public names used: ddtrace.trace.{Context, tracer}, tracer.{context_provider, current_trace_context,
current_root_span, sample}. Private ones: Context._reactivate and ._meta; Span._local_root and ._parent_context (read,
only for a span that a node left open); _dd.p.dm and _dd.profiling.local_root_span_id (which ddtrace's
profiler reads)."""

from ddtrace.trace import Context, tracer

# ddtrace's native code reads the slot itself, past NodeContext's property.
_slot = getattr(Context, "_reactivate", None)
READY = _slot is not None  # False: this ddtrace is too old, nothing else here may be called


class NodeContext(Context):
    """The active parent while a node runs. `previous` was active before, `previous_ended` says whether that
    was a node left earlier; `ended`: this one has been left."""

    def _keep(self, _value):
        _slot.__set__(self, True)

    _reactivate = property(lambda self: True, _keep)


def enter(trace_id, span_id, root_span_id, priority, mechanism, origin, tags):
    """Makes the span the active parent of this thread or task; what it returns is for leave()."""
    # The profiler links its samples to the workflow by this tag, and to the node by the span id.
    meta = dict(tag.split("=", 1) for tag in tags.split(",")) if tags else {}
    meta["_dd.profiling.local_root_span_id"] = "%016x" % root_span_id
    if priority > 0 and mechanism >= 0:
        meta["_dd.p.dm"] = "-%d" % mechanism
    context = NodeContext(
        trace_id=trace_id,
        span_id=span_id,
        dd_origin=origin,
        sampling_priority=priority,  # always given: without one ddtrace would sample each child on its own
        meta=meta,
        is_remote=False,
    )
    context._reactivate = True
    context.ended = False
    context.previous = tracer.context_provider.active()
    context.previous_ended = _has_ended(context.previous)
    tracer.context_provider.activate(context)
    return context


def leave(context):
    """Makes active again what was active before enter(). Nodes may be left in any order, and in a task or
    thread where something else has become active: that stays."""
    context.ended = True
    active = tracer.context_provider.active()
    if active is context or _began_under(active, context):
        tracer.context_provider.activate(_before(context))


def current():
    """The trace that ddtrace is in now, as (trace id, span id, priority, origin, tags); None when in none."""
    context = tracer.current_trace_context()
    if context is None or not context.trace_id or not context.span_id:
        return None
    if context.sampling_priority is None:
        root = tracer.current_root_span()
        if root is not None:
            tracer.sample(root)  # it would be decided later; the workflow must be told the same
    tags = ",".join("%s=%s" % tag for tag in context._meta.items() if tag[0].startswith("_dd.p."))
    return context.trace_id, context.span_id, context.sampling_priority, context.dd_origin, tags


def _has_ended(active):
    return isinstance(active, NodeContext) and active.ended


def _before(context):
    """What was active before `context`, past nodes that ended while it was active. Not past one that had
    ended before: there a task goes on that outlives its node's call, and it still belongs to that node."""
    while _has_ended(context.previous) and not context.previous_ended:
        context = context.previous
    return context.previous


def _began_under(active, context):
    """Whether `active` is a span (left open by the node) whose trace continues `context`."""
    local_root = getattr(active, "_local_root", None)
    return getattr(local_root, "_parent_context", None) is context
