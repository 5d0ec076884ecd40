"""The machine that is checked: its driver and runtimes, real or the fake's; programs that run on it with and without the
library."""

import functools
import glob
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUILT = REPOSITORY / "build/release"
FAKE = REPOSITORY / "build/fakes/cuda"
PROBE = BUILT / "check_torch/probe.so"  # the library, recording from its first moment
COUNTING = BUILT / "gpu_check/counting.so"  # the same, and it counts the calls of its hooks
SET_ASIDE = ("LD_PRELOAD", "DD_", "COMFYDD_", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTHONPATH")
SYSTEM = ("/usr/lib/*-linux-gnu", "/usr/lib64")


def wheels():
    """Where NVIDIA's packages are that PyTorch brings."""
    python = os.environ.get("TORCH_PYTHON", sys.executable)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except OSError:
        return []
    return [os.path.join(done.stdout.strip(), "nvidia/*/lib")]


class Unable(Exception):
    """Why a check cannot run here."""


class Broken(Exception):
    """A program of a check has failed."""


class Machine:
    def __init__(self, fake):
        self.fake = fake
        self._folder = tempfile.TemporaryDirectory(prefix="gpu-check-")

    # ---- programs ----

    def environment(self, **variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(SET_ASIDE)}
        kept.update({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join([str(HERE)])})
        if self.fake:
            kept["LD_LIBRARY_PATH"] = os.fspath(FAKE)
        return {**kept, **{name: os.fspath(value) for name, value in variables.items()}}

    def run(self, program, *arguments, preload=None, python=sys.executable, limit=300, **variables):
        """What programs/PROGRAM.py has printed last, which is JSON."""
        path = program if isinstance(program, pathlib.Path) else HERE / "programs" / f"{program}.py"
        if preload:
            variables["LD_PRELOAD"] = preload
        try:
            done = subprocess.run(
                [python, path, *map(str, arguments)], env=self.environment(**variables), stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            raise Broken(f"{path.name} has not ended after {limit} s")
        except OSError as error:
            raise Broken(str(error))
        if done.returncode:
            said = done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or [""]
            raise Broken(f"{path.name} ended with {done.returncode}: {said[-1][:500]}")
        try:
            return json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            raise Broken(f"{path.name} has answered nothing; it ended with {done.stdout[-200:]!r}")

    def describe(self):
        """In words: its GPU, driver and CUDA."""
        if self.fake:
            return "the FAKE GPU of tests/fakes/cuda: nothing below is about hardware"
        found = self.run("devices", preload=PROBE)
        if not found["ours"]:
            raise Broken("the library sees no device")
        version = f"CUDA {found['version'] // 1000}.{found['version'] % 1000 // 10}"
        return f"{found['ours'][0][1]}, driver {found['driver'] or 'of unknown version'}, {version}"

    @functools.lru_cache(maxsize=None)
    def driver_symbols(self):
        """The functions that the driver's library exports, with their versions if they have any ("name@version")."""
        library = self.run("devices", preload=PROBE)["library"]
        try:
            done = subprocess.run(["readelf", "-W", "--dyn-syms", library], capture_output=True, text=True, timeout=60)
        except FileNotFoundError:
            raise Unable("there is no readelf (binutils)")
        found = [line.split()[7] for line in done.stdout.splitlines() if " FUNC " in line and " UND " not in line]
        if not found:
            raise Broken(f"readelf finds no functions in {library}")
        return found

    # ---- runtimes ----

    def _find_runtime(self, pattern):
        folders = [FAKE] if self.fake else [*wheels(), "/usr/local/cuda/lib64", "/usr/local/cuda-*/lib64", *SYSTEM]
        for folder in filter(None, [os.environ.get("CUDA_LIB"), *folders]):
            found = sorted(glob.glob(os.path.join(folder, pattern)))
            if found:
                return pathlib.Path(found[-1])
        raise Unable(f"there is no {pattern} (CUDA_LIB names its folder)")

    @functools.lru_cache(maxsize=None)
    def runtime(self, kind):
        """runtime.c with a runtime: `shared` or `static`."""
        library = self._find_runtime("libcudart.so.*" if kind == "shared" else "libcudart_static.a")
        if not shutil.which("cc"):
            raise Unable("there is no C compiler (cc)")
        made = pathlib.Path(self._folder.name) / f"runtime_{kind}.so"
        command = ["cc", "-std=gnu11", "-O1", "-fPIC", "-shared", "-fno-optimize-sibling-calls", "-I", REPOSITORY / "src"]
        command += ["-o", made, HERE / "runtime.c", library, "-Wl,-z,lazy", f"-Wl,-rpath,{library.parent},--disable-new-dtags"]
        if kind == "static":
            command += ["-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic", "-lrt"]
            command += ["-L", FAKE, "-lfakegpu"] if self.fake else []
        done = subprocess.run([*command, "-ldl", "-pthread"], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Broken(f"runtime.c with {library}: {done.stderr.strip().splitlines()[-1]}")
        return made

    # ---- PyTorch ----

    @functools.lru_cache(maxsize=None)
    def torch_python(self):
        """An interpreter whose PyTorch has CUDA: TORCH_PYTHON, or the one that runs this."""
        python = os.environ.get("TORCH_PYTHON", sys.executable)
        try:
            found = self.run("torch_found", python=python)
        except Broken as broken:
            raise Unable(f"{python}: {broken}")
        if not found["cuda"]:
            raise Unable(f"{python}: PyTorch {found['version']} finds no CUDA device")
        return python
