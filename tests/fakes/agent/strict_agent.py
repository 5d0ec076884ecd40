#!/usr/bin/env python3
"""A Datadog agent for tests: believes nothing, keeps every span, and fails on command. Standard library only.

usage: strict_agent.py [--port N] [--uds PATH] [--control-port N] [--keep spans|ids] [--info JSON] [--rates JSON]
                       [--start-after SECONDS]

Prints one line of JSON with the ports when it listens; ends when its standard input does.

Like an agent: POST or PUT /v0.4/traces, GET /info. A payload that breaks a rule (trace_rules.py) gets 400.

For the test, on both ports (the control port answers even while the agent is away):
  GET  /test/spans        the spans of all accepted payloads: a list of chunks, each a list of spans (--keep spans)
  GET  /test/ids          {"<trace id>:<span id>": times accepted, snapshots not counted}
  GET  /test/payloads     those accepted, in order: [<number of the connection>, ["<trace id>:<span id>", ...]], snapshots not
                          counted
  GET  /test/requests     what came, in order: {"path", "status", "headers", "chunks", "spans"}
  GET  /test/violations   the rules that were broken
  POST /test/faults       a list of faults; each serves the next `times` (default 1) trace requests:
        {"kind": "status", "status": 503, "body": ""}
        {"kind": "reset"}               reads the request, then resets the connection
        {"kind": "reset_unread"}        resets with the body unread
        {"kind": "reset_mid_head"}      accepts, and resets within the head of the reply
        {"kind": "reset_mid_body"}      accepts, and resets after the head of the reply
        {"kind": "drip", "pause": 0.01} accepts, and replies byte by byte
        {"kind": "hang", "seconds": 60} never answers; the connection closes in the end
        {"kind": "slow", "seconds": 1}  accepts after that time
        {"kind": "away", "seconds": 1}  resets, and refuses every connection for that time, like a restart
  GET  /test/faults       the faults that are still to come
  POST /test/clear        forgets all of the above
"""

import argparse
import collections
import http.server
import itertools
import json
import os
import socket
import socketserver
import struct
import sys
import threading
import time

from strict_msgpack import Malformed, decode
from trace_rules import Broken, check_headers, check_payload

LARGEST_BODY = 10 << 20  # bytes; real agents take 25 MB, the serverless one 10


class Agent:
    """What was received, what is to fail, and the servers. Any thread may call."""

    def __init__(self, keep="spans", info=None, rates=None):
        self.keep = keep
        self.info = {"version": "7.60.0", "endpoints": ["/v0.4/traces"], "long_running_spans": True, **(info or {})}
        self.rates = {"service:,env:": 1} if rates is None else rates
        self.lock = threading.Lock()
        self.servers = []
        self.addresses = []
        self.clear()

    def clear(self):
        with self.lock:
            self.chunks = []
            self.ids = collections.Counter()
            self.payloads = []
            self.requests = []
            self.violations = []
            self.faults = collections.deque()

    # ---- listening ----

    def listen(self, address):
        """Serves a (host, port) or a path; returns the port."""
        server = (UnixServer if isinstance(address, str) else TcpServer)(address, self)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with self.lock:
            self.servers.append(server)
            self.addresses.append(server.server_address)
        return None if isinstance(address, str) else server.server_address[1]

    def leave(self):
        """Stops listening, then drops every connection: nothing is accepted in between that could not be answered."""
        with self.lock:
            servers, self.servers = self.servers, []
        for server in servers:
            server.shutdown()
            server.server_close()
            server.drop_connections()
            if isinstance(server, UnixServer):
                os.unlink(server.server_address)

    def be_away(self, seconds):
        """Leaves, and listens again after that time, which the caller does not wait for."""
        self.leave()
        threading.Thread(target=self.come_back, args=(seconds,), daemon=True).start()

    def come_back(self, seconds):
        time.sleep(seconds)
        with self.lock:
            addresses, self.addresses = self.addresses, []
        for address in addresses:
            self.listen(address)

    # ---- requests ----

    def next_fault(self):
        with self.lock:
            if not self.faults:
                return {"kind": "none"}
            fault = self.faults[0]
            fault["times"] = fault.get("times", 1) - 1
            if fault["times"] <= 0:
                self.faults.popleft()
            return dict(fault)

    def note_request(self, path, status, headers, chunks=0, spans=0):
        with self.lock:
            self.requests.append(
                {"path": path, "status": status, "headers": dict(headers), "chunks": chunks, "spans": spans}
            )

    def take(self, path, headers, body, connection):
        """Checks and keeps a payload: (status, reply)."""
        try:
            payload = decode(body)
            check_payload(payload)
            check_headers(headers, len(payload))
        except (Malformed, Broken) as error:
            with self.lock:
                self.violations.append(str(error))
            self.note_request(path, 400, headers)
            return 400, str(error)
        with self.lock:
            ids = [
                f"{span['trace_id']}:{span['span_id']}"
                for chunk in payload
                for span in chunk
                if "_dd.partial_version" not in span["metrics"]
            ]
            self.ids.update(ids)
            self.payloads.append((connection, ids))
            if self.keep == "spans":
                self.chunks += payload
        self.note_request(path, 200, headers, len(payload), sum(map(len, payload)))
        return 200, json.dumps({"rate_by_service": self.rates})


class Server(socketserver.ThreadingMixIn):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address, agent):
        self.agent = agent
        self.connections = set()
        super().__init__(address, Handler)

    def drop_connections(self):
        for connection in list(self.connections):
            reset(connection)

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # a client that has gone is nothing special
            super().handle_error(request, client_address)


class TcpServer(Server, socketserver.TCPServer):
    pass


class UnixServer(Server, socketserver.UnixStreamServer):
    pass


def reset(connection):
    """Makes the peer see ECONNRESET, and our own thread an end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # already gone


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300  # seconds that a connection may be idle
    wbufsize = -1  # one packet per reply
    numbers = itertools.count(1)  # of connections

    def setup(self):
        super().setup()
        self.agent = self.server.agent
        self.number = next(self.numbers)
        self.server.connections.add(self.connection)

    def finish(self):
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *arguments):
        pass

    # ---- replies ----

    def reply(self, status, text, content_type="application/json"):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def hang_up(self):
        self.close_connection = True
        reset(self.connection)

    # ---- the agent ----

    def do_GET(self):
        if self.path == "/info":
            self.agent.note_request(self.path, 200, self.headers)
            self.reply(200, json.dumps(self.agent.info))
        elif self.path.startswith("/test/"):
            self.show(self.path[len("/test/") :])
        else:
            self.agent.note_request(self.path, 404, self.headers)
            self.reply(404, "")

    def do_POST(self):
        if self.path == "/v0.4/traces":
            self.traces()
        elif self.path.startswith("/test/"):
            self.control(self.path[len("/test/") :])
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.agent.note_request(self.path, 404, self.headers)
            self.reply(404, "")

    do_PUT = do_POST

    def traces(self):
        fault = self.agent.next_fault()
        kind = fault["kind"]
        if "Content-Length" not in self.headers:
            self.agent.note_request(self.path, 411, self.headers)
            self.close_connection = True
            self.reply(411, "no Content-Length")
            return
        size = int(self.headers["Content-Length"])
        if kind == "reset_unread":
            self.agent.note_request(self.path, kind, self.headers)
            self.hang_up()
            return
        body = self.rfile.read(size)
        if len(body) < size:
            self.agent.note_request(self.path, "cut", self.headers)
            self.close_connection = True
        elif size > LARGEST_BODY:
            self.agent.note_request(self.path, 413, self.headers)
            self.reply(413, "")
        elif kind == "status":
            self.agent.note_request(self.path, fault["status"], self.headers)
            self.reply(fault["status"], fault.get("body", ""))
        elif kind in ("reset", "hang", "away"):
            self.agent.note_request(self.path, kind, self.headers)
            if kind == "hang":
                self.wait_for_client(fault.get("seconds", 60))
            if kind == "away":
                self.agent.be_away(fault.get("seconds", 1))
            self.hang_up()
        else:
            if kind == "slow":
                time.sleep(fault.get("seconds", 1))
            self.accept(body, fault)

    def accept(self, body, fault):
        status, text = self.agent.take(self.path, self.headers, body, self.number)
        kind = fault["kind"]
        if kind not in ("drip", "reset_mid_head", "reset_mid_body"):
            self.reply(status, text)
            return
        whole = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
        end = {"drip": len(whole), "reset_mid_head": 25, "reset_mid_body": len(whole) - 2}[kind]
        for byte in whole[:end]:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if kind == "drip":
                time.sleep(fault.get("pause", 0.01))
        if kind != "drip":
            self.hang_up()

    def wait_for_client(self, seconds):
        """Returns when the client has hung up, or after so many seconds."""
        self.connection.settimeout(seconds)
        try:
            self.connection.recv(1)
        except OSError:
            pass  # a time-out, or a reset

    # ---- the test ----

    def show(self, what):
        agent = self.agent
        with agent.lock:
            shown = {
                "spans": agent.chunks,
                "ids": agent.ids,
                "payloads": agent.payloads,
                "requests": agent.requests,
                "violations": agent.violations,
                "faults": list(agent.faults),
            }.get(what)
            text = json.dumps(shown)
        self.reply(404 if shown is None else 200, text)

    def control(self, what):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if what == "faults":
            with self.agent.lock:
                self.agent.faults.extend(json.loads(body))
        elif what == "clear":
            self.agent.clear()
        else:
            self.reply(404, "null")
            return
        self.reply(200, "null")


def main():
    parser = argparse.ArgumentParser(description="A strict Datadog agent that fails on command.")
    parser.add_argument("--port", type=int, default=0, help="of the agent on 127.0.0.1 (0: any)")
    parser.add_argument("--uds", help="path of a unix socket to listen at as well")
    parser.add_argument("--control-port", type=int, default=0, help="for the test only; always reachable (0: any)")
    parser.add_argument("--keep", choices=("spans", "ids"), default="spans", help="how much of the spans is kept")
    parser.add_argument("--info", type=json.loads, default={}, help="JSON: what /info says besides the usual")
    parser.add_argument("--rates", type=json.loads, help='JSON: {"service:S,env:E": RATE, ...}')
    parser.add_argument("--start-after", type=float, default=0, help="seconds for which the agent is away at first")
    options = parser.parse_args()

    agent = Agent(options.keep, options.info, options.rates)
    control = TcpServer(("127.0.0.1", options.control_port), agent)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    port = agent.listen(("127.0.0.1", options.port))
    if options.uds:
        agent.listen(options.uds)
    if options.start_after:
        agent.be_away(options.start_after)
    print(json.dumps({"port": port, "control_port": control.server_address[1], "uds": options.uds}), flush=True)
    sys.stdin.read()
    agent.leave()


if __name__ == "__main__":
    main()
