"""The fake GPU of tests/fakes/cuda: built once per session, configured per test, read afterwards."""

import dataclasses
import functools
import itertools
import json
import os
import pathlib
import subprocess

from rig.process import Failed

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILT = os.environ.get("COMFYDD_TEST_FAKE_CUDA")  # by somebody else: for another processor
LIBRARIES = pathlib.Path(BUILT) if BUILT else REPOSITORY / "build" / "fakes" / "cuda"
_numbers = itertools.count()


@functools.lru_cache(maxsize=None)
def build():
    """The folder with libcuda.so.1 and its companions."""
    if BUILT:
        return LIBRARIES
    done = subprocess.run(
        ["make", "-s", "fake-cuda"], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise Failed(f"make fake-cuda: {done.stderr[-4000:]}")
    return LIBRARIES


@dataclasses.dataclass
class Stats:
    """What one process has called and what it still held when it exited. Books are dicts: see print_books in
    tests/fakes/cuda/gpu/calls.c."""

    pid: int
    calls: dict  # by function, those that do something
    stubs: dict  # by function, those that do nothing
    devices: list  # books, by device
    host: dict  # books of the host


class FakeCuda:
    """A machine with GPUs for one test. Keyword options: `memory` ("8G", of each device), `devices`, `version`
    (13000), `copy` (device memory can be read and written through copies), `mig`, `fail` (["cuMemAlloc_v2:2:3"]:
    the next three calls fail with error 2), `log`."""

    def __init__(self, folder, **options):
        build()
        number = next(_numbers)
        self.stats_file = pathlib.Path(folder) / f"gpu-{number}.stats"
        self.log_file = pathlib.Path(folder) / f"gpu-{number}.log"
        self.environment = {
            "LD_LIBRARY_PATH": os.fspath(LIBRARIES),
            "FAKE_CUDA_STATS": os.fspath(self.stats_file),
        }
        if options.pop("log", False):
            self.environment["FAKE_CUDA_LOG"] = os.fspath(self.log_file)
        for name in ("copy", "mig"):
            if options.pop(name, False):
                self.environment[f"FAKE_CUDA_{name.upper()}"] = "1"
        fail = options.pop("fail", ())
        if fail:
            self.environment["FAKE_CUDA_FAIL"] = ",".join(fail)
        for name in ("memory", "devices", "version"):
            if name in options:
                self.environment[f"FAKE_CUDA_{name.upper()}"] = str(options.pop(name))
        if options:
            raise TypeError(f"FakeCuda has no option {', '.join(options)}")

    def all_stats(self):
        """Of every process that has exited, in that order."""
        if not self.stats_file.exists():
            return []
        return [Stats(**json.loads(line)) for line in self.stats_file.read_text().splitlines()]

    def stats(self):
        """Of the only process."""
        found = self.all_stats()
        if len(found) != 1:
            raise Failed(f"{len(found)} processes have left figures in {self.stats_file}")
        return found[0]

    def log(self):
        """Lines, in true order: a function per call, and changes of the books."""
        return self.log_file.read_text().splitlines()


def nvidia_runtime():
    """NVIDIA's libcudart.so.13, which comes with the headers."""
    home = (build() / "include").resolve().parent
    return next(path for path in (home / "lib64/libcudart.so.13", home / "lib/libcudart.so.13") if path.exists())


def compile_program(source, program, *options, runtime="13"):
    """Makes `program` of a C file, with CUDA's headers and a runtime: the fake of that major ("12", "13"), "static",
    "NVIDIA" for the real one, which refuses the fake driver, or None."""
    libraries = build()
    link = {
        None: [],
        "static": ["-Wl,--exclude-libs,ALL", "-l:libcudart_static.a"],
        "NVIDIA": [nvidia_runtime(), f"-Wl,-rpath,{nvidia_runtime().parent},--disable-new-dtags"],
    }.get(runtime, [f"-l:libcudart.so.{runtime}"])
    command = ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Werror", "-o", program, source]
    command += ["-I", REPOSITORY / "tests/fakes/cuda", "-isystem", libraries / "include", "-L", libraries]
    command += ["-pthread", *options, *link, "-lfakegpu", "-ldl", f"-Wl,-rpath-link,{libraries}"]
    done = subprocess.run([os.fspath(word) for word in command], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Failed(f"{source}: {done.stderr[-4000:]}")
    return program
