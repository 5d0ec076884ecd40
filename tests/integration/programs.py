"""Programs that the tests run: with the library, or with a probe that is built from its objects."""

import os
import pathlib
import subprocess
import sysconfig

from rig.products import LIBRARY, REPOSITORY  # noqa: F401 of the tests too

HERE = pathlib.Path(__file__).resolve().parent


def environment(**variables):
    """That of a user who has set `variables` and nothing else that counts here."""
    set_aside = ("DD_", "OTEL_", "COMFYDD_", "LD_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(set_aside)}
    kept["COMFYDD_FLIGHT_FOLDER"] = os.environ["COMFYDD_FLIGHT_FOLDER"]  # of the test: tests/conftest.py
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **{name: os.fspath(v) for name, v in variables.items()}}


def run(command, code=0, cwd=None, **variables):
    """(stdout, stderr) of a program that must end with this code."""
    done = subprocess.run(
        command, env=environment(**variables), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


FREE_THREADED = """
const char *Py_GetVersion(void);
const char *Py_GetVersion(void) { return "3.13.0 experimental free-threading build (main, Oct  7 2024)"; }
"""


def free_threaded(folder):
    """To be preloaded: makes rig.pythons.shared() say that it is a free-threaded build. The real thing is not on every machine:
    scripts/free-threaded-pythons."""
    source, library = folder / "version.c", folder / "version.so"
    source.write_text(FREE_THREADED)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    return library


def build_probe(name, folder, *objects):
    """NAME.c and the objects of the library that it needs, as one shared library in `folder`; `objects` are those that
    unit tests do without."""
    path = folder / f"{name}.so"
    objects = [f"build/release/{file}" for file in (*objects, "libcomfydd.a")]
    subprocess.run(["make", "-s", *objects], cwd=REPOSITORY, check=True, timeout=300)
    subprocess.run(
        ["cc", "-std=c11", "-D_GNU_SOURCE", "-DPy_LIMITED_API=0x03090000", "-fvisibility=hidden", "-fPIC"]
        + ["-I", REPOSITORY / "src", "-I", REPOSITORY / "include", "-isystem", sysconfig.get_path("include")]
        + ["-shared", f"-Wl,--version-script={REPOSITORY / 'src/versions.map'}", "-o", path, HERE / f"{name}.c", *(REPOSITORY / file for file in objects)],
        check=True,
        timeout=300,
    )
    return path
