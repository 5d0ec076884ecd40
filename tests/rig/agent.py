"""The Datadog test agent (ddapm-test-agent): decodes strictly, and checks headers and fields of what it
receives."""

import pathlib
import sys
import urllib.parse

from rig import traces
from rig.process import Failed, Process, environment_without_datadog, free_ports, get, http, wait_for

CHECKS = (
    "trace_count_header",
    "meta_tracer_version_header",
    "trace_content_length",
    "trace_stall",
    "trace_peer_service",
    "trace_dd_service",
    "meta_events_is_valid_json",
)


class Agent:
    """A test agent with all its checks on. Use as a context manager."""

    def __init__(self, folder, snapshots=None):
        """Its files are in `folder`; `snapshots` is where it keeps what sessions must look like."""
        port, otlp_http, otlp_grpc = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        program = pathlib.Path(sys.executable).with_name("ddapm-test-agent")
        options = {
            "host": "127.0.0.1",
            "port": port,
            "otlp-http-port": otlp_http,
            "otlp-grpc-port": otlp_grpc,
        }
        if snapshots:
            options["snapshot-dir"] = snapshots
        # The checks go by environment: their option takes no list.
        checks = {"ENABLED_CHECKS": ",".join(CHECKS), "DD_POOL_TRACE_CHECK_FAILURES": "true"}
        self.process = Process(
            "ddapm-test-agent",
            [sys.executable, program, *(f"--{name}={value}" for name, value in options.items())],
            folder / "agent.log",
            cwd=folder,
            env={**environment_without_datadog(), **checks},
        )

    def __enter__(self):
        try:
            self.process.wait_until_it_answers(self.url + "/info", 30)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_):
        self.process.stop()

    def spans(self):
        """Every span received so far, as decoded; snapshots of spans still open left out."""
        chunks = http(self.url + "/test/session/traces")
        return [
            span for chunk in chunks for span in chunk if "_dd.partial_version" not in span.get("metrics", {})
        ]

    def take_spans(self):
        """The same, and forgets them."""
        spans = self.spans()
        get(self.url + "/test/session/clear")
        return spans

    def trace(self, prompt_id, seconds=15):
        """The trace of a prompt (rig.traces) once it is whole, or as it is at the deadline; None when none
        came."""

        def whole():
            trace = traces.find(self.spans(), prompt_id)
            return trace if trace and trace.whole() else None

        try:
            return wait_for("the trace", seconds, whole)
        except Failed:
            return traces.find(self.spans(), prompt_id)

    def start_session(self, name):
        """What is received from now on belongs to the session of that name."""
        get(f"{self.url}/test/session/start?test_session_token={name}")

    def compare_with_snapshot(self, name, ignored):
        """Failed, with the differences, when the session is not like its snapshot; writes that when there is
        none. Ids, times and the like never count, nor do the fields in `ignored` ("meta.x", "metrics.y",
        "resource"). """
        fields = urllib.parse.quote(",".join(ignored))
        get(f"{self.url}/test/session/snapshot?test_session_token={name}&ignores={fields}")

    def complaints(self):
        """What its checks found wrong with the requests, empty when nothing is."""
        try:
            get(self.url + "/test/trace_check/failures?return_all=true")
            return ""
        except Failed as failed:
            return str(failed)

    def checks_passed(self):
        """How often each check found a request right."""
        summary = http(self.url + "/test/trace_check/summary?return_all=true")
        return {name: counts["Passed_Checks"] for name, counts in summary.items()}
