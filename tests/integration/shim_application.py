"""A ComfyUI stand-in whose nodes use libraries that ddtrace traces, started as ComfyUI starts: custom nodes'
prestartup scripts, the executor, the nodes. Runs the prompts of test_shim_end_to_end.py one after the other, and
prints as JSON what went over the wire and into the log.

usage: shim_application.py .../tests/fakes/comfyui/GENERATION .../prestartup_script.py"""

import asyncio
import concurrent.futures
import http.server
import json
import logging
import os
import runpy
import sqlite3
import sys
import threading
import time

seen = {"headers": {}, "logs": {}}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen["headers"][self.path] = dict(self.headers)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class KeepIds(logging.Handler):
    def emit(self, record):
        seen["logs"][record.getMessage()] = getattr(record, "dd.span_id", None)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
url = "http://127.0.0.1:%d" % server.server_port
log = logging.getLogger("a.custom.node")
log.addHandler(KeepIds())


class LibraryNode:
    RETURN_TYPES = ("*",)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"path": ("*", {}), "after": ("*", {})}}


class Libraries(LibraryNode):
    def run(self, path, after):
        requests.get(url + path, timeout=30)
        httpx.get(url + path, timeout=30)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(requests.get, url + path, timeout=30).result()
        connection = sqlite3.connect(":memory:")
        connection.execute("select 1").fetchall()
        connection.close()
        log.warning(path)
        return (path,)


class AsyncLibraries(LibraryNode):
    """Two of them in one prompt wait for each other between their requests."""

    async def run(self, path, after):
        async with aiohttp.ClientSession() as session:
            await (await session.get(url + path)).read()
            await together.wait()
            await asyncio.create_task(self.request_again(session, path))
        log.warning(path)
        return (path,)

    async def request_again(self, session, path):
        await (await session.get(url + path)).read()


class FailingLibraries(LibraryNode):
    def run(self, path, after):
        with sqlite3.connect(":memory:") as connection:
            connection.execute("no such statement")


class Together:
    """A barrier for two coroutines, again and again (asyncio.Barrier is 3.11's)."""

    def __init__(self):
        self.waiting = []

    async def wait(self):
        if self.waiting:
            self.waiting.pop().set_result(None)
        else:
            self.waiting.append(asyncio.get_running_loop().create_future())
            await asyncio.wait_for(self.waiting[0], 60)


together = Together()


def node(class_type, path, after=0):
    return {"class_type": class_type, "inputs": {"path": path, "after": after}}


def run(application, prompt, prompt_id, extra_data):
    application.enqueue(prompt, prompt_id, extra_data)
    deadline = time.monotonic() + 60
    while prompt_id not in application.queue.history:
        assert time.monotonic() < deadline, f"{prompt_id} does not end"
        time.sleep(0.01)


def main(folder):
    sys.path[0] = folder
    import main as generation  # main.py of the stand-in

    import application as comfyui
    import nodes

    for class_ in (Libraries, AsyncLibraries, FailingLibraries):
        nodes.NODE_CLASS_MAPPINGS[class_.__name__] = class_
    comfyui.configure(generation.GENERATION)
    application = comfyui.Application(generation.GENERATION)
    application.worker.start()

    run(
        application,
        {"1": node("Libraries", "/first"), "2": node("Libraries", "/second", ["1", 0])},
        "sync",
        {},
    )
    if os.path.basename(folder).startswith("a"):
        run(
            application,
            {"1": node("AsyncLibraries", "/one"), "2": node("AsyncLibraries", "/two")},
            "async",
            {},
        )
    run(
        application,
        {"1": node("FailingLibraries", "/"), "2": node("Libraries", "/", ["1", 0])},
        "failing",
        {},
    )
    dropped = {"dd_trace_id": "77", "dd_parent_id": "78", "dd_sampling_priority": "-1"}
    run(application, {"1": node("Libraries", "/dropped")}, "dropped", dropped)
    with tracer.trace("post /prompt") as span:
        run(application, {"1": node("Libraries", "/inside")}, "inside", {})
        named = {"dd_trace_id": "79", "dd_parent_id": "80"}
        run(application, {"1": node("Libraries", "/named")}, "named", named)
        seen["outer"] = [span.trace_id, span.span_id]
    requests.get(url + "/outside", timeout=30)
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    runpy.run_path(sys.argv[2])
    import aiohttp
    import httpx
    import requests
    from ddtrace.trace import tracer

    threading.Thread(target=server.serve_forever, daemon=True).start()
    main(sys.argv[1])
