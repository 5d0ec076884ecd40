"""Nodes that make library spans, in a Python with ddtrace: prestartup_script.py starts everything as in
ComfyUI, and bridge_probe.so stands for libcomfydd.so, so that a scenario can enter and leave nodes with ids
of its choice.

usage: ddtrace_scenarios.py .../bridge_probe.so .../prestartup_script.py"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import http.server
import logging
import os
import runpy
import sqlite3
import sys
import threading

from scenarios import PROBE, Parent, Trace, run_all, scenario

ROOT = 999
HIGH, LOW = 0x6710000000000000, 2**62 + 1
TRACE = Trace(trace_id_high=HIGH, trace_id_low=LOW, root_span_id=ROOT, priority=1, mechanism=1)
TRACE_ID = (HIGH << 64) | LOW


class Server(http.server.ThreadingHTTPServer):
    """Answers every request, and keeps the headers of the latest one by its path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.headers[self.path] = dict(self.headers)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.headers = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path="/"):
        return "http://127.0.0.1:%d%s" % (self.server_port, path)


def enter(span_id, trace=TRACE, origin=None, tags=None):
    token = PROBE.probe_enter(trace, span_id, origin, tags)
    assert token is not None, "no bridge"
    return token


@contextlib.contextmanager
def node(span_id, trace=TRACE, origin=None, tags=None):
    """A synchronous node, as executor.c brackets it."""
    token = enter(span_id, trace, origin, tags)
    try:
        yield
    finally:
        PROBE.probe_leave(token)


def async_node(span_id, coroutine):
    """An asynchronous node as ComfyUI runs it: its task is made inside the node's call, and outlives it."""
    with node(span_id):
        return asyncio.create_task(coroutine)


def fetch(path="/"):
    requests.get(server.url(path), timeout=30)


def active():
    return tracer.context_provider.active()


def spans(*names):
    """The finished spans of these names since the last call, oldest first."""
    found = sorted((span for span in finished if span.name in names), key=lambda span: span.start_ns)
    finished.clear()
    return found


def parents(*names):
    found = spans(*names)
    assert all(span.trace_id == TRACE_ID for span in found), [hex(span.trace_id) for span in found]
    return [span.parent_id for span in found]


# ---- libraries


@scenario
def requests_in_a_node():
    with node(1):
        fetch()
        fetch()
        assert parents("requests.request") == [1, 1]
    assert active() is None


@scenario
def httpx_in_a_node():
    with node(2):
        httpx.get(server.url())
        with httpx.Client() as client:
            client.get(server.url())
    assert parents("http.request") == [2, 2]


@scenario
def aiohttp_in_an_async_node():
    async def body():
        async with aiohttp.ClientSession() as session:
            await (await session.get(server.url())).read()
            await (await session.get(server.url())).read()

    async def workflow():
        await async_node(3, body())

    asyncio.run(workflow())
    assert parents("aiohttp.request") == [3, 3]


@scenario
def sqlite3_in_a_node():
    with node(4):
        connection = sqlite3.connect(":memory:")
        connection.execute("select 1").fetchall()
        connection.execute("select 2").fetchall()
        connection.close()
    assert parents("sqlite.query") == [4, 4]


@scenario
def a_span_of_the_user_and_its_children():
    with node(5):
        with tracer.trace("outer"):
            with tracer.trace("inner"):
                fetch()
        fetch()
    found = spans("outer", "inner", "requests.request")
    assert [span.parent_id for span in found] == [5, found[0].span_id, found[1].span_id, 5]


# ---- threads and tasks


@scenario
def thread_pool_in_a_node():
    with node(10):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(fetch, ["/", "/"]))
        fetch()  # the pool has cleared the flag of our context, in 3.x and 4.0
        fetch()
    assert parents("requests.request") == [10, 10, 10, 10]


@scenario
def a_pool_shared_by_nodes():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for span_id in (11, 12):
            with node(span_id):
                pool.submit(fetch).result()
        pool.submit(fetch).result()
    found = spans("requests.request")
    assert [span.parent_id for span in found] == [11, 12, None] and found[2].trace_id != TRACE_ID


@scenario
def executors_of_a_loop():
    async def body():
        await asyncio.to_thread(fetch)
        await asyncio.get_running_loop().run_in_executor(None, fetch)
        await asyncio.to_thread(fetch)

    async def workflow():
        await async_node(13, body())

    asyncio.run(workflow())
    assert parents("requests.request") == [13, 13, 13]


@scenario
def create_task_inside_nodes():
    async def request():
        async with httpx.AsyncClient() as client:
            await client.get(server.url())

    async def body():
        await asyncio.gather(asyncio.create_task(request()), asyncio.create_task(request()))
        await request()

    async def workflow():
        with node(14):
            task = asyncio.create_task(request())
        await task
        await async_node(15, body())

    asyncio.run(workflow())
    assert parents("http.request") == [14, 15, 15, 15]


@scenario
def overlapping_async_nodes():
    async def body(mine, other):
        for _ in range(3):
            async with httpx.AsyncClient() as client:
                await client.get(server.url("/%d" % os.getpid()))
            other.set()  # neither goes on before the other has made its request
            await asyncio.wait_for(mine.wait(), 30)
            mine.clear()
        with tracer.trace("step"):
            pass

    async def workflow():
        first, second = asyncio.Event(), asyncio.Event()
        tasks = [async_node(16, body(first, second)), async_node(17, body(second, first))]
        assert active() is None
        await asyncio.gather(*tasks)

    asyncio.run(workflow())
    assert sorted(parents("http.request", "step")) == [16] * 4 + [17] * 4


@scenario
def nodes_on_two_threads():
    barrier = threading.Barrier(2, timeout=30)

    def work(span_id):
        with node(span_id):
            barrier.wait()
            fetch()
            barrier.wait()
            fetch()

    threads = [threading.Thread(target=work, args=(span_id,)) for span_id in (18, 19)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(parents("requests.request")) == [18, 18, 19, 19]


# ---- what is active afterwards


@scenario
def nested_nodes():
    with node(20):
        with node(21):
            fetch()
        fetch()
    assert active() is None and parents("requests.request") == [21, 20]


@scenario
def nodes_left_in_the_order_of_their_start():
    first, second, third = enter(22), enter(23), enter(24)
    for token in (first, second):
        PROBE.probe_leave(token)
        fetch()
    PROBE.probe_leave(third)
    assert active() is None and parents("requests.request") == [24, 24]


@scenario
def a_span_that_was_active_before():
    with tracer.trace("request") as outer:
        with node(25):
            fetch()
        assert active() is outer
        with tracer.trace("after") as after:
            assert after.parent_id == outer.span_id
    assert spans("requests.request")[0].parent_id == 25


@scenario
def a_span_that_a_node_left_open():
    trace = Trace(trace_id_low=26, root_span_id=26, priority=1)  # ddtrace holds back the rest of such a trace
    with tracer.trace("request") as outer:
        with node(26, trace):
            leaked = tracer.trace("leaked")
            tracer.trace("leaked too")
        assert active() is outer
    assert leaked.parent_id == 26
    with node(27, trace):
        leaked = tracer.trace("leaked")
    assert active() is None
    finished.clear()


@scenario
def a_node_left_elsewhere_disturbs_nobody():
    token = enter(28)
    elsewhere = contextvars.Context()
    elsewhere.run(PROBE.probe_leave, token)
    assert elsewhere.run(active) is None and active().span_id == 28
    tracer.context_provider.activate(None)
    with tracer.trace("other") as other:
        token = contextvars.Context().run(enter, 29)
        PROBE.probe_leave(token)
        assert active() is other


@scenario
def a_task_that_outlives_its_node():
    async def body():
        await left.wait()
        fetch()
        with node(31):  # of a workflow that the node runs itself
            fetch()
        fetch()

    async def workflow():
        nonlocal left
        left = asyncio.Event()
        task = async_node(30, body())
        left.set()
        await task

    left = None
    asyncio.run(workflow())
    assert parents("requests.request") == [30, 31, 30]


@scenario
def exceptions_pass():
    try:
        with node(32):
            try:
                requests.get("http://127.0.0.1:9/", timeout=30)  # the discard port: nobody listens
            except requests.ConnectionError:
                pass
            with tracer.trace("failing"):
                raise ValueError("of the node")
    except ValueError as error:
        assert str(error) == "of the node"
    assert active() is None
    found = spans("requests.request", "failing")
    assert [(span.parent_id, span.error) for span in found] == [(32, 1), (32, 1)]


@scenario
def cancelled_async_node():
    async def body():
        fetch()
        await asyncio.Event().wait()

    async def workflow():
        task = async_node(33, body())
        await asyncio.sleep(0)  # it runs to its wait
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(workflow())
    assert parents("requests.request") == [33] and active() is None


# ---- what goes out


@scenario
def headers_carry_our_ids():
    with node(40, origin=b"synthetics"):
        fetch("/headers")
    (span,) = spans("requests.request")
    headers = server.headers["/headers"]
    assert headers["x-datadog-trace-id"] == str(LOW)
    assert headers["x-datadog-parent-id"] == str(span.span_id)
    assert headers["x-datadog-sampling-priority"] == "1" and headers["x-datadog-origin"] == "synthetics"
    assert headers["traceparent"] == "00-%032x-%016x-01" % (TRACE_ID, span.span_id)
    tags = dict(tag.split("=", 1) for tag in headers["x-datadog-tags"].split(","))
    assert tags == {"_dd.p.dm": "-1", "_dd.p.tid": "6710000000000000"}


@scenario
def headers_carry_what_came_with_the_trace():
    inherited = Trace(trace_id_low=5, root_span_id=6, priority=2, mechanism=-1, inherited=1)
    with node(40, inherited, tags=b"_dd.p.dm=-4,_dd.p.usr.id=YQ=="):
        fetch("/tags")
        fetch("/tags")
    first, second = spans("requests.request")
    for span in (first, second):
        assert span.context._meta["_dd.p.dm"] == "-4" and span.context._meta["_dd.p.usr.id"] == "YQ=="
    headers = server.headers["/tags"]
    assert headers["x-datadog-tags"] == "_dd.p.dm=-4,_dd.p.usr.id=YQ=="
    (member,) = [m for m in headers["tracestate"].split(",") if m.startswith("dd=")]
    assert {"s:2", "t.dm:-4", "t.usr.id:YQ~~"} < set(member[3:].split(";"))


@scenario
def dropped_and_inherited_traces_keep_their_priority():
    for priority, mechanism in ((-1, 3), (0, 1), (2, -1)):
        trace = Trace(trace_id_low=5, root_span_id=6, priority=priority, mechanism=mechanism, inherited=1)
        with node(41, trace):
            fetch("/priority")
            fetch("/priority")
        headers = server.headers["/priority"]
        assert headers["x-datadog-sampling-priority"] == str(priority)
        assert headers["x-datadog-trace-id"] == "5" and "_dd.p.dm" not in headers.get("x-datadog-tags", "")
        assert headers["traceparent"].endswith("-01" if priority > 0 else "-00")
        for span in spans("requests.request"):
            assert (span.trace_id, span.parent_id, span.context.sampling_priority) == (5, 41, priority)


@scenario
def log_records_carry_our_ids():
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    log = logging.getLogger("a.node")
    log.addHandler(handler)
    with node(42):
        log.warning("in the node")
        with tracer.trace("step") as step:
            log.warning("in its span")
    log.warning("after it")
    log.removeHandler(handler)
    ids = [(getattr(r, "dd.trace_id", "0"), getattr(r, "dd.span_id", "0")) for r in records]
    assert ids == [("%032x" % TRACE_ID, "42"), ("%032x" % TRACE_ID, str(step.span_id)), ("0", "0")], ids


# ---- what comes in, and processes


@scenario
def the_parent_that_ddtrace_has():
    parent = Parent()
    assert not PROBE.probe_current(parent)
    with tracer.trace("request") as span:
        assert PROBE.probe_current(parent)
        assert (parent.trace_id_high << 64) | parent.trace_id_low == span.trace_id
        assert parent.span_id == span.span_id
        # Decided now, and not again when the span is sent.
        assert parent.has_priority and parent.priority == span.context.sampling_priority
        assert parent.tags == b"_dd.p.dm=" + span.context._meta["_dd.p.dm"].encode()
    with tracer.trace("request") as root:
        with tracer.trace("step") as step:
            assert PROBE.probe_current(parent) and parent.span_id == step.span_id
            assert parent.has_priority and parent.priority == root.context.sampling_priority
    with node(50, origin=b"rum"):
        assert PROBE.probe_current(parent)
        assert (parent.trace_id_low, parent.span_id, parent.origin) == (LOW, 50, b"rum")
    assert not PROBE.probe_current(parent)


@scenario
def the_runtime_id_is_that_of_ddtrace_s_spans():
    with tracer.trace("root") as span:
        pass
    assert PROBE.probe_runtime_id().decode() == span.get_tag("runtime-id")


@scenario
def fork_inside_a_node():
    reader, writer = os.pipe()
    with node(60):
        pid = os.fork()
        if pid == 0:
            try:
                fetch()
                with node(61):
                    fetch()
                seen = parents("requests.request")
                seen.append(PROBE.probe_runtime_id().decode())
                os.write(writer, repr(seen).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            seen = file.read().decode()
        os.waitpid(pid, 0)
        fetch()
    assert seen.startswith("[60, 61, '") and PROBE.probe_runtime_id().decode() not in seen, seen
    assert parents("requests.request") == [60]


@scenario
def the_runtime_id_of_a_fork_is_ddtrace_s_too():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with tracer.trace("root") as span:
            pass
        os.write(writer, b"%s %s" % (PROBE.probe_runtime_id(), span.get_tag("runtime-id").encode()))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        ours, theirs = file.read().split()
    os.waitpid(pid, 0)
    assert ours == theirs


if __name__ == "__main__":
    runpy.run_path(sys.argv[2])

    import aiohttp
    import httpx
    import requests
    from ddtrace.trace import TraceFilter, tracer

    finished = []

    class Collect(TraceFilter):
        """Keeps the spans here instead of sending them."""

        def process_trace(self, trace):
            finished.extend(trace)
            return None

    tracer.configure(trace_processors=[Collect()])
    server = Server()
    run_all()
