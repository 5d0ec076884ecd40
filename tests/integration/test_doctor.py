"""comfydd doctor: a line for each thing that a span meets on its way, and what to do where something is wrong."""

import os
import shutil
import subprocess
import sys

import pytest
from left_behind import in_a_node, killed
from programs import LIBRARY, environment, free_threaded
from strict_agent_process import StrictAgent

from rig import pythons
from rig.launcher import COMFYDD
from rig.process import free_ports

pytestmark = pytest.mark.timeout(120)

SUBJECTS = [
    "settings", "library", "python", "ddtrace", "cuda", "flight folder", "left behind", "agent", "comfydd run",
    "record of jobs",
]


@pytest.fixture(scope="module")
def agent():
    with StrictAgent() as started:
        yield started


@pytest.fixture
def doctor(tmp_path, agent):
    def ask(*words, code=None, program=COMFYDD, **variables):
        """{subject: [(ok, text), ...]}"""
        settings = {"DD_TRACE_AGENT_URL": agent.url, "COMFYDD_STATE": tmp_path / "state", **variables}
        done = subprocess.run(
            [program, "doctor", "--", *(words or [sys.executable])],
            env=environment(**settings), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        page = {}
        for line in done.stdout.splitlines():
            ok, rest = line[:8].strip(), line[9:]
            subject, _, text = rest.partition(": ")
            assert ok in ("ok", "problem") and text
            page.setdefault(subject, []).append((ok == "ok", text))
        sick = any(not ok for lines in page.values() for ok, _ in lines)
        assert done.returncode == (1 if sick else 0)
        return page

    return ask


def problem(page, subject):
    """The text of the one problem that there is."""
    problems = [(name, text) for name, lines in page.items() for ok, text in lines if not ok]
    assert [name for name, _ in problems] == [subject], problems
    return problems[0][1]


def test_all_is_well(doctor, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    page = doctor()
    assert all(ok for lines in page.values() for ok, _ in lines), page
    assert list(page) == SUBJECTS
    assert str(LIBRARY) in page["library"][0][1] and "needs libc.so.6" in page["library"][0][1]
    assert f"is Python {sys.version.split()[0]}; the library is loaded, and waits for a ComfyUI" in page["python"][0][1]
    assert "takes traces" in page["agent"][0][1]
    assert "memory limit 64.00 GiB" in page["comfydd run"][0][1]
    assert sorted(tmp_path.rglob("*")) == before


def test_settings_that_are_not_understood(doctor):
    page = doctor(COMFYDD_GRACE="soon", DD_TRACE_SAMPLING_RULES="[{", COMFYDD_MEMORY_LIMITS="4G")
    texts = [text for ok, text in page["settings"] if not ok]
    assert len(texts) == 3
    assert "COMFYDD_GRACE=soon is not a number from 0 to 86400; using 10" in texts
    assert any("DD_TRACE_SAMPLING_RULES" in text for text in texts)
    assert any(text.startswith("COMFYDD_MEMORY_LIMITS is not a variable of comfydd's") for text in texts)


def test_tracing_that_is_switched_off(doctor):
    page = doctor(DD_TRACE_ENABLED="false")
    assert any("tracing is switched off" in text for ok, text in page["settings"] if not ok)
    assert [ok for ok, _ in page["python"]] == [False]


def test_no_library(doctor, tmp_path):
    assert "is not there" in problem(doctor(COMFYDD_LIB=tmp_path / "missing.so"), "library")


def test_a_library_that_cannot_be_loaded(doctor, tmp_path):
    content = LIBRARY.read_bytes()
    library = tmp_path / "libcomfydd.so"
    library.write_bytes(content[:18] + (183).to_bytes(2, "little") + content[20:])
    assert "it is for aarch64, this machine is x86-64" in problem(doctor(COMFYDD_LIB=library), "library")
    library.write_text("no library at all\n" * 10)
    assert "it is no 64-bit library" in problem(doctor(COMFYDD_LIB=library), "library")
    library.write_bytes(content.replace(b"\0libc.so.6\0", b"\0libX.so.6\0"))
    assert "it cannot be loaded: libX.so.6" in problem(doctor(COMFYDD_LIB=library), "library")
    (tmp_path / "a folder").mkdir()
    shutil.copy(LIBRARY, tmp_path / "a folder")
    assert "a blank" in problem(doctor(COMFYDD_LIB=tmp_path / "a folder" / "libcomfydd.so"), "library")


def wrapper(tmp_path, script):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_the_preload_does_not_reach(doctor, tmp_path):
    python = wrapper(tmp_path, f'unset LD_PRELOAD\nexec {sys.executable} "$@"')
    assert "LD_PRELOAD does not reach it" in problem(doctor(python), "python")


def test_a_free_threaded_python(doctor, tmp_path):
    lines = doctor(pythons.shared(), LD_PRELOAD=free_threaded(tmp_path))["python"]
    assert [(ok, text.endswith("this Python is a free-threaded build; use one with a GIL")) for ok, text in lines] == [
        (False, True)
    ]


def test_what_is_no_python(doctor, tmp_path):
    assert "No such file" in problem(doctor("no-such-python"), "python")
    assert "gives no answer" in problem(doctor(wrapper(tmp_path, "exit 3")), "python")


def test_a_ddtrace_that_is_too_old(doctor, tmp_path):
    for version, ok in (("2.9.0", False), ("3.9.1", False), ("3.10.0", True), ("4.1", True)):
        folder = tmp_path / version / "ddtrace-0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: ddtrace\nVersion: {version}\n")
        ((is_ok, text),) = doctor(PYTHONPATH=tmp_path / version)["ddtrace"]
        assert is_ok == ok and text.startswith(version)


def test_a_flight_folder_that_cannot_be_used(doctor, tmp_path):
    assert "No such file" in problem(doctor(COMFYDD_FLIGHT_FOLDER=tmp_path / "missing"), "flight folder")


def test_spans_of_a_dead_process(doctor, tmp_path, flight_folder):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    victim = in_a_node(tmp_path, flight_folder, url)
    assert doctor()["left behind"] == [(True, "nothing")]
    victim.kill()
    text = problem(doctor(), "left behind")
    assert text == f"1 dead process ({victim.process.pid}) left spans: comfydd recover sends them"
    assert len(os.listdir(flight_folder)) == 1


def test_an_agent_that_is_away(doctor):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    text = problem(doctor(DD_TRACE_AGENT_URL=url), "agent")
    assert text.startswith(f"cannot reach the Datadog agent at {url} (Connection refused): check that it runs")


def test_something_else_where_the_agent_should_be(doctor, tmp_path):
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = server.stdout.readline().split(" port ")[1].split()[0]
        text = problem(doctor(DD_TRACE_AGENT_URL=f"http://127.0.0.1:{port}"), "agent")
        assert "is it a Datadog agent" in text
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_a_database_that_is_away(doctor, tmp_path):
    url = "postgresql://user:s3cret@127.0.0.1:1/jobs"
    text = problem(doctor(COMFYDD_JOBS_DB=url), "record of jobs")
    assert "Connection refused" in text and "s3cret" not in text
    assert "must be sqlite:PATH" in problem(doctor(COMFYDD_JOBS_DB="mysql://x"), "record of jobs")
    assert "unknown parameter" in problem(
        doctor(COMFYDD_JOBS_DB=f"sqlite:{tmp_path}/jobs.db", COMFYDD_JOBS_SQL="SELECT :job"), "record of jobs")


def test_jobs_that_wait(doctor, tmp_path, flight_folder):
    """A process was killed under a comfydd run whose database is away; the doctor is asked later."""
    away = {"COMFYDD_JOBS_DB": f"sqlite:{tmp_path}/missing/jobs.db", "COMFYDD_STATE": tmp_path / "state"}
    killed(tmp_path, flight_folder, "http://127.0.0.1:1")
    subprocess.run([COMFYDD, "recover"], env=environment(DD_TRACE_AGENT_URL="http://127.0.0.1:1", **away), timeout=60,
                   capture_output=True)
    page = doctor(**away)
    texts = [text for ok, text in page["record of jobs"] if not ok]
    assert len(texts) == 2 and "unable to open database file" in texts[0]
    assert texts[1] == "1 change waits for the next comfydd run to write them"


def test_a_memory_limit_without_a_group(doctor, tmp_path):
    """An unprivileged user can make none, unless its groups are delegated; then each process has the limit for itself."""
    ((ok, text),) = doctor(COMFYDD_MEMORY_LIMIT="none")["comfydd run"]
    assert ok and text == "no memory limit"
