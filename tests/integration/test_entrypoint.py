"""scripts/entrypoint.sh: finds ComfyUI or runs its arguments, and becomes comfydd run, as PID 1 too."""

import os
import pathlib
import subprocess
import sys

import pytest

from rig.launcher import COMFYDD, NO_JOBS
from rig.process import environment_without_datadog

pytestmark = pytest.mark.timeout(60)

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ENTRYPOINT = REPOSITORY / "scripts" / "entrypoint.sh"
LIBRARY = COMFYDD.with_name("libcomfydd.so")


def run(*words, before=(), cwd=None, **variables):
    quiet = {**NO_JOBS, "COMFYDD_QUIET": "1"}
    return subprocess.run(
        [os.fspath(word) for word in (*before, ENTRYPOINT, *words)],
        env={**environment_without_datadog(), **quiet, **variables},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def namespace():
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*words, "true"], capture_output=True, timeout=30).returncode:
        pytest.skip("this user may not make a PID namespace")
    return words


def test_arguments_and_exit_code():
    done = run("sh", "-c", 'printf "<%s>" "$@" "$LD_PRELOAD"; exit 7', "sh", "a b", "*")
    assert (done.returncode, done.stdout) == (7, f"<a b><*><{LIBRARY}>")


def comfyui(folder):
    folder.mkdir()
    (folder / "main.py").write_text("import os, sys; print(os.getcwd(), sys.argv[1:])")
    (folder / "execution.py").touch()
    return folder


def test_it_finds_comfyui(tmp_path):
    here, named = comfyui(tmp_path / "here"), comfyui(tmp_path / "named")
    expected = "['--listen', '0.0.0.0']\n"
    assert run(cwd=here).stdout == f"{here} {expected}"
    assert run(cwd=here, COMFYUI_PATH=str(named)).stdout == f"{named} {expected}"


def test_it_takes_the_virtual_environment_of_comfyui(tmp_path):
    folder = comfyui(tmp_path / "here")
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "bin" / "python").write_text("#!/bin/sh\necho its own python\n")
    (folder / "venv" / "bin" / "python").chmod(0o755)
    assert run(cwd=folder).stdout == "its own python\n"


def test_without_a_comfyui_it_says_so(tmp_path):
    if pathlib.Path("/comfyui").exists() or pathlib.Path("/ComfyUI").exists():
        pytest.skip("this machine has a ComfyUI in a usual place")
    done = run(cwd=tmp_path, HOME=str(tmp_path))
    assert done.returncode == 125 and "COMFYUI_PATH" in done.stderr


def test_without_the_program_the_command_runs_all_the_same(tmp_path):
    done = run("sh", "-c", 'echo "$LD_PRELOAD"; exit 4', COMFYDD_PROGRAM="/nonexistent/comfydd")
    assert (done.returncode, done.stdout) == (4, f"{LIBRARY}\n")
    assert done.stderr.startswith("comfydd: /nonexistent/comfydd: missing, or not for this machine")
    copy = tmp_path / "entrypoint.sh"
    copy.write_text(ENTRYPOINT.read_text())
    copy.chmod(0o755)
    done = subprocess.run([copy, "sh", "-c", "exit 4"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 4 and "without a supervisor" in done.stderr


def test_of_another_machine_or_libc_the_command_runs_all_the_same(tmp_path):
    copy = tmp_path / "entrypoint.sh"
    copy.write_text(ENTRYPOINT.read_text())
    (tmp_path / "comfydd").write_bytes(b"\x7fELF\2\1\1")
    (tmp_path / "libcomfydd.so").write_bytes(b"\x7fELF\2\1\1")
    for path in (copy, tmp_path / "comfydd"):
        path.chmod(0o755)
    words = [copy, "sh", "-c", 'echo "$LD_PRELOAD"; exit 4']
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (4, "\n")
    assert done.stderr == f"comfydd: {tmp_path}/comfydd: missing, or not for this machine; running without a supervisor\n"


def test_it_becomes_pid_1():
    done = run("sh", "-c", "cat /proc/1/comm; exit 3", before=namespace())
    assert (done.returncode, done.stdout) == (3, "comfydd\n")


def test_the_loaders_list_is_written_only_where_it_is_asked_for(tmp_path):
    """Never the real one: it would be that of every process of this machine."""
    real = pathlib.Path("/etc/ld.so.preload")
    before = real.read_text() if real.exists() else None
    listed = tmp_path / "ld.so.preload"
    for _ in range(2):
        assert run("true", COMFYDD_LD_SO_PRELOAD=str(listed)).stderr == ""
        assert listed.read_text() == f"{LIBRARY}\n"
    run("true")
    run("true", before=namespace())
    assert (real.read_text() if real.exists() else None) == before


def test_a_library_that_cannot_be_loaded_is_not_listed(tmp_path):
    listed, broken = tmp_path / "ld.so.preload", tmp_path / "libcomfydd.so"
    broken.write_text("no library")
    done = run("sh", "-c", "exit 3", COMFYDD_LIB=str(broken), COMFYDD_LD_SO_PRELOAD=str(listed))
    assert done.returncode == 3 and not listed.exists()
    assert "cannot be added" in done.stderr


def test_a_list_that_cannot_be_written_is_no_reason_to_stop(tmp_path):
    done = run("sh", "-c", "exit 3", COMFYDD_LD_SO_PRELOAD=str(tmp_path / "none" / "ld.so.preload"))
    assert done.returncode == 3 and "cannot be added" in done.stderr
