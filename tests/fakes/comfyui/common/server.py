"""The HTTP side: prompts, their history, and the clients' events (printed, for lack of a websocket)."""

import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nodes


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
    """POST /prompt, /interrupt, /shutdown; GET /queue, /object_info, /history/ID, /signal/NAME."""

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
        kind, _, name = self.path[1:].partition("/")
        if kind == "history":
            history = self.server.application.queue.history
            self._reply(200, {name: history[name]} if name in history else {})
        elif kind == "signal":
            self._reply(200 if name in self.server.application.signals else 404, {})
        elif kind == "queue":
            self._reply(200, {})
        elif kind == "object_info":
            self._reply(200, {name: {} for name in nodes.NODE_CLASS_MAPPINGS})
        else:
            self._reply(404, {})

    def _queue(self, body):
        prompt, prompt_id = body["prompt"], body.get("prompt_id") or str(uuid.uuid4())
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        self.server.application.enqueue(prompt, prompt_id, extra_data)
        return {"prompt_id": prompt_id}

    def _reply(self, status, value):
        body = json.dumps(value, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


def serve(application, port=0):
    """Until POST /shutdown or Ctrl-C. Port 0: a free one. Prints which."""
    http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    http.daemon_threads = True
    http.application = application
    print("listening on port %d" % http.server_address[1], flush=True)
    try:
        http.serve_forever(poll_interval=0.05)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    http.server_close()
