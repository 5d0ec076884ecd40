"""Datadog's agent for serverless platforms, in Rust: a second, independent decoder of what the library sends.

It comes as a binary in an npm package. It sends what it received on to an intake, which is ours here."""

import http.server
import pathlib
import struct
import subprocess
import threading

from rig.process import Failed, Process, free_ports, wait_for

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "@datadog/serverless-compat-linux-x64"
VERSION = "0.22.3"


def program():
    """The agent's binary, installed into build/npm at the first call ever."""
    folder = REPOSITORY / "build" / "npm"
    binary = folder / "node_modules" / PACKAGE / "bin" / "datadog-serverless-compat"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Failed(f"npm install: {done.stderr[-2000:]}")
    binary.chmod(0o755)
    return binary


class MiniAgent:
    """A mini agent and the intake behind it. Use as a context manager."""

    def __init__(self, folder):
        self.received = []
        handler = type("Handler", (_Intake,), {"received": self.received})
        self.intake = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        port, statsd = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "AWS_LAMBDA_FUNCTION_NAME": "comfydd",  # it runs on platforms that it knows only
            "DD_API_KEY": "none",
            "DD_APM_DD_URL": f"http://127.0.0.1:{self.intake.server_address[1]}",
            "DD_APM_RECEIVER_PORT": str(port),
            "DD_DOGSTATSD_PORT": str(statsd),
        }
        self.process = Process(
            "mini agent", [program()], folder / "mini-agent.log", cwd=folder, env=environment
        )

    def __enter__(self):
        threading.Thread(target=self.intake.serve_forever, daemon=True).start()
        try:
            self.process.wait_until_it_answers(self.url + "/info", 30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.stop()
        self.intake.shutdown()
        self.intake.server_close()

    def spans(self, count, seconds=30):
        """At least so many spans, as they left the agent (it sends every few seconds)."""

        def enough():
            found = [span for body in list(self.received) for span in _spans(body)]
            return found if len(found) >= count else None

        return wait_for(f"{count} spans from the mini agent", seconds, enough)


class _Intake(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/v0.2/traces":
            self.received.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format, *arguments):
        pass


# ---- protobuf: AgentPayload.tracerPayloads[5] > TracerPayload.chunks[6] > TraceChunk.spans[3] > Span

_SPAN_FIELDS = {
    1: "service",
    2: "name",
    3: "resource",
    4: "trace_id",
    5: "span_id",
    6: "parent_id",
    7: "start",
    8: "duration",
    9: "error",
    12: "type",
}


def _spans(payload):
    for number, tracer_payload in _fields(payload):
        for number, chunk in _fields(tracer_payload) if number == 5 else ():
            for number, span in _fields(chunk) if number == 6 else ():
                if number == 3:
                    yield _span(span)


def _span(data):
    span = {"meta": {}, "metrics": {}, "parent_id": 0, "duration": 0, "error": 0}  # zeros are not sent
    for number, value in _fields(data):
        if number in _SPAN_FIELDS:
            span[_SPAN_FIELDS[number]] = value.decode() if isinstance(value, bytes) else value
        elif number in (10, 11):
            entry = dict(_fields(value))
            name = entry[1].decode()
            if number == 10:
                span["meta"][name] = entry.get(2, b"").decode()
            else:
                span["metrics"][name] = entry.get(2, 0.0)
    return span


def _fields(data):
    """(number, value): bytes, int for varints, float for 64-bit fields."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 1:
            (value,), at = struct.unpack_from("<d", data, at), at + 8
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, value


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
