"""scripts/comfyui-with-comfydd: the command it runs is the same, with the library preloaded once."""

import os
import pathlib
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
WRAPPER = REPOSITORY / "scripts" / "comfyui-with-comfydd"
LIBRARY = REPOSITORY / "build" / "libcomfydd.so"


def run(*command, wrapper=WRAPPER, **variables):
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [wrapper, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def preload(wrapper=WRAPPER, **variables):
    """LD_PRELOAD as the command finds it, and what was said on stderr."""
    done = run("sh", "-c", 'printf %s "${LD_PRELOAD-unset}"', wrapper=wrapper, **variables)
    assert done.returncode == 0, done
    return done.stdout, done.stderr


def test_arguments_and_exit_code():
    done = run("sh", "-c", 'printf "<%s>" "$@"; exit 7', "sh", "a b", "", "*")
    assert (done.returncode, done.stdout, done.stderr) == (7, "<a b><><*>", "")


def test_preloads_the_library():
    assert preload() == (str(LIBRARY), "")


def test_keeps_what_was_preloaded():
    other = "libm.so.6"  # found by the loader itself; every program can have it
    assert preload(LD_PRELOAD=other) == (f"{LIBRARY}:{other}", "")


@pytest.mark.parametrize("separator", [":", " "])
def test_never_preloads_it_twice(separator):
    already = separator.join([str(LIBRARY), str(LIBRARY)])
    assert preload(LD_PRELOAD=already) == (already, "")


@pytest.mark.parametrize("name", ["with space", "with:colon", "with$LIB"])
def test_a_path_that_cannot_be_preloaded(tmp_path, name):
    for folder in ("scripts", "build"):
        (tmp_path / name / folder).mkdir(parents=True)
    wrapper = shutil.copy(WRAPPER, tmp_path / name / "scripts")
    shutil.copy(LIBRARY, tmp_path / name / "build")
    found, said = preload(wrapper=wrapper)
    assert found == "unset"
    assert said.startswith("comfydd: ") and said.count("\n") == 1 and name in said


def test_without_the_library_the_command_runs_all_the_same(tmp_path):
    found, said = preload(COMFYDD_LIB=str(tmp_path / "none.so"))
    assert found == "unset"
    assert said.startswith("comfydd: ") and said.count("\n") == 1 and "none.so" in said


def test_without_a_command_it_says_how_to_use_it():
    done = run()
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
