"""Measures the library against a preload built from an empty file, and prints a table of bars and figures.

Instructions are counted by valgrind (cachegrind without its cache model), so that the figures do not depend on what
else the machine does. What does not belong to the thing measured (start of the program, import of the stand-in) is
taken away by a second run with less work: cost = (more - less) / amount, the same with the empty preload.

usage: bench.py [--write] [ROW...]      --write also puts the table into docs/bench.md; ROW selects by name
"""
import concurrent.futures
import dataclasses
import functools
import http.server
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench"
DOCUMENT = ROOT / "docs" / "bench.md"
WORKLOAD = HERE / "workload.py"
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
DEADLINE = 300  # seconds for one run

COUNTS = {"calls": 1000, "methods": 1000, "generators": 2000, "exceptions": 1000}  # several 10^8 instructions each
NODES = 200


@dataclasses.dataclass
class Row:
    name: str
    bar: float
    text: str  # format of bar and figures
    figures: dict  # {what of: figure}
    at_least: bool = False

    def ok(self):
        return all(figure >= self.bar if self.at_least else figure <= self.bar for figure in self.figures.values())

    def markdown(self):
        figures = ", ".join(f"{of} {self.text.format(figure)}".strip() for of, figure in self.figures.items())
        bar = ("≥ " if self.at_least else "≤ ") + self.text.format(self.bar)
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


class Bench:
    """Both preloads, as files whose paths have the same length, and the agent."""

    def __init__(self):
        shutil.rmtree(BUILD, ignore_errors=True)
        for name in ("empty", "ours_"):
            (BUILD / name).mkdir(parents=True)
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", BUILD / "empty/lib.so"], check=True)
        shutil.copy(ROOT / "build/libcomfydd.so", BUILD / "ours_/lib.so")
        self.agent = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
        threading.Thread(target=self.agent.serve_forever, daemon=True).start()
        self.pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def run(self, preload, command, seed=0, tool=()):
        """stdout and stderr. The environment has nothing of ours, so that its size is the same everywhere."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(BUILD),
            "LD_PRELOAD": str(BUILD / preload / "lib.so"),
            "PYTHONHASHSEED": str(seed),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{self.agent.server_port}",
        }
        done = subprocess.run(
            [*tool, *map(str, command)],
            env=environment,
            cwd=BUILD,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        if done.returncode:
            sys.exit(f"bench: {command} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
        return done.stdout, done.stderr

    def instructions(self, preload, command, seed=0):
        tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        report = self.run(preload, command, seed, tool)[1]
        return int(re.search(r"I +refs: +([\d,]+)", report)[1].replace(",", ""))

    def later(self, function, *arguments):
        return self.pool.submit(function, *arguments)

    def count_later(self, command, seed=0):
        """Futures of the counts with the empty preload and with ours."""
        return [self.later(self.instructions, preload, command, seed) for preload in ("empty", "ours_")]


def pythons():
    """{version: path} of the CPythons whose figures have bars."""
    found = {}
    folders = [pathlib.Path(folder) for folder in os.environ["PATH"].split(":") if "shims" not in folder]
    folders += sorted((pathlib.Path.home() / ".pyenv" / "versions").glob("*/bin"))
    for version in VERSIONS:
        path = next((folder / f"python{version}" for folder in folders if (folder / f"python{version}").is_file()), None)
        if path:
            found[version] = path
    return found


def results(futures):
    return [future.result() for future in futures]


# ---- rows ----


def child_process(bench):
    empty, ours = results(bench.count_later(["/bin/true"]))
    return [Row("a child process: `/bin/true`, extra instructions", 15_000, "{:,.0f}", {"": ours - empty})]


def short_python(bench):
    counts = {version: bench.count_later([python, "-c", "pass"]) for version, python in pythons().items()}
    ratios = {}
    for version, futures in counts.items():
        empty, ours = results(futures)
        ratios[version] = ours / empty
    return [Row("`python -c pass`, ratio", 1.01, "{:.4f}", ratios)]


def untraced_python(bench):
    """Python code that is not the executor, less what the same program costs with no work in it."""
    counts = {}
    for version, python in pythons().items():
        for where in ("idle", "node"):
            for work, amount in (("calls", 0), *COUNTS.items()):
                command = [python, WORKLOAD, "a3", where, work, amount]
                counts[version, where, work if amount else "start"] = bench.count_later(command)
    counts = {key: results(futures) for key, futures in counts.items()}
    rows = []
    for where, place in (("node", "inside a node"), ("idle", "idle after discovery")):
        for work in COUNTS:
            ratios = {}
            for version in pythons():
                (empty, ours), (empty_start, ours_start) = counts[version, where, work], counts[version, where, "start"]
                ratios[version] = (ours - ours_start) / (empty - empty_start)
            rows.append(Row(f"Python {place}: {work}, ratio", 1.005, "{:.4f}", ratios))
    return rows


def node_span(bench):
    """What a node costs more than with the empty preload, with all that follows from it up to the agent. Median of
    several hash seeds: where Python's dictionaries happen to collide, the difference of two runs moves."""
    rows = []
    for generation, about in (("a3", "2026"), ("r4", "2024, recursive")):
        counts = {}
        for version, python in pythons().items():
            for seed in range(5):
                for nodes in (NODES, 2 * NODES):
                    command = [python, WORKLOAD, generation, "nodes", nodes]
                    counts[version, seed, nodes] = bench.count_later(command, seed)
        figures = {}
        for version in pythons():
            costs = []
            for seed in range(5):
                (empty, ours), (empty_more, ours_more) = (
                    results(counts[version, seed, nodes]) for nodes in (NODES, 2 * NODES)
                )
                costs.append((ours_more - ours - (empty_more - empty)) / NODES)
            figures[version] = statistics.median(costs)
        rows.append(Row(f"a node span, executor of {about}, instructions", 15_000, "{:,.0f}", figures))
    return rows


def resident_memory(bench):
    """After a workflow of 2,000 nodes. Median of five pairs."""
    figures = {}
    for version, python in pythons().items():
        command = [python, WORKLOAD, "a3", "nodes", 2000]
        extra = []
        for _ in range(5):
            empty, ours = (int(bench.run(preload, command)[0].split()[-1]) for preload in ("empty", "ours_"))
            extra.append((ours - empty) / 1024)
        figures[version] = statistics.median(extra)
    return [Row("resident memory, MiB more", 8, "{:.1f}", figures)]


def encoding(bench):
    """Wall time of one core: the best of five."""
    program = ROOT / "build/release/bench/bench_encode"
    speeds = [float(re.search(r"([\d.]+) million", bench.run("empty", [program, 5000])[0])[1]) for _ in range(5)]
    return [Row("encoding, million spans/s", 1.0, "{:.2f}", {"": max(speeds)}, at_least=True)]


ROWS = {row.__name__.replace("_", "-"): row for row in
        (child_process, short_python, untraced_python, node_span, resident_memory, encoding)}


def write(table):
    begin, end = "<!-- table: make bench -->\n", "<!-- end of table -->\n"
    before, rest = DOCUMENT.read_text().split(begin)
    DOCUMENT.write_text(f"{before}{begin}\n{table}\n\n{end}{rest.split(end)[1]}")


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
        write("\n".join(lines))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
