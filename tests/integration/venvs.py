"""Python interpreters of this machine, and virtual environments in build/venvs, made when first asked for."""

import os
import pathlib
import shutil
import subprocess

import pytest

VENVS = pathlib.Path(__file__).resolve().parents[2] / "build" / "venvs"


def interpreters():
    """{"3.11": path} of every CPython from 3.9 on."""
    found = {}
    for minor in range(9, 16):
        version = f"3.{minor}"
        folders = sorted((pathlib.Path.home() / ".pyenv" / "versions").glob(version + ".*/bin"))
        candidates = [os.fspath(folder / "python") for folder in folders]
        candidates += filter(None, [shutil.which(f"python{version}")])
        for candidate in candidates:
            if "shims" not in candidate and os.access(candidate, os.X_OK):
                found.setdefault(version, candidate)
    return found


def python_of(version, *requirements):
    """The interpreter of a virtual environment of that Python version with those packages. Skips the test
    where the machine has no such Python."""
    if version not in interpreters():
        pytest.skip(f"no Python {version} on this machine")
    name = "-".join([version, *requirements]).replace("==", "-")
    python = VENVS / name / "bin" / "python"
    ready = VENVS / name / "ready"
    if not ready.exists():
        shutil.rmtree(VENVS / name, ignore_errors=True)
        subprocess.run([interpreters()[version], "-m", "venv", VENVS / name], check=True, timeout=120)
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *requirements]
        subprocess.run(install, check=True, timeout=600)
        ready.touch()
    return os.fspath(python)
