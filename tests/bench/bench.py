"""Measures the library against a preload built from an empty file, and prints a table of bars and figures.

Instructions are counted by callgrind, so that the figures do not depend on what else the machine does.

usage: bench.py [--write] [ROW...]      --write also puts the table, or the selected rows of it, into docs/bench.md
"""

import concurrent.futures
import contextlib
import dataclasses
import http.server
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "integration")]
from programs import build_probe  # noqa: E402
from rig import fake_cuda, pythons  # noqa: E402

ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench"
DOCUMENT = ROOT / "docs" / "bench.md"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
DEADLINE = 300  # seconds for one run

NODES, WORKFLOWS = 20, 10  # an executor's own work grows with the square of the nodes, and would drown ours
LAYOUTS = range(3)  # see shake() in workload.py


@dataclasses.dataclass
class Row:
    name: str
    bar: float  # None: for information
    text: str  # format of bar and figures
    figures: dict  # {what of: figure}
    at_least: bool = False

    def ok(self):
        return self.bar is None or all(
            figure >= self.bar if self.at_least else figure <= self.bar for figure in self.figures.values()
        )

    def markdown(self):
        figures = ", ".join(f"{of} {self.text.format(figure)}".strip() for of, figure in self.figures.items())
        bar = "" if self.bar is None else ("≥ " if self.at_least else "≤ ") + self.text.format(self.bar)
        return f"| {self.name} | {bar} | {figures} | {'ok' if self.ok() else '**missed**'} |"


# ---- running ----


class Agent(http.server.BaseHTTPRequestHandler):
    """Takes every payload."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"rate_by_service":{}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


def span(library):
    """How many bytes of addresses the loader gives to a library."""
    headers = subprocess.run(["readelf", "-lW", library], check=True, capture_output=True, text=True).stdout
    loads = [line.split() for line in headers.splitlines() if line.split()[:1] == ["LOAD"]]
    return max(int(load[2], 16) + int(load[5], 16) for load in loads)


def compile_empty(target, wanted):
    """An empty library of that span, so that everything mapped later lies at the same places with both."""

    def compile_with(padding):
        source = f"static char padding[{padding}] __attribute__((used));"
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", target]
        subprocess.run(command, input=source, text=True, check=True)

    compile_with(1)
    compile_with(1 + wanted - span(target))


class Bench:
    """Both preloads, as files whose paths and mappings have the same length, the meter, and the agent."""

    PRELOADS = ("empty", "ours_")

    def __init__(self):
        shutil.rmtree(BUILD, ignore_errors=True)
        for name in self.PRELOADS:
            (BUILD / name).mkdir(parents=True)
        ours = shutil.copy(ROOT / "build/libcomfydd.so", BUILD / "ours_/lib.so")
        compile_empty(BUILD / "empty/lib.so", span(ours))
        self.meter = BUILD / "meter.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", HERE / "meter.c", "-o", self.meter], check=True)
        self.agent = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
        threading.Thread(target=self.agent.serve_forever, daemon=True).start()
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        # In a shared one, what another program's killed process has left would be sent, and counted.
        self.flight = tempfile.TemporaryDirectory(prefix="comfydd-bench-", dir="/dev/shm")
        self.more = {}  # environment variables of the row that is being measured

    def workload(self, python, *arguments):
        return [python, HERE / "workload.py", self.meter, *arguments]

    def run(self, preload, command, tool=()):
        """stdout. The environment has nothing of ours, so that its size is the same everywhere."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(BUILD),
            "LD_PRELOAD": str(BUILD / preload / "lib.so"),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COMFYDD_FLIGHT_FOLDER": self.flight.name,
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{self.agent.server_port}",
            **self.more,
        }
        done = subprocess.run(
            [*tool, *map(str, command)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        if done.returncode:
            sys.exit(
                f"bench: {command} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
            )
        return done.stdout

    def count(self, preload, command, from_start):
        """Instructions by the name given to meter_end, the least where it came more than once; `end` is what came
        after the last, or all."""
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            instrument = "yes" if from_start else "no"
            tool = ["valgrind", "--tool=callgrind", f"--instr-atstart={instrument}"]
            self.run(preload, command, [*tool, f"--callgrind-out-file={folder}/out"])
            counts = {}
            for file in pathlib.Path(folder).iterdir():
                text = file.read_text()
                name = re.search(r"^desc: Trigger: (?:Client Request: )?(.*)", text, re.M)[1]
                total = int(re.search(r"^totals: (\d+)", text, re.M)[1])
                name = "end" if name == "Program termination" else name
                counts[name] = min(total, counts.get(name, total))
            return counts

    def count_both(self, command, from_start=False):
        """Starts counting with both preloads; the function returned waits and gives (empty, ours)."""
        futures = [self.pool.submit(self.count, preload, command, from_start) for preload in self.PRELOADS]
        return lambda: tuple(future.result() for future in futures)


def versions():
    """{version: path} of the CPythons whose figures have bars."""
    return {version: path for version, path in pythons.find().items() if version in VERSIONS}


# ---- rows ----


def child_process(bench):
    empty, ours = bench.count_both(["/bin/true"], from_start=True)()
    return [
        Row(
            "a child process: `/bin/true`, more instructions",
            15_000,
            "{:,.0f}",
            {"": ours["end"] - empty["end"]},
        )
    ]


def short_python(bench):
    counts = {
        version: bench.count_both([python, "-c", "pass"], from_start=True)
        for version, python in versions().items()
    }
    ratios = {}
    for version, wait in counts.items():
        empty, ours = wait()
        ratios[version] = ours["end"] / empty["end"]
    return [Row("`python -c pass`, ratio", 1.01, "{:.4f}", ratios)]


def untraced_python(bench):
    """Python code that is not the executor."""
    waits = {
        version: bench.count_both(bench.workload(python, "a3", "python"))
        for version, python in versions().items()
    }
    ratios = {}
    for version, wait in waits.items():
        empty, ours = wait()
        for part in empty.keys() - {"end"}:
            ratios.setdefault(part, {})[version] = ours[part] / empty[part]
    about = {"node": "inside a node", "idle": "idle after discovery"}
    return [
        Row(f"Python {about[place]}: {work}, ratio", 1.005, "{:.4f}", ratios[f"{place} {work}"])
        for place in about
        for work in ("calls", "methods", "generators", "exceptions")
    ]


def span_cost(bench, generation, what):
    """What a node costs more than with the empty preload, with all that follows from it up to the agent: the
    second half of a workflow's nodes, so that what happens once per workflow does not count. Median of the layouts."""
    waits = {}
    for version, python in versions().items():
        for layout in LAYOUTS:
            for nodes in (NODES, 2 * NODES):
                command = bench.workload(python, generation, what, nodes, WORKFLOWS, layout)
                waits[version, layout, nodes] = bench.count_both(command)
    figures = {}
    for version in versions():
        costs = []
        for layout in LAYOUTS:
            more = {}
            for nodes in (NODES, 2 * NODES):
                empty, ours = waits[version, layout, nodes]()
                more[nodes] = ours["end"] - empty["end"]
            costs.append((more[2 * NODES] - more[NODES]) / NODES / WORKFLOWS)
        figures[version] = statistics.median(costs)
    return figures


def node_span(bench):
    return [
        Row(f"a node span, executor {about}, instructions", 15_000, "{:,.0f}", span_cost(bench, generation, "nodes"))
        for generation, about in (("a3", "of 2026"), ("r4", "of 2024, recursive"))
    ]


def resident_memory(bench):
    """After a workflow of 2,000 nodes. Median of five pairs."""
    figures = {}
    for version, python in versions().items():
        command = bench.workload(python, "a3", "nodes", 2000, 1, 0)
        extra = []
        for _ in range(5):
            empty, ours = (int(bench.run(preload, command).split()[-1]) for preload in bench.PRELOADS)
            extra.append((ours - empty) / 1024)
        figures[version] = statistics.median(extra)
    return [Row("resident memory, MiB more", 8, "{:.1f}", figures)]


LAUNCHER = ROOT / "build" / "comfydd"


def launcher_environment(folder):
    return {"PATH": "/usr/bin:/bin", "HOME": folder, "COMFYDD_FLIGHT_FOLDER": folder}


def launcher_time(bench):
    """`comfydd run /bin/true`, its end included, against /bin/true with the same preload: the least of many, in turn."""
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        environment = launcher_environment(folder)
        preload = {**environment, "LD_PRELOAD": str(BUILD / "ours_" / "lib.so")}
        launched = [LAUNCHER, "run", "--quiet", f"--library={preload['LD_PRELOAD']}", "/bin/true"]

        def milliseconds(command, variables):
            begin = time.perf_counter()
            subprocess.run(command, env=variables, check=True, timeout=DEADLINE)
            return (time.perf_counter() - begin) * 1e3

        pairs = [(milliseconds(launched, environment), milliseconds(["/bin/true"], preload)) for _ in range(100)]
    extra = min(pair[0] for pair in pairs) - min(pair[1] for pair in pairs)
    return [Row("`comfydd run`, start and end, ms more", 5, "{:.1f}", {"": extra})]


def launcher_memory(bench):
    """Its own share (PSS) while the command runs, jobs being recorded."""
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        # The command tells by its output that it runs, and ends with its input.
        child = subprocess.Popen(
            [LAUNCHER, "run", "--quiet", "sh", "-c", "echo runs; read line"],
            env=launcher_environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        child.stdout.readline()
        rollup = pathlib.Path(f"/proc/{child.pid}/smaps_rollup").read_text()
        child.communicate(b"\n", timeout=DEADLINE)
    share = int(re.search(r"^Pss: *(\d+) kB", rollup, re.M)[1]) / 1024
    return [Row("`comfydd run`, resident memory, MiB", 2, "{:.1f}", {"": share})]


def encoding(bench):
    """Wall time of one core: the best of five."""
    program = ROOT / "build/release/tests/bench/bench_encode"
    speeds = [float(re.search(r"([\d.]+) million", bench.run("empty", [program, 5000]))[1]) for _ in range(5)]
    return [Row("encoding, million spans/s", 1.0, "{:.2f}", {"": max(speeds)}, at_least=True)]


def flight_memory(bench):
    """What a node span costs inside the functions of flight memory: its slot, its way into the ring, the figures for who comes
    after a kill."""
    spans, program = 10_000, ROOT / "build/release/tests/bench/bench_flight"
    functions = ("take_slot", "append", "release_slot", "note_figures")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={BUILD}/flight.out"]
        tool += [f"--toggle-collect=flight_{name}" for name in functions]
        bench.run("empty", [program, folder, spans], tool)
    total = int(re.search(r"^totals: (\d+)", (BUILD / "flight.out").read_text(), re.M)[1])
    return [Row("flight memory, instructions of a node span", 300, "{:,.0f}", {"": total / spans})]


def stacks(bench):
    """Python stacks of allocations: one that is left out, and one whose functions and lines have been seen before."""
    captures = 10_000
    probe = build_probe("frames_probe", BUILD)
    command = [HERE / "stacks.py", bench.meter, probe, captures]
    counts = {
        version: bench.pool.submit(bench.count, "empty", [python, *command], from_start=False)
        for version, python in versions().items()
    }
    figures = {}
    for version, future in counts.items():
        for what, instructions in future.result().items():
            figures.setdefault(what, {})[version] = instructions / captures
    return [
        Row(f"the Python stack of an allocation, {what}, instructions", None, "{:,.0f}", figures[what])
        for what in ("left out", "depth 10", "depth 40")
    ]


# ---- GPU memory, on the fake GPU of tests/fakes/cuda ----


@contextlib.contextmanager
def fake_gpu(bench, **more):
    bench.more = {"LD_LIBRARY_PATH": str(fake_cuda.build()), **more}
    try:
        yield
    finally:
        bench.more = {}


def gpu_calls(bench):
    """Both layers of hooks, runtime and driver, take part in every pair: half of what it costs more is a layer's. In a node,
    whose allocations they are counted as."""
    pairs, loop, names = 10_000, BUILD / "cuda_loop.so", BUILD / "driver_names"
    fakes = fake_cuda.build()
    command = ["cc", "-O2", "-shared", "-fPIC", "-I", fakes / "include", HERE / "cuda_loop.c", "-o", loop]
    subprocess.run([*command, "-L", fakes, "-l:libcudart.so.13"], check=True)
    declared = re.findall(r"^NAME\((\w+?)(?:_v\d+)?\)", (fakes / "driver_names.inc").read_text(), re.M)
    names.write_text("\n".join(sorted(set(declared))[:440]))  # as many as libcudart asks for
    version, python = list(versions().items())[-1]
    with fake_gpu(bench):
        empty, ours = bench.count_both([python, HERE / "gpu.py", bench.meter, loop, names, pairs])()
    costs = {kind: (ours[kind] - empty[kind]) / pairs / 2 for kind in ("stream-ordered", "plain")}
    return [
        Row("an allocation and its free, instructions more per layer", 200, "{:,.0f}", costs),
        Row("440 functions asked of the driver, ratio", 1.2, "{:.2f}", {"": ours["resolver"] / empty["resolver"]}),
    ]


def ledger(bench):
    """Processor time, the best of five; beside it what the machine takes for as many lines of memory."""
    program = ROOT / "build/release/tests/bench/bench_ledger"
    runs = [re.findall(r"([\d.]+) ns", bench.run("empty", [program, 8, 100_000])) for _ in range(5)]
    ledgers, lines = (min(map(float, times)) for times in zip(*runs))
    figures = {"": ledgers, "a locked line of memory": lines}
    return [Row("the ledger's part of a pair, 8 threads, 100,000 live, ns", 60, "{:.0f}", figures)]


def gpu_node_span(bench):
    """A node's span with all memory tags."""
    with fake_gpu(bench):
        figures = span_cost(bench, "a3", "gpu")
    return [Row("a node span with GPU memory, executor of 2026, instructions", 20_000, "{:,.0f}", figures)]


def tracking(bench):
    """Python stacks of allocations in a node that makes 10,000 tensors of 1 MiB a second: each stack is recorded. Processor
    time, the least of nine runs."""
    figures = {}
    for version, python in versions().items():
        least = {}
        for tracked in ("false", "true") * 9:
            with fake_gpu(bench, PYTORCH_MEMORY_TRACKING=tracked):
                out = bench.run("ours_", bench.workload(python, "a3", "tensors", 20_000))
            seconds = float(re.search(r"^([\d.e-]+) seconds a tensor", out, re.M)[1])
            least[tracked] = min(seconds, least.get(tracked, seconds))
        figures[version] = (least["true"] - least["false"]) * 10_000 * 100
    return [Row("Python stacks of 10,000 allocations/s, % of the time", 3, "{:.1f}", figures)]


ROWS = {
    row.__name__.replace("_", "-"): row
    for row in (
        child_process,
        short_python,
        untraced_python,
        node_span,
        gpu_node_span,
        gpu_calls,
        ledger,
        stacks,
        tracking,
        resident_memory,
        flight_memory,
        encoding,
        launcher_time,
        launcher_memory,
    )
}


def write(lines, all_of_them):
    """Into the document, in place of the table, or of those of its rows that have been measured."""
    begin, end = "<!-- table: make bench -->\n", "<!-- end of table -->\n"
    before, rest = DOCUMENT.read_text().split(begin)
    table, after = rest.split(end)
    rows = {} if all_of_them else {line.split(" | ")[0]: line for line in table.split("\n") if line}
    rows.update((line.split(" | ")[0], line) for line in lines)
    table = "\n".join(rows.values())
    DOCUMENT.write_text(f"{before}{begin}\n{table}\n\n{end}{after}")


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    unknown = set(arguments) - set(ROWS)
    if unknown:
        sys.exit(f"{__doc__}ROW: {', '.join(ROWS)}")
    bench = Bench()
    lines = ["| | bar | figure | |", "|---|---|---|---|"]
    print(*lines, sep="\n", flush=True)
    missed = 0
    for name in arguments or ROWS:
        for row in ROWS[name](bench):
            lines.append(row.markdown())
            missed += not row.ok()
            print(lines[-1], flush=True)
    if "--write" in sys.argv:
        write(lines, not arguments)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
