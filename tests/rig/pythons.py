"""The CPython interpreters to test on, and virtual environments made from them in build/venvs."""

import functools
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from rig.process import Failed

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
INSTALLATION_S = 600


@functools.lru_cache(maxsize=None)
def find():
    """{version: command} of every version that is here: those that COMFYDD_TEST_PYTHONS names (colons
    between), those that scripts/newer-pythons made, those on PATH, those of pyenv; the first of a version.
    COMFYDD_TEST_ONLY_PYTHONS instead names all that there are."""
    only = os.environ.get("COMFYDD_TEST_ONLY_PYTHONS")
    if only:
        return {_version(candidate): candidate for candidate in only.split(":")}
    candidates = [path for path in os.environ.get("COMFYDD_TEST_PYTHONS", "").split(":") if path]
    candidates += sorted((REPOSITORY / "build" / "pythons").glob("python3.*"))
    # pyenv's shims are shell scripts: what they lead to is found below.
    path = os.pathsep.join(folder for folder in os.get_exec_path() if not folder.endswith("/shims"))
    candidates += filter(None, (shutil.which(f"python{version}", path=path) for version in VERSIONS))
    candidates += sorted((pathlib.Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"))
    found = {}
    for candidate in candidates:
        if "/shims/" in os.fspath(candidate):
            continue  # a script of pyenv's, which starts an interpreter: not one itself
        version = _version(candidate)
        if version in VERSIONS:
            found.setdefault(version, os.fspath(candidate))
    return {version: found[version] for version in VERSIONS if version in found}


def default():
    """For tests of which any Python will do: that of the tests, or the last of COMFYDD_TEST_ONLY_PYTHONS."""
    return list(find().values())[-1] if os.environ.get("COMFYDD_TEST_ONLY_PYTHONS") else sys.executable


def shared():
    """One whose functions are in a library, so that LD_PRELOAD can replace them; skips the test where there is none."""
    for python in (default(), *find().values()):
        program = "import sysconfig; print(sysconfig.get_config_var('Py_ENABLE_SHARED'))"
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=30)
        if done.stdout.strip() == "1":
            return python
    pytest.skip("every Python here is linked statically")


def _version(command):
    """3.11, say; empty for what is no CPython that starts."""
    program = "import platform, sys; print(platform.python_implementation(), '%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([command, "-c", program], capture_output=True, text=True, timeout=30)
    except OSError:
        return ""
    name, _, version = done.stdout.strip().partition(" ")
    return version if done.returncode == 0 and name == "CPython" else ""


def python_of(version, *requirements):
    """The interpreter of a virtual environment with these packages, made when first asked for. Skips the test
    where the machine has no such Python."""
    if version not in find():
        pytest.skip(f"no Python {version} on this machine")
    folder = REPOSITORY / "build" / "venvs" / "-".join([version, *requirements]).replace("==", "-")
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        _run([find()[version], "-m", "venv", "--clear", folder])
        _run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *requirements])
        ready.touch()
    return os.fspath(python)


def with_pillow(version):
    """An interpreter that has Pillow where it can be had; else (chroots have no pip) the plain one."""
    if (REPOSITORY / "build" / "pythons") in pathlib.Path(find()[version]).parents:
        return find()[version]
    return python_of(version, "Pillow")


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLATION_S)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
