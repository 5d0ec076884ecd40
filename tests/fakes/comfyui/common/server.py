"""The HTTP side: prompts, their history, and the clients' events (printed, for lack of a websocket)."""

import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import nodes

LIVENESS_CHECK_S = 0.05


class PromptServer:
    """What executors know as `server`."""

    def __init__(self):
        self.client_id = None
        self.last_node_id = None
        self.last_prompt_id = None
        self.prompt_queue = None

    def send_sync(self, event, data, sid=None):
        shown = {
            key: sorted(value) if key in ("nodes", "executed") else value
            for key, value in data.items()
            if key != "timestamp"
        }
        print("event %s %s" % (event, json.dumps(shown, sort_keys=True, default=str)), flush=True)


class Handler(BaseHTTPRequestHandler):
    """POST /prompt /interrupt /shutdown; GET /history/ID and /signal/NAME wait for `?wait=SECONDS`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/prompt":
            self._reply(200, self._queue(json.loads(body)))
        elif self.path == "/interrupt":
            nodes.interrupt_processing()
            self._reply(200, {})
        elif self.path == "/shutdown":
            self._reply(200, {})
            threading.Thread(target=self.server.shutdown, daemon=True).start()
        else:
            self._reply(404, {})

    def do_GET(self):
        url = urlsplit(self.path)
        deadline = time.monotonic() + float(parse_qs(url.query).get("wait", ["0"])[0])
        _, kind, name = url.path.split("/", 2)
        if kind == "signal":
            self._reply(
                200 if self.server.application.signals.wait(name, deadline - time.monotonic()) else 504, {}
            )
        elif kind == "history":
            self._history(name, deadline)
        else:
            self._reply(404, {})

    def _queue(self, body):
        prompt, prompt_id = body["prompt"], body.get("prompt_id") or str(uuid.uuid4())
        self.server.application.enqueue(prompt, prompt_id, body.get("extra_data", {}))
        return {"prompt_id": prompt_id}

    def _history(self, prompt_id, deadline):
        """{} when the worker thread died over the prompt, or the time is up."""
        queue, worker = self.server.application.queue, self.server.application.worker
        with queue.history_changed:
            while prompt_id not in queue.history and worker.is_alive() and time.monotonic() < deadline:
                queue.history_changed.wait(LIVENESS_CHECK_S)  # a dead worker notifies nobody
            found = {prompt_id: queue.history[prompt_id]} if prompt_id in queue.history else {}
            text = dict(found, worker_alive=worker.is_alive())
        self._reply(200, text)

    def _reply(self, status, value):
        body = json.dumps(value, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


def serve(application):
    """Until POST /shutdown. Prints the port it got."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.application = application
    print("listening on port %d" % http.server_address[1], flush=True)
    http.serve_forever(poll_interval=0.05)
    http.server_close()
    sys.stdout.flush()
