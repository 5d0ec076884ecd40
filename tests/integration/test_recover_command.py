"""comfydd recover: what dead processes have left is sent by hand, and what cannot be is refused, and kept."""

import os
import shutil
import socket
import subprocess

import pytest
from jobs_rig import Sqlite
from left_behind import in_a_node, killed
from programs import environment
from strict_agent_process import StrictAgent
from test_kills import assert_killed, files, split

from rig.launcher import COMFYDD
from rig.process import free_ports

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def away():
    """The address of an agent that is not there."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def recover(tmp_path, flight_folder):
    def run(url, *words, code=0, **variables):
        settings = {
            "COMFYDD_FLIGHT_FOLDER": flight_folder,
            "DD_TRACE_AGENT_URL": url,
            "COMFYDD_JOBS_DB": "none",
            "COMFYDD_STATE": tmp_path / "state",
            **variables,
        }
        done = subprocess.run(
            [COMFYDD, "recover", *map(str, words)],
            env=environment(**settings), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return run


def test_all_that_is_in_the_folder(tmp_path, flight_folder, recover, away):
    lefts = [killed(tmp_path, flight_folder, away) for _ in range(2)]
    with StrictAgent() as agent:
        for path, prompt in lefts:
            line = f"{path}: holds 3 spans; workflow {prompt}, in node 2, Act: ProcessKilled"
            assert line in recover(agent.url, "--dry-run").stdout.splitlines()
        assert not agent.spans and len(files(flight_folder)) == 2
        said = recover(agent.url).stdout.splitlines()
        for path, prompt in lefts:
            assert f"{path}: sent 3 spans; workflow {prompt}, in node 2, Act: ProcessKilled" in said
        assert len(said) == 2 and not files(flight_folder)
        assert len(agent.spans) == 6
        for _, prompt in lefts:
            traces = {span["trace_id"] for span in agent.spans if span["meta"].get("job.id") == prompt}
            workflow, nodes = split([span for span in agent.spans if span["trace_id"] in traces])
            assert_killed(workflow)
            assert_killed(nodes["2"])
            assert nodes["1"]["meta"]["node.result"] == "SUCCESS"
            counts = {name.split(".")[-1]: workflow["metrics"][name] for name in workflow["metrics"] if "nodes." in name}
            assert counts == {"total": 2, "executed": 2, "cached": 0, "failed": 0}
        assert "no dead process of this user has left anything" in recover(agent.url).stdout


def test_an_agent_that_never_answers_is_asked_for_one_file_only(tmp_path, flight_folder, recover, away):
    """And the jobs of all are recorded."""
    path, prompt = killed(tmp_path, flight_folder, away)
    copies = [tmp_path / name for name in "abcd"]
    for copy in copies:
        shutil.copy(path, copy)
    database = Sqlite(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        jobs = {"COMFYDD_JOBS_DB": database.url}
        done = recover(url, *copies, code=1, DD_TRACE_AGENT_TIMEOUT_SECONDS="6", **jobs)
        silent.setblocking(False)
        silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert done.stderr.count("the Datadog agent does not take it now; it is kept") == len(copies)
    assert database.ask("SELECT job_id, state FROM comfydd_jobs") == [[prompt, "failed"]]


def test_one_that_was_carried_away(tmp_path, flight_folder, recover, away):
    path, prompt = killed(tmp_path, flight_folder, away)
    elsewhere = tmp_path / "from another machine"
    shutil.move(path, elsewhere)
    with StrictAgent() as agent:
        assert f"{elsewhere}: sent 3 spans; workflow {prompt}" in recover(agent.url, elsewhere).stdout
        assert len(agent.spans) == 3 and not elsewhere.exists()


def test_an_agent_that_is_away_loses_nothing(tmp_path, flight_folder, recover, away):
    path, _ = killed(tmp_path, flight_folder, away)
    for words in ((), (path,)):
        done = recover(away, *words, code=1)
        assert f"{path}: the Datadog agent does not take it now; it is kept" in done.stderr
    with StrictAgent() as agent:
        recover(agent.url)
        assert len(agent.spans) == 3


def test_what_an_agent_refuses_is_kept(tmp_path, flight_folder, recover, away):
    path, _ = killed(tmp_path, flight_folder, away)
    with StrictAgent() as agent:
        agent.plan({"kind": "status", "status": 404})
        assert "refuses" in recover(agent.url, code=1).stderr
        assert files(flight_folder) == [path] and not agent.spans
        recover(agent.url)
        assert len(agent.spans) == 3


def test_files_that_are_left_alone(tmp_path, flight_folder, recover, away):
    path, _ = killed(tmp_path, flight_folder, away)
    content = path.read_bytes()
    living_process = in_a_node(tmp_path, flight_folder, away)
    (living,) = set(files(flight_folder)) - {path}
    refused = {living: "its process lives"}

    def make(name, content, why, mode=0o600):
        file = tmp_path / name
        file.write_bytes(content)
        file.chmod(mode)
        refused[file] = why

    make("cut", content[:4096], "no flight memory, or a damaged one")
    make("empty", b"", "no flight memory")
    make("other", b"#!/bin/sh\n" * 1000, "no flight memory")
    make("newer", content[:8] + b"\x09" + content[9:], "another version")
    make("open to all", content, "mode 0600", 0o644)
    (tmp_path / "link").symlink_to(path)
    refused[tmp_path / "link"] = "it is a link"
    refused[tmp_path / "missing"] = "No such file"
    if os.geteuid() == 0:
        make("of another", content, "of this user alone")
        os.chown(tmp_path / "of another", 65534, 65534)
    with StrictAgent() as agent:
        for file, why in refused.items():
            (line,) = recover(agent.url, file, code=1).stderr.splitlines()
            assert line.startswith(f"comfydd: {file}: ") and why in line
            assert file.name == "missing" or file.is_symlink() or file.exists()
        assert not agent.spans
        done = recover(agent.url, *refused, path, code=1)
        assert len(done.stderr.splitlines()) == len(refused)
        assert f"{path}: sent 3 spans" in done.stdout
        living_process.kill()


@pytest.fixture
def supervisor():
    """A process that can be named as one."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_file_of_a_supervisor_is_left_to_it(tmp_path, flight_folder, recover, away, supervisor):
    start = open(f"/proc/{supervisor.pid}/stat").read().rpartition(")")[2].split()[19]
    path, _ = killed(tmp_path, flight_folder, away, COMFYDD_SUPERVISOR=f"{supervisor.pid}.{start}")
    with StrictAgent() as agent:
        assert "the comfydd that looks after it" in recover(agent.url, path, code=1).stderr
        assert "no dead process" in recover(agent.url).stdout
        supervisor.kill()
        supervisor.wait()
        assert f"{path}: sent 3 spans" in recover(agent.url).stdout


def test_jobs_are_recorded_once(tmp_path, flight_folder, recover, away):
    _, prompt = killed(tmp_path, flight_folder, away)
    database = Sqlite(tmp_path)
    database.make_log()
    statement = "INSERT INTO job_log (job, state) VALUES (:job_id, :state)"
    variables = {"COMFYDD_JOBS_DB": database.url, "COMFYDD_JOBS_SQL": statement}
    recover(away, "--dry-run", **variables)
    assert database.ask("SELECT job, state FROM job_log") == []
    recover(away, code=1, **variables)
    recover(away, code=1, **variables)
    with StrictAgent() as agent:
        recover(agent.url, **variables)
    assert database.ask("SELECT job, state FROM job_log") == [[prompt, "failed"]]


def test_jobs_of_any_dead_supervisor_are_delivered_by_the_next(tmp_path, flight_folder, recover, away):
    """Whatever number their spools have; but not those that are meant for another database."""
    database = Sqlite(tmp_path)
    variables = {"COMFYDD_JOBS_DB": database.url, "COMFYDD_STATE": tmp_path / "state"}

    def leave_a_job(**others):
        path, prompt = killed(tmp_path, flight_folder, away)
        recover(away, path, code=1, **{**variables, **others})
        path.unlink()
        return prompt

    database.stop()
    first = leave_a_job()
    (spool,) = (tmp_path / "state").iterdir()
    spool.rename(spool.with_name(spool.name.replace("-0.spool", "-7.spool")))
    second = leave_a_job()
    other = leave_a_job(COMFYDD_JOBS_DB=f"sqlite:{tmp_path}/missing/jobs.db")
    assert len(list((tmp_path / "state").iterdir())) == 3
    database.start()
    subprocess.run([COMFYDD, "run", "--", "true"], env=environment(**variables), check=True, timeout=30)
    assert database.ask("SELECT prompt_id FROM comfydd_jobs ORDER BY rowid") == [[first], [second]]
    waiting = [path.read_text() for path in (tmp_path / "state").iterdir() if path.stat().st_size]
    assert len(waiting) == 1 and other in waiting[0]


def test_the_words_of_the_command_line():
    def run(*words):
        return subprocess.run([COMFYDD, *words], capture_output=True, text=True, timeout=20)

    assert "--dry-run" in run("recover", "--help").stdout
    assert run("recover", "--wrong").returncode == 125
    manual = run("manual").stdout
    assert "comfydd recover" in manual.replace("\\-", "-")
