"""The record of jobs in SQLite and in a real PostgreSQL, which are down, slow, locked, full, of another schema, or refuse the
password; and a supervisor that is killed. What was accepted is written, in order and once."""

import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
from jobs_rig import Driver, Proxy, Server, Sqlite, driver, url
from programs import REPOSITORY
from rig.postgres import Postgres
from rig.process import Failed, wait_for

LOG = "INSERT INTO job_log (job, state) VALUES (:job_id, :state)"
SOON = 30

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def running_server():
    with Postgres() as server:
        server.ask("ALTER ROLE tester SET timezone = 'UTC'")
        yield server


@pytest.fixture
def server(running_server):
    yield Server(running_server)
    if running_server.child.poll() is not None:
        running_server.start()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    return Sqlite(tmp_path) if request.param == "sqlite" else request.getfixturevalue("server")


def log_of(database):
    return [tuple(row) for row in database.ask("SELECT job, state FROM job_log ORDER BY n")]


def wait_for_log(database, count):
    def enough():
        try:
            rows = log_of(database)
        except (Failed, sqlite3.OperationalError):
            return None
        return rows if len(rows) >= count else None

    return wait_for(f"{count} rows", SOON, enough)


def wait_until_said(supervisor, words, seconds=SOON):
    wait_for(words, seconds, lambda: words in supervisor.said())


# ---- our table

ROWS = "SELECT prompt_id, started_at, job_id, state, reason, node_id, class_type, peak_memory_bytes, ended_at " \
       "FROM comfydd_jobs ORDER BY started_at"


def test_our_table_is_made_and_has_a_row_for_each_run(database, tmp_path):
    supervisor = Driver(database.url, tmp_path)
    supervisor.write("j1", "running", at=100, started=100)
    supervisor.write("j1", "failed", at=131, started=100, reason="OOMKilled: it's 'over'; \\ \u00e9")
    supervisor.write("j2", "running", at=140, started=140)
    supervisor.write("-", "interrupted", at=151, started=150, prompt="-")
    supervisor.close()
    time_of = database.time
    assert database.ask(ROWS) == [
        ["p-j1", time_of(100), "j1", "failed", "OOMKilled: it's 'over'; \\ \u00e9", "7", "KSampler", "5000000000",
         time_of(131)],
        ["p-j2", time_of(140), "j2", "running", "", "", "", "", ""],
        ["", time_of(150), "", "interrupted", "", "", "", "", time_of(151)],
    ]
    assert supervisor.spool.read_text() == "" and supervisor.said() == ""
    assert supervisor.spool.stat().st_mode & 0o777 == 0o600


def test_nothing_is_kept_open_between_changes(database, tmp_path):
    supervisor = Driver(database.url, tmp_path)
    supervisor.write("j1")
    wait_for("the row to be written", SOON, lambda: supervisor.spool.stat().st_size == 0)
    wait_for("the database to be let go of", SOON, lambda: not database.is_used_by(supervisor.child.pid))
    supervisor.close()


def test_a_row_that_has_ended_stays(database, tmp_path):
    supervisor = Driver(database.url, tmp_path)
    supervisor.write("j1", "failed", at=131, started=100, reason="first")
    supervisor.write("j1", "running", at=100, started=100)
    supervisor.write("j1", "succeeded", at=140, started=100)
    supervisor.write("j1", "succeeded", at=170, started=160)  # the same prompt once more
    supervisor.close()
    assert [row[3:5] for row in database.ask(ROWS)] == [["failed", "first"], ["succeeded", ""]]


def test_sqlite_s_table_is_in_wal_mode_and_somebody_elses_journal_stays(tmp_path):
    ours, theirs = Sqlite(tmp_path), tmp_path / "theirs.db"
    supervisor = Driver(ours.url, tmp_path)
    supervisor.write("j1")
    supervisor.close()
    assert ours.ask("PRAGMA journal_mode") == [["wal"]]
    connection = sqlite3.connect(theirs)
    connection.execute("CREATE TABLE job_log (job text, state text)")
    connection.close()
    supervisor = Driver(f"sqlite:{theirs}", tmp_path, LOG)
    supervisor.write("j1")
    supervisor.close()
    connection = sqlite3.connect(theirs)
    assert connection.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
    assert connection.execute("SELECT * FROM job_log").fetchall() == [("j1", "succeeded")]
    connection.close()


def test_a_role_that_may_only_write_rows(server, tmp_path):
    Driver(server.url, tmp_path).close()
    supervisor = Driver(server.url, tmp_path)
    supervisor.write("j1")
    supervisor.close()
    server.ask("DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN PASSWORD 'w'; "
               "GRANT SELECT, INSERT, UPDATE ON comfydd_jobs TO writer")
    try:
        supervisor = Driver(url("w", "writer", host=server.server.folder), tmp_path)
        supervisor.write("j2")
        supervisor.close()
        assert len(server.ask(ROWS)) == 2 and supervisor.said() == ""
    finally:
        server.ask("DROP TABLE comfydd_jobs; DROP ROLE writer")


# ---- SQL of the user's own

def test_own_sql_is_prepared_and_values_are_only_values(database, tmp_path):
    database.make_log()
    supervisor = Driver(database.url, tmp_path, LOG)
    bad = "x');DROP/**/TABLE/**/job_log;--"
    supervisor.write(bad)
    supervisor.close()
    assert log_of(database) == [(bad, "succeeded")]


@pytest.mark.parametrize("sql, words", [
    ("SELECT :what", "unknown parameter"), ("SELECT 'x", "quote"), ("SELECT $1", "named"), ("", "empty")])
def test_sql_that_cannot_be_right_is_refused_at_once(tmp_path, sql, words):
    done = subprocess.run([driver(), "sqlite:x.db", tmp_path / "spool", "1", sql], cwd=tmp_path, capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == 1 and words in done.stderr
    assert os.listdir(tmp_path) == ["spool"]


def test_an_event_that_the_database_refuses_does_not_hold_up_the_others(database, tmp_path):
    database.make_log()
    database.ask("CREATE UNIQUE INDEX one_job ON job_log (job)")
    supervisor = Driver(database.url, tmp_path, LOG)
    for job in ("j1", "j1", "j2"):
        supervisor.write(job)
    supervisor.close()
    assert log_of(database) == [("j1", "succeeded"), ("j2", "succeeded")]
    assert "refuses an event for good" in supervisor.said() and '"job_id":"j1"' in supervisor.said()


def test_a_value_that_does_not_fit_is_left_out(server, tmp_path):
    server.ask("CREATE TABLE job_log (n serial, job uuid, state text)")
    supervisor = Driver(server.url, tmp_path, LOG)
    fits = "6f1c1c5e-6b7a-4b0e-9c55-0d6d2f0a7a11"
    for job in ("j1", fits):
        supervisor.write(job)
    supervisor.close()
    assert log_of(server) == [(fits, "succeeded")]
    assert "refuses an event for good: PostgreSQL: invalid input syntax for type uuid" in supervisor.said()


DOCUMENTED = re.findall(r"```sql\n(.*?)```", (REPOSITORY / "docs" / "jobs.md").read_text(), re.S)
COLUMNS = """SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'comfydd_jobs'
UNION ALL SELECT indexname, '', regexp_replace(indexdef, '.*USING', '') FROM pg_indexes WHERE tablename = 'comfydd_jobs'
ORDER BY 1"""


def test_our_table_is_as_documented(server, tmp_path):
    supervisor = Driver(server.url, tmp_path)
    supervisor.write("j1", "failed", reason="why")
    supervisor.close()
    ours, (table, last_failures, *_) = server.ask(COLUMNS), DOCUMENTED
    assert server.ask(last_failures)[0][1:3] == ["j1", "why"]
    server.ask("DROP TABLE comfydd_jobs; " + table)
    assert server.ask(COLUMNS) == ours and len(ours) == 11


def test_documented_statements_for_tables_of_ones_own(server, tmp_path):
    _, _, update, insert, deliveries = DOCUMENTED
    server.ask(f"DROP TABLE IF EXISTS comfydd_delivered; {deliveries}")
    job = "6f1c1c5e-6b7a-4b0e-9c55-0d6d2f0a7a11"
    server.ask("DROP TABLE IF EXISTS jobs; CREATE TABLE jobs (id uuid PRIMARY KEY, status text, error text, "
               f"finished_at timestamptz); INSERT INTO jobs VALUES ('{job}')")
    server.ask("CREATE TABLE job_log (job text, state text, at timestamptz, UNIQUE (job, state))")
    cast = "UPDATE jobs SET finished_at = CASE WHEN :state = 'failed' THEN :at::timestamptz END WHERE id = :job_id::uuid"
    for statement in (update, insert, insert, cast):
        supervisor = Driver(server.url, tmp_path, statement)
        supervisor.write(job, "failed", reason="why")
        supervisor.close()
        assert supervisor.said() == ""
    assert server.ask("SELECT * FROM jobs") == [[job, "failed", "why", server.time(200)]]
    assert server.ask("SELECT * FROM job_log") == [[job, "failed", server.time(200)]]
    server.ask("DROP TABLE jobs")


def test_own_sql_is_executed_once_though_its_event_comes_again(database, tmp_path):
    """As after a death between the commit and the note of it in the spool."""
    database.make_log()
    database.stop()
    supervisor = Driver(database.url, tmp_path, LOG)
    for n in range(3):
        supervisor.write(f"j{n}")
    supervisor.kill()
    spool = supervisor.spool.read_bytes()
    database.start()
    for _ in range(2):
        supervisor.spool.write_bytes(spool)
        Driver(database.url, tmp_path, LOG).close()
    supervisor = Driver(database.url, tmp_path, LOG)
    supervisor.write("j3")
    supervisor.close()
    assert log_of(database) == [(f"j{n}", "succeeded") for n in range(4)]
    assert database.ask("SELECT number FROM comfydd_delivered ORDER BY number") == [["1"], ["3"]]


def test_own_sql_that_fails_is_not_taken_for_executed(database, tmp_path):
    database.ask("CREATE TABLE job_log (wrong text)")
    supervisor = Driver(database.url, tmp_path, LOG)
    supervisor.write("j1")
    wait_until_said(supervisor, "events are kept in")
    database.ask("DROP TABLE job_log")
    database.make_log()
    supervisor.close()
    assert log_of(database) == [("j1", "succeeded")]


def test_a_table_of_deliveries_that_was_dropped_is_made_again(database, tmp_path):
    database.make_log()
    supervisor = Driver(database.url, tmp_path, LOG)
    supervisor.write("j1")
    wait_for_log(database, 1)
    database.ask("DROP TABLE comfydd_delivered")
    supervisor.write("j2")
    assert wait_for_log(database, 2) == [("j1", "succeeded"), ("j2", "succeeded")]
    supervisor.close()


def test_a_role_that_may_not_make_the_table_of_deliveries(server, tmp_path):
    server.make_log()
    server.ask("DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN PASSWORD 'w'; GRANT INSERT ON job_log TO writer; "
               "GRANT USAGE ON SEQUENCE job_log_n_seq TO writer; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        supervisor = Driver(url("w", "writer", host=server.server.folder), tmp_path, LOG)
        supervisor.write("j1")
        supervisor.write("j2")
        supervisor.close()
        assert log_of(server) == [("j1", "succeeded"), ("j2", "succeeded")]
        assert supervisor.said().count("may not make or use the table comfydd_delivered") == 1
    finally:
        server.ask("DROP TABLE job_log; DROP ROLE writer")


# ---- databases that are not there

def test_what_a_database_misses_is_delivered_in_order_and_once(database, tmp_path):
    database.make_log()
    database.stop()
    supervisor = Driver(database.url, tmp_path, LOG)
    events = [(f"j{n}", state) for n in range(10) for state in ("running", "succeeded")]
    for job, state in events:
        supervisor.write(job, state)
    wait_until_said(supervisor, f"events are kept in {supervisor.spool}")
    assert supervisor.waiting() == [job for job, _ in events]
    database.start()
    assert wait_for_log(database, 20) == events
    supervisor.write("j10")
    supervisor.close()
    assert log_of(database) == [*events, ("j10", "succeeded")]
    assert supervisor.spool.read_text() == ""
    # One line for what went wrong, and each time that it is something else; one at the end.
    assert supervisor.said().splitlines()[-1] == "comfydd: jobs: the database takes events again"
    assert len(set(supervisor.said().splitlines())) == len(supervisor.said().splitlines()) <= 4


def test_what_a_killed_supervisor_had_is_delivered_by_the_next(database, tmp_path):
    database.make_log()
    database.stop()
    supervisor = Driver(database.url, tmp_path, LOG)
    for n in range(5):
        supervisor.write(f"j{n}")
    supervisor.kill()
    with open(supervisor.spool, "a") as torn:
        torn.write('{"done":0,"event":{"job_id":"never acknow')
    supervisor = Driver(database.url, tmp_path, LOG, patience=0)
    supervisor.write("j5")
    supervisor.close()
    assert supervisor.waiting() == [f"j{n}" for n in range(6)]
    database.start()
    Driver(database.url, tmp_path, LOG).close()
    assert log_of(database) == [(f"j{n}", "succeeded") for n in range(6)]


def test_kills_at_any_moment_lose_nothing(database, tmp_path):
    """What was acknowledged is there, in order and once, in our table and in a log of the user's own."""
    database.make_log()
    kills, acknowledged, chance = 12, [], random.Random(7)
    for sql in (LOG, None):
        for run in range(kills):
            supervisor = Driver(database.url, tmp_path, sql)
            timer = threading.Timer(chance.uniform(0.005, 0.25), supervisor.child.kill)
            timer.start()
            try:
                for n in range(200):
                    job = f"{run:02}-{n:04}"
                    if not supervisor.send(f"{job} p-{job} succeeded 200 100"):
                        break
                    acknowledged.append((sql, job))
            except BrokenPipeError:
                pass
            timer.join()
            supervisor.child.wait()
        Driver(database.url, tmp_path, sql).close()
    ours = [job for (job,) in database.ask("SELECT job_id FROM comfydd_jobs")]
    for sql, jobs in ((LOG, [job for job, _ in log_of(database)]), (None, ours)):
        wanted = [job for statement, job in acknowledged if statement == sql]
        assert len(wanted) > kills and set(wanted) <= set(jobs)
        assert len(set(jobs) - set(wanted)) <= kills  # on disk, and killed before the acknowledgement
        assert len(jobs) == len(set(jobs))
    order = [job for job, _ in log_of(database)]
    assert order == sorted(order)


def test_one_supervisor_at_a_time_has_a_spool(tmp_path):
    first = Driver("sqlite:/nowhere/at/all.db", tmp_path)
    first.write("j1")
    second = Driver("sqlite:/nowhere/at/all.db", tmp_path)
    assert not second.opened and "Resource temporarily unavailable" in second.said()
    first.kill()
    assert Driver("sqlite:/nowhere/at/all.db", tmp_path).opened


def test_a_spool_is_a_plain_file_of_ours(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "spool").symlink_to(victim)
    assert not Driver("sqlite:x.db", tmp_path).opened
    (tmp_path / "spool").unlink()
    os.mkfifo(tmp_path / "spool")
    refused = Driver("sqlite:x.db", tmp_path)
    assert not refused.opened and "Operation not permitted" in refused.said()
    assert victim.read_text() == "precious"


# ---- databases that are slow or locked

def test_a_slow_database_holds_nobody_up(server, tmp_path):
    server.make_log()
    proxy = Proxy(server.server.socket, 0.3)
    supervisor = Driver(proxy.url(), tmp_path, LOG)
    for n in range(5):
        supervisor.write(f"j{n}")
    supervisor.close()
    assert [job for job, _ in log_of(server)] == [f"j{n}" for n in range(5)] and supervisor.said() == ""
    proxy.close()


def test_a_database_that_never_answers_does_not_keep_us_from_ending(server, tmp_path):
    server.make_log()
    proxy = Proxy(server.server.socket, None)
    supervisor = Driver(proxy.url(), tmp_path, LOG, patience=1)
    supervisor.write("j1")
    began = time.monotonic()
    supervisor.close()
    assert time.monotonic() - began < 8  # an answer is waited for ten seconds
    proxy.close()
    Driver(server.url, tmp_path, LOG).close()
    assert log_of(server) == [("j1", "succeeded")]


def test_a_database_that_stops_answering_is_given_up_in_time(server, tmp_path):
    proxy = Proxy(server.server.socket, None)
    supervisor = Driver(proxy.url(connect_timeout=2), tmp_path, LOG)
    supervisor.write("j1")
    wait_until_said(supervisor, "timeout expired", 10)
    supervisor.kill()
    proxy.close()


def test_a_sqlite_database_that_is_locked_for_a_moment(tmp_path):
    """As by another supervisor. That is nothing to tell of."""
    database = Sqlite(tmp_path)
    database.make_log()
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    supervisor = Driver(database.url, tmp_path, LOG)
    supervisor.write("j1")
    time.sleep(0.5)  # the moment
    other.close()
    assert wait_for_log(database, 1) == [("j1", "succeeded")]
    supervisor.close()
    assert supervisor.said() == ""


def test_a_locked_sqlite_database(tmp_path):
    database = Sqlite(tmp_path)
    database.make_log()
    holder = sqlite3.connect(database.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    supervisor = Driver(database.url, tmp_path, LOG)
    supervisor.write("j1")
    supervisor.write("j2")
    wait_until_said(supervisor, "database is locked")
    holder.execute("COMMIT")
    holder.close()
    assert wait_for_log(database, 2) == [("j1", "succeeded"), ("j2", "succeeded")]
    supervisor.close()


def test_a_locked_table_of_postgresql_gets_each_row_once(server, tmp_path):
    """The statement that was given up must not be done after all when the lock is gone."""
    server.make_log()
    command, variables = server.server.client()
    holder = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, text=True)
    holder.stdin.write("BEGIN; LOCK TABLE job_log;\n")
    holder.stdin.flush()
    wait_for("the lock", SOON, lambda: server.ask(
        "SELECT 1 FROM pg_locks WHERE relation = 'job_log'::regclass AND mode = 'AccessExclusiveLock' AND granted"))
    supervisor = Driver(url(host=server.server.folder, connect_timeout=2), tmp_path, LOG)
    supervisor.write("j1")
    supervisor.write("j2")
    wait_until_said(supervisor, "canceling statement due to user request")
    holder.communicate("COMMIT;\n", timeout=SOON)
    assert wait_for_log(server, 2) == [("j1", "succeeded"), ("j2", "succeeded")]
    supervisor.close()
    assert len(log_of(server)) == 2


# ---- no room

def limit_file_size(supervisor, size):
    resource.prlimit(supervisor.child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_full_disk_of_the_database(tmp_path):
    database = Sqlite(tmp_path)
    supervisor = Driver(database.url, tmp_path)
    limit_file_size(supervisor, 4096)
    supervisor.write("j1", "failed", reason="no room for a row")
    wait_until_said(supervisor, "events are kept")
    assert supervisor.waiting() == ["j1"]
    limit_file_size(supervisor, resource.RLIM_INFINITY)
    supervisor.write("j2")
    wait_until_said(supervisor, "takes events again")
    supervisor.close()
    assert [row[2] for row in database.ask(ROWS)] == ["j1", "j2"]


def test_a_full_disk_of_the_spool(server, tmp_path):
    server.make_log()
    supervisor = Driver(server.url, tmp_path, LOG)
    server.stop()
    supervisor.write("j1", reason="long " * 500)  # so that there is room in the log
    limit_file_size(supervisor, supervisor.spool.stat().st_size + 10)
    for n in range(2, 6):
        supervisor.write(f"j{n}")
    assert supervisor.waiting() == ["j1"] and "the spool file" in supervisor.said()
    server.start()
    assert wait_for_log(server, 5) == [(f"j{n}", "succeeded") for n in range(1, 6)]
    limit_file_size(supervisor, resource.RLIM_INFINITY)
    supervisor.close()
    assert len(log_of(server)) == 5 and supervisor.spool.read_text() == ""


def test_a_server_without_room(server, tmp_path):
    server.make_log()
    server.ask("CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
               "$$BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END$$; "
               "CREATE TRIGGER full_disk BEFORE INSERT ON job_log EXECUTE FUNCTION full_disk()")
    supervisor = Driver(server.url, tmp_path, LOG)
    supervisor.write("j1")
    wait_until_said(supervisor, "no space")
    server.ask("DROP TRIGGER full_disk ON job_log")
    assert wait_for_log(server, 1) == [("j1", "succeeded")]
    supervisor.close()


# ---- the wrong statement, the wrong table, the wrong password

def test_a_copy_is_told_and_does_not_keep_the_thread_busy(server, tmp_path):
    server.make_log()
    supervisor = Driver(server.url, tmp_path, "COPY job_log TO STDOUT")
    supervisor.write("j1")
    wait_until_said(supervisor, "a COPY cannot be used here")
    supervisor.close()
    assert supervisor.waiting() == ["j1"]


def test_a_server_without_tls_that_is_to_have_it(server, tmp_path):
    far = Proxy(server.server.socket, 0)
    supervisor = Driver(far.url(sslmode="require"), tmp_path)
    supervisor.write("j1")
    wait_until_said(supervisor, "server does not support SSL, but SSL was required")
    assert supervisor.waiting() == ["j1"]
    far.close()
    supervisor.close()


def test_a_table_of_another_schema(database, tmp_path):
    database.ask("CREATE TABLE comfydd_jobs (id integer, job_id text)")
    supervisor = Driver(database.url, tmp_path)
    supervisor.write("j1")
    wait_until_said(supervisor, "column")
    assert supervisor.waiting() == ["j1"]
    database.ask("DROP TABLE comfydd_jobs")
    wait_until_said(supervisor, "takes events again")
    supervisor.close()
    assert [row[2] for row in database.ask(ROWS)] == ["j1"]


def test_a_machine_without_libpq(tmp_path):
    (tmp_path / "libpq.so.5").write_text("no library")
    supervisor = Driver("postgresql://h/d", tmp_path, LD_LIBRARY_PATH=tmp_path)
    assert not supervisor.opened and "libpq5" in supervisor.said()
    supervisor = Driver(f"sqlite:{tmp_path}/x.db", tmp_path, LD_LIBRARY_PATH=tmp_path)
    assert supervisor.opened
    supervisor.close()


def test_a_signal_goes_to_the_caller(tmp_path):
    """The thread has all of them blocked, so that a supervisor's own handling is not disturbed."""
    supervisor = Driver("sqlite:/nowhere/at/all.db", tmp_path)
    supervisor.write("j1")
    tasks = [f"/proc/{supervisor.child.pid}/task/{task}/status"
             for task in os.listdir(f"/proc/{supervisor.child.pid}/task")]
    blocked = [int(line.split()[1], 16) for task in tasks for line in open(task) if line.startswith("SigBlk:")]
    assert sorted(mask >> (signal.SIGTERM - 1) & 1 for mask in blocked) == [0, 1]
    supervisor.kill()
