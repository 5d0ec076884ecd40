"""What `comfydd doctor` says of a record of jobs: whether the statement that will be executed can be, without executing it."""

import subprocess

import pytest
from jobs_rig import Server, Sqlite
from programs import environment
from rig.launcher import COMFYDD
from rig.postgres import PASSWORD, Postgres

LOG = "INSERT INTO job_log (job, state) VALUES (:job_id, :state)"

pytestmark = pytest.mark.timeout(120)


def doctor(url, folder, sql=None):
    """Its line about the record."""
    settings = {"COMFYDD_JOBS_DB": url, "COMFYDD_STATE": str(folder)}
    if sql:
        settings["COMFYDD_JOBS_SQL"] = sql
    done = subprocess.run([COMFYDD, "doctor"], env=environment(**settings), capture_output=True, text=True, timeout=60)
    (line,) = [line for line in done.stdout.splitlines() if "record of jobs" in line]
    return line


def test_postgresql_parses_it(tmp_path):
    with Postgres() as running:
        server = Server(running)
        server.make_log()
        for sql in (None, LOG):
            assert "can be written" in doctor(server.url, tmp_path, sql)
        for sql, wrong in (
            ("UPDATE job_log SET status = :state", 'column "status" of relation "job_log" does not exist'),
            ("UPDATE missing SET status = :state", 'relation "missing" does not exist'),
            ("SELECT jsonb_build_object('a', :state)", "could not determine data type of parameter $1"),
        ):
            line = doctor(server.url, tmp_path, sql)
            assert wrong in line and PASSWORD not in line
        assert server.ask("SELECT count(*) FROM job_log") == [["0"]]
        assert server.ask("SELECT to_regclass('comfydd_jobs')") == [[""]]
        server.ask("CREATE TABLE comfydd_jobs (id integer)")
        assert 'column "prompt_id" of relation "comfydd_jobs" does not exist' in doctor(server.url, tmp_path)


def test_sqlite_is_tried_and_not_changed(tmp_path):
    database = Sqlite(tmp_path)
    assert "can be written" in doctor(database.url, tmp_path)
    assert "is not there" in doctor(database.url, tmp_path, LOG)
    assert not database.path.exists()
    database.make_log()
    before = database.path.read_bytes()
    for sql in (None, LOG):
        assert "can be written" in doctor(database.url, tmp_path, sql)
    assert "no such column: status" in doctor(database.url, tmp_path, "UPDATE job_log SET status = :state")
    assert database.path.read_bytes() == before
    database.ask("CREATE TABLE comfydd_jobs (id integer)")
    assert "no column named" in doctor(database.url, tmp_path)
