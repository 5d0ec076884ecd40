"""What one node costs more when the library watches it, in a real ComfyUI (COMFYUI=dir
COMFYUI_PYTHON=its-interpreter; with an executor like that of 2026, in Python 3.12 or newer).

Workflows of 200 trivial nodes (100 chains of two) are executed. Within one, nodes are watched and not watched in turns
of five, and every second workflow is not watched at all, for what the library does at its begin and end
(custom_nodes/comfydd_bench_clock.py): a noisy machine is the same for both, and all lies in the same places of memory.
The figures are medians of the differences: by the clock, and in CPU time of the executor's thread, which other
processes of the machine disturb less. Prints one line and exits with 1 when the CPU time is above the bar.
--unwatched leaves the library out, which tells how far to trust the figures. --events too, but nodes have its
sys.monitoring events, with callbacks that do nothing: the part that CPython takes.

--simulate tells what the library does in that time: its functions, with all that they call, under callgrind, which
also simulates caches and the prediction of branches."""

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from rig import comfyui, workflows  # noqa: E402
from rig.process import Failed, wait_for  # noqa: E402
from rig.products import LIBRARY  # noqa: E402

BAR_US = 5.0
CHAINS = 100
NODES = 2 * CHAINS
TURN = 5  # nodes, as in custom_nodes
WATCHED, UNWATCHED, EMPTY_EVENTS = "watched", "without the library", "empty events"
# Where the files of a start are: flight memory that is on a disk makes the kernel write it there.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Sink:
    """An agent that takes everything, decodes nothing, and counts the workflows that came."""

    def __init__(self):
        self.workflows = 0
        self.more = threading.Condition()
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
                with sink.more:
                    sink.workflows += int(self.headers.get("X-Datadog-Trace-Count", 0))
                    sink.more.notify()

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, workflows):
        """Until so many have come since the start; false when they have not."""
        with self.more:
            return self.more.wait_for(lambda: self.workflows >= workflows, 30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


class Simulated:
    """An App (of rig.comfyui) under callgrind: what the functions of the library cost that the executor's thread
    comes by, by EVENTS. The first level of caches has 32 KiB each for code and data, the second 1 MiB."""

    FUNCTIONS = ("on_start", "on_return", "on_yield", "on_resume", "on_unwind", "open64")
    EVENTS = {
        "instructions": ["Ir"],
        "misses of code": ["I1mr"],
        "misses of data": ["D1mr", "D1mw"],
        "misses of the second level": ["ILmr", "DLmr", "DLmw"],
        "branches predicted wrongly": ["Bcm", "Bim"],
    }

    def __init__(self, app, counts):
        self.app = app
        self.counts = counts  # a folder for what callgrind writes

    def __getattr__(self, name):
        return getattr(self.app, name)

    def command(self, folder):
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
        command += ["--collect-atstart=no", *(f"--toggle-collect={name}" for name in self.FUNCTIONS)]
        command += ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,8,64"]
        command += ["--branch-sim=yes", f"--callgrind-out-file={self.counts}/out"]
        return command + self.app.command(folder)

    def read(self):
        """{event: per node}, the least of all prompts."""
        prompts = []
        for file in self.counts.iterdir():
            text = file.read_text()
            if "Trigger: Client Request" in text:
                names, values = (re.search(f"^{w}: (.*)", text, re.M)[1].split() for w in ("events", "totals"))
                counted = dict(zip(names, map(int, values)))
                prompts.append([sum(map(counted.get, events)) / NODES for events in self.EVENTS.values()])
        return dict(zip(self.EVENTS, map(min, zip(*prompts))))


class Timed:
    """An application whose prompts are timed from inside; with the library and an agent (Sink), or without."""

    def __init__(self, app, folder, sink=None, meter=None, events=False):
        self.times = folder.with_suffix(".times")
        self.sink = sink
        self.traced = 0  # workflows
        environment = {
            "PYTHONHASHSEED": "0",
            "COMFYDD_BENCH_TIMES": str(self.times),
            **({"DD_TRACE_AGENT_URL": sink.url} if sink else {}),
            **({"COMFYDD_BENCH_METER": str(meter)} if meter else {}),
            **({"COMFYDD_BENCH_EVENTS": "1"} if events else {}),
        }
        self.application = comfyui.ComfyUI(app, folder, LIBRARY if sink else None, environment)

    def __enter__(self):
        self.application.__enter__()
        return self

    def __exit__(self, *error):
        self.application.__exit__(*error)

    def run(self, kinds):
        """Executes a workflow of trivial nodes of each kind (see custom_nodes), one right after the other; what was
        written of each, but None of those that were executed while others were being queued, which takes time of the
        application."""
        first = len(self.read())
        for number, kind in enumerate(kinds, first):
            self.application.submit(workflows.chains(CHAINS, CHAINS * number), {"bench": kind})
        disturbed = len(self.read()) + 1 - first
        wait_for("the workflows to end", 600, lambda: len(self.read()) == first + len(kinds))
        if self.sink:
            self.traced += len(kinds) - kinds.count("bare")
            if not self.sink.wait(self.traced):
                raise Failed("the spans have not come:\n" + self.application.process.last_lines())
        return [None] * disturbed + [json.loads(line) for line in self.read()[first + disturbed :]]

    def read(self):
        return self.times.read_text().splitlines()


def fours(turns):
    """Of every four turns, two of each kind: (bare clock, bare CPU, extra clock, extra CPU) in µs per node. Not of the
    first four, where ComfyUI prepares what comes."""
    for start in range(4, len(turns) - 3, 4):
        four = turns[start : start + 4]
        bare, watched = ([sum(t[i] for t in four if t[0] == kind) / 2 / TURN / 1e3 for i in (1, 2)] for kind in (False, True))
        yield (*bare, watched[0] - bare[0], watched[1] - bare[1])


def measure_once(app, folder, rounds, kind):
    """Starts the application; what `fours` has of all workflows, and of each round the (clock, CPU) that a node has for
    its share of what is done for the workflow."""
    nodes, shares = [], []
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(Sink()) if kind == WATCHED else None
        timed = stack.enter_context(Timed(app, folder / "comfyui", sink, events=kind == EMPTY_EVENTS))
        runs = timed.run(["mixed", "bare"] * rounds)
        if sink and sink.workflows != timed.traced:
            raise Failed(f"{sink.workflows} workflows were traced instead of {timed.traced}")
    for mixed, bare in zip(runs[::2], runs[1::2]):
        if mixed:
            nodes.extend(fours(mixed["nodes"]))
            shares.append([(m - b) / NODES / 1e3 for m, b in zip(mixed["prompt"], bare["prompt"])])
    return nodes, shares


def measure(app, starts, rounds, kind):
    """What measure_once has, of every start."""
    app.custom_nodes.append(pathlib.Path(__file__).resolve().parent / "custom_nodes")
    by_start = []
    for _ in range(starts):
        with tempfile.TemporaryDirectory(prefix="comfydd-bench-", dir=MEMORY) as folder:
            by_start.append(measure_once(app, pathlib.Path(folder), rounds, kind))
    return by_start


def simulate(app):
    """See Simulated.read."""
    app.custom_nodes.append(pathlib.Path(__file__).resolve().parent / "custom_nodes")
    with tempfile.TemporaryDirectory(prefix="comfydd-bench-", dir=MEMORY) as folder, Sink() as sink:
        folder = pathlib.Path(folder)
        meter = folder / "meter.so"
        source = pathlib.Path(__file__).resolve().parent / "meter.c"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", meter], check=True)
        (folder / "counts").mkdir()
        simulated = Simulated(app, folder / "counts")
        with Timed(simulated, folder / "comfyui", sink, meter) as timed:
            timed.run(["watched"] * 4)
        return simulated.read()


def medians(rows):
    return [statistics.median(column) for column in zip(*rows)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument(
        "--rounds", type=int, default=80, help="times two workflows after each start: one with turns, one bare"
    )
    parser.add_argument("--unwatched", action="store_true", help="leave the library out")
    parser.add_argument("--events", action="store_true", help="leave the library out, but not its events")
    parser.add_argument("--simulate", action="store_true", help="count what the library does instead")
    options = parser.parse_args()
    app = comfyui.checkout_from_environment()
    if not app:
        print("real ComfyUI: left out, COMFYUI names no checkout")
        return 0
    if options.simulate:
        counted = ", ".join(f"{count:,.0f} {event}" for event, count in simulate(app).items())
        print(f"{app}: the library's part of a trivial node: {counted}")
        return 0
    kind = UNWATCHED if options.unwatched else EMPTY_EVENTS if options.events else WATCHED
    by_start = measure(app, options.starts, options.rounds, kind)
    nodes, shares = (sum(lists, []) for lists in zip(*by_start))
    bare_clock, bare_cpu, clock, cpu = medians(nodes)
    clock_share, cpu_share = medians(shares)
    version = subprocess.check_output([app.python, "-c", "import platform; print(platform.python_version())"], text=True).strip()
    each = ", ".join(f"{medians(start)[3]:+.1f}" for start, _ in by_start)
    print(
        f"{app}, Python {version}: {NODES} trivial nodes, {bare_clock:.0f} µs each ({bare_cpu:.0f} µs CPU); {kind} "
        f"{clock + clock_share:+.1f} µs each, {cpu + cpu_share:+.1f} µs CPU (bar {BAR_US:g}), {cpu_share:+.1f} of them for "
        f"the workflow; median of {len(nodes)} differences, by start {each}"
    )
    cpu += cpu_share
    return 0 if cpu <= BAR_US else 1


if __name__ == "__main__":
    sys.exit(main())
