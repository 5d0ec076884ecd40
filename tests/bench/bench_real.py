"""What one node costs more with the library loaded, in a real ComfyUI (COMFYUI=dir
COMFYUI_PYTHON=its-interpreter).

A workflow of 200 trivial nodes (100 chains of two) runs in a bare and in a traced application in turns; the
figures are medians of the differences of such pairs: by the clock, and in CPU time of the executor's thread,
which other processes of the machine disturb less. Applications are started anew a few times, because two
starts of the same one also differ, by where things lie in memory. Prints one line and exits with 1 when the
CPU time is above the bar. --empty measures an empty preload instead, which tells how far to trust the figures.

--simulate tells what the library does in that time (Python 3.12 or newer): its functions, with all that they
call, under callgrind, which also simulates caches and the prediction of branches."""

import argparse
import contextlib
import http.server
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
WARM_UP = 3  # pairs of runs that do not count


class Sink:
    """An agent that takes everything, decodes nothing, and says when something came."""

    def __init__(self):
        came = self.came = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
                if self.path.endswith("/traces"):
                    came.set()

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

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
    """An application whose prompts are timed from inside."""

    def __init__(self, app, folder, preload=None, sink=None, meter=None):
        self.times = folder.with_suffix(".times")
        self.sink = sink
        environment = {
            "PYTHONHASHSEED": "0",
            "COMFYDD_BENCH_TIMES": str(self.times),
            **({"DD_TRACE_AGENT_URL": sink.url} if sink else {}),
            **({"COMFYDD_BENCH_METER": str(meter)} if meter else {}),
        }
        self.application = comfyui.ComfyUI(app, folder, preload, environment)

    def __enter__(self):
        self.application.__enter__()
        return self

    def __exit__(self, *error):
        self.application.__exit__(*error)

    def run(self, first):
        """Runs two workflows, one right after the other, and waits until their spans have been sent too: (clock,
        CPU) of the second in microseconds per node. The first warms the caches up, for however long the
        application was idle. Asks it nothing meanwhile, an answer would take its time."""
        done = len(self.read())
        for number in (first, first + CHAINS):
            self.application.submit(workflows.chains(CHAINS, number))
        if self.sink:
            self.sink.came.clear()
        wait_for("the workflows to end", 300, lambda: len(self.read()) >= done + 2)
        if self.sink and not self.sink.came.wait(30):
            raise Failed("no spans have come:\n" + self.application.process.last_lines())
        return [int(ns) / 1e3 / NODES for ns in self.read()[-1].split()]

    def read(self):
        return self.times.read_text().splitlines()


def measure_once(app, folder, rounds, empty):
    """Starts both applications; of every pair of runs: (bare clock, bare CPU, extra clock, extra CPU) in µs
    per node."""
    with contextlib.ExitStack() as stack:
        sink = None if empty else stack.enter_context(Sink())
        preload = compile_empty(folder / "empty.so") if empty else LIBRARY
        bare = stack.enter_context(Timed(app, folder / "bare"))
        traced = stack.enter_context(Timed(app, folder / "traced", preload, sink))
        pairs = []
        for number in range(WARM_UP + rounds):
            turns = (bare, traced) if number % 2 else (traced, bare)
            us = {one: one.run(1000 * (number + 1)) for one in turns}
            pairs.append((*us[bare], us[traced][0] - us[bare][0], us[traced][1] - us[bare][1]))
        return pairs[WARM_UP:]


def compile_empty(path):
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", path], check=True)
    return path


def measure(app, starts, rounds, empty):
    """The pairs of every start, as measure_once has them."""
    app.custom_nodes.append(pathlib.Path(__file__).resolve().parent / "custom_nodes")
    by_start = []
    for _ in range(starts):
        with tempfile.TemporaryDirectory(prefix="comfydd-bench-") as folder:
            by_start.append(measure_once(app, pathlib.Path(folder), rounds, empty))
    return by_start


def simulate(app):
    """See Simulated.read."""
    app.custom_nodes.append(pathlib.Path(__file__).resolve().parent / "custom_nodes")
    with tempfile.TemporaryDirectory(prefix="comfydd-bench-") as folder, Sink() as sink:
        folder = pathlib.Path(folder)
        meter = folder / "meter.so"
        source = pathlib.Path(__file__).resolve().parent / "meter.c"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", meter], check=True)
        (folder / "counts").mkdir()
        simulated = Simulated(app, folder / "counts")
        with Timed(simulated, folder / "traced", LIBRARY, sink, meter) as timed:
            timed.run(1000)
            timed.run(3000)
        return simulated.read()


def medians(pairs):
    return [statistics.median(column) for column in zip(*pairs)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of runs after each start")
    parser.add_argument("--empty", action="store_true", help="measure an empty preload")
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
    by_start = measure(app, options.starts, options.rounds, options.empty)
    bare_clock, bare_cpu, clock, cpu = medians(sum(by_start, []))
    each = ", ".join(f"{medians(pairs)[3]:+.1f}" for pairs in by_start)
    print(
        f"{app}: {NODES} trivial nodes, {bare_clock:.0f} µs each ({bare_cpu:.0f} µs CPU); with {'an empty preload' if options.empty else 'the library'} "
        f"{clock:+.1f} µs each, {cpu:+.1f} µs CPU (bar {BAR_US:g}); "
        f"median of {options.starts * options.rounds} pairs, CPU by start {each}"
    )
    return 0 if cpu <= BAR_US else 1


if __name__ == "__main__":
    sys.exit(main())
