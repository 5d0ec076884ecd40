"""comfydd run where its surroundings are bad: no standard descriptors, a stderr that nobody reads or that takes nothing,
another comfydd in the way, a clock that is set back, a machine that has no process to give."""

import fcntl
import os
import signal
import subprocess
import tempfile

import pytest
from left_behind import killed
from programs import HERE, LIBRARY, environment
from strict_agent_process import StrictAgent
from test_launcher_endurance import dying, job_states
from test_launcher_endurance import run as run_in_stand_in

from rig import pythons
from rig.kills import split
from rig.launcher import COMFYDD, NO_JOBS, Launched
from rig.process import free_ports

pytestmark = pytest.mark.timeout(120)


def start(words, stderr, **variables):
    return subprocess.Popen(
        [os.fspath(word) for word in (COMFYDD, "run", *words)],
        env=environment(**{**NO_JOBS, **variables}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


# ---- stderr ----


def test_a_stderr_that_nobody_reads_any_more_does_not_end_the_command():
    """A log line raises SIGPIPE then. That is ours, and not to be passed on."""
    reading, writing = os.pipe()
    os.close(reading)
    child = start(["--", "sh", "-c", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done"], writing)
    os.close(writing)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGUSR1)
    assert child.wait(20) == 7
    child.stdout.close()


def test_a_stderr_that_takes_nothing_holds_nothing_up():
    """As when a log collector hangs, or somebody has typed Ctrl-S."""
    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * size)
    child = start(["--restart=failure", "--max-restarts=1", "--", "sh", "-c", "echo ran; exit 3"], writing)
    try:
        assert child.communicate(timeout=30)[0] == "ran\nran\n"
        assert child.returncode == 3
    finally:
        child.kill()
        os.close(reading)
        os.close(writing)


# ---- standard descriptors ----


def test_without_standard_descriptors_log_lines_go_into_no_file_of_ours(tmp_path):
    words = [COMFYDD, "run", f"--jobs-db=sqlite:{tmp_path}/jobs.db", f"--state={tmp_path}/state", "--"]
    words += ["sh", "-c", f"ls -l /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 >{tmp_path}/had"]
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = subprocess.run([*closing, *words], env=environment(), timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "had").read_text().count("/dev/null") >= 2  # its stdout is the file itself
    (spool,) = (tmp_path / "state").glob("*.spool")
    assert spool.read_bytes() == b""


# ---- others of our kind ----


def test_several_that_start_at_once_have_a_spool_each(tmp_path):
    library = tmp_path / "slow_close.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "slow_close.c", "-ldl"], check=True, timeout=60)
    words = [f"--jobs-db=sqlite:{tmp_path}/jobs.db", f"--state={tmp_path}/state", "--", "true"]
    children = [start(words, subprocess.PIPE, LD_PRELOAD=library, COMFYDD_JOBS_DB="") for _ in range(4)]
    ends = [(child.communicate(timeout=60)[1], child.returncode) for child in children]
    assert [code for _, code in ends] == [0] * 4, ends


# ---- a machine in need


def test_a_restart_that_fails_is_tried_again(tmp_path):
    """The first start must succeed: then somebody is there to read the message."""
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\nmv {command} {command}.away; exit 3\n")
    command.chmod(0o755)
    with Launched(tmp_path / "log", "--restart=failure", "--", command) as launched:
        launched.wait_to_say(f"could not be started: {command}: No such file or directory")
        command.write_text("#!/bin/sh\nexit 0\n")
        command.chmod(0o755)
        assert launched.wait() == 0
        assert "starting it again in 2 s (restart 2 of at most 10)" in launched.text()


def test_a_restart_without_a_process_to_be_had_is_tried_again(tmp_path):
    library = tmp_path / "no_fork.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "no_fork.c", "-ldl"], check=True, timeout=60)
    # Of many looks the least: at first comfydd still waits for the command to begin.
    look = "set -- /proc/$PPID/fd/*; [ $# -gt $least ] || least=$#; looks=$((looks + 1))"
    script = f"looks=0 least=99; while [ $looks -lt 5000 ]; do {look}; done; echo its descriptors: $least; exit 3"
    child = start(["--restart=failure", "--max-restarts=2", "--", "sh", "-c", script], subprocess.PIPE, LD_PRELOAD=library)
    out, err = child.communicate(timeout=60)
    first, second = out.splitlines()
    assert (first, child.returncode) == (second, 3), err
    assert "could not be started: no process can be made: Resource temporarily unavailable" in err


# ---- no agent


def test_jobs_are_recorded_though_no_agent_is_there(tmp_path, flight_folder):
    """What earlier deaths have left cannot be sent, and does not stand in the way."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    for _ in range(2):
        killed(tmp_path, flight_folder, url)
    done = run_in_stand_in(dying(tmp_path / "diary"), tmp_path, url)
    assert done.stderr.count("was running, in node 2, Act") == 3
    assert job_states(tmp_path / "jobs.db") == ["failed"] * 3
    assert len(list(flight_folder.iterdir())) == 3


# ---- nothing said about jobs


@pytest.mark.parametrize("variables, folder", [
    ({"HOME": "{}", "XDG_STATE_HOME": ""}, ".local/state/comfydd"),
    ({"HOME": "/nonexistent", "XDG_STATE_HOME": "{}/xdg"}, "xdg/comfydd"),
    ({"HOME": "/nonexistent", "XDG_STATE_HOME": "/nonexistent", "COMFYDD_STATE": "{}/state"}, "state"),
    ({"HOME": "", "XDG_STATE_HOME": "relative"}, None),
])
def test_jobs_are_recorded_without_a_word(tmp_path, flight_folder, variables, folder):
    variables = {name: value.format(tmp_path) for name, value in variables.items()}
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = subprocess.run(
        [COMFYDD, "run", "--restart=never", "--", *dying(tmp_path / "diary")],
        env=environment(DD_TRACE_AGENT_URL=url, PYTHONPATH=HERE, COMFYDD_LIB=LIBRARY, **variables),
        cwd=HERE.parent / "fakes" / "comfyui" / "a3", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 137, done.stderr
    if folder:
        assert job_states(tmp_path / folder / "jobs.db") == ["failed"]
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
    else:
        assert "jobs are not recorded: there is no folder for them: HOME is not set" in done.stderr


def test_a_spool_is_for_one_database_and_statement(tmp_path):
    """Whatever its password is now."""

    def spool(url, *options, cwd=tmp_path):
        state = tempfile.mkdtemp(dir=tmp_path)
        words = [COMFYDD, "run", "--quiet", f"--jobs-db={url}", f"--state={state}", *options, "--", "true"]
        subprocess.run(words, env=environment(), cwd=cwd, check=True, timeout=30)
        (name,) = os.listdir(state)
        return name

    (tmp_path / "other").mkdir()
    assert spool("postgresql://u:one@h/d") == spool("postgresql://u:another@h/d") != spool("postgresql://u:one@h/e")
    assert spool("sqlite:jobs.db") == spool("sqlite:jobs.db") != spool("sqlite:jobs.db", cwd=tmp_path / "other")
    absolute = f"sqlite:{tmp_path}/jobs.db"
    assert spool(absolute) == spool(absolute, cwd="/") != spool(absolute, "--jobs-sql=SELECT :job_id")


# ---- what comes just before a death


def test_a_job_that_ended_just_before_a_death_is_recorded_too(tmp_path, flight_folder):
    """Before comfydd has looked at what the process does for the first time."""
    words = [*dying(tmp_path / "diary")[:-1], "die-later"]
    with StrictAgent() as agent:
        done = run_in_stand_in(words, tmp_path, agent.url, "--restart=never", "--jobs-live")
    assert done.returncode == 137
    assert sorted(job_states(tmp_path / "jobs.db")) == ["failed", "succeeded"]


# ---- what another version has left


def test_files_of_another_version_are_left_to_it(tmp_path, flight_folder):
    path, _ = killed(tmp_path, flight_folder, f"http://127.0.0.1:{free_ports(1)[0]}")
    content = path.read_bytes()
    path.write_bytes(content[:8] + b"\x09" + content[9:])
    with StrictAgent() as agent:
        done = run_in_stand_in(["true"], tmp_path, agent.url)
        assert done.returncode == 0 and path.exists() and not agent.spans


# ---- a start script


@pytest.mark.parametrize("code, ends", [
    (139, ("killed", "KILLED", "SIGSEGV")), (3, ("error", "FAILURE", "ProcessExited")), (0, ("interrupted", "INTERRUPTED", None))])
def test_a_start_script_that_ends_some_seconds_later_tells_why(tmp_path, flight_folder, code, ends):
    """What it has run is not judged before."""
    words = ["sh", "-c", f'"$@"; sleep 3; exit {code}', "sh", *dying(tmp_path / "diary")]
    with StrictAgent() as agent:
        done = run_in_stand_in(words, tmp_path, agent.url, "--restart=never")
        workflow, nodes = split(agent.spans)
    meta, node = workflow["meta"], nodes["2"]["meta"]
    assert (meta["workflow.status"], node["node.result"], meta.get("error.type")) == ends
    assert node.get("error.type") == ends[2] and workflow["error"] == nodes["2"]["error"] == (ends[2] is not None)
    assert done.returncode == code
    assert job_states(tmp_path / "jobs.db") == ["failed" if ends[2] else "interrupted"]


# ---- a clock that is set back


def test_a_death_is_explained_though_the_clock_was_set_back(tmp_path, flight_folder):
    """By more than the time since the last sign of life, which then seems to come after the death."""
    python = list(pythons.find().values())[-1]
    words = [COMFYDD, "run", "--", python, HERE / "killed_program.py", tmp_path / "diary", "die-early"]
    with StrictAgent() as agent:
        paths = f"{HERE}:{HERE.parent}"
        variables = environment(DD_TRACE_AGENT_URL=agent.url, PYTHONPATH=paths, COMFYDD_LIB=LIBRARY, **NO_JOBS)
        folder = HERE.parent / "fakes" / "comfyui" / "a3"
        done = subprocess.run(words, env=variables, cwd=folder, stdin=subprocess.DEVNULL, timeout=60)
        messages = {span["meta"].get("error.message") for span in agent.spans if "error.type" in span["meta"]}
    assert done.returncode == 137
    assert messages == {"was killed with SIGKILL by somebody, and not for memory"}
