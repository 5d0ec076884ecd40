"""The password of a PostgreSQL database: where it may be, and that it is shown nowhere; URLs that cannot be right."""

import urllib.parse

import pytest
from jobs_rig import Driver, url
from rig.postgres import PASSWORD, USER
from test_jobs import LOG, ROWS, running_server, server, wait_until_said  # noqa: F401 two are fixtures

pytestmark = pytest.mark.timeout(180)


def command_line(supervisor):
    with open(f"/proc/{supervisor.child.pid}/cmdline") as file:
        return file.read()


def test_a_wrong_password_is_told_and_shown_nowhere(server, tmp_path):
    wrong = "Tr0ub4dor"
    supervisor = Driver(url(wrong, host=server.server.folder), tmp_path)
    assert wrong in command_line(supervisor)
    assert supervisor.send("hide")
    assert wrong not in command_line(supervisor) and "postgresql://tester:*" in command_line(supervisor)
    supervisor.write("j1")
    wait_until_said(supervisor, "password authentication failed for user \"tester\"")
    assert supervisor.waiting() == ["j1"]
    server.ask(f"ALTER ROLE tester PASSWORD '{wrong}'")
    try:
        wait_until_said(supervisor, "takes events again")
        supervisor.close()
    finally:
        admin = Driver(url(wrong, host=server.server.folder), tmp_path,
                       f"ALTER ROLE tester PASSWORD '{PASSWORD}'")
        admin.write("j2")
        admin.close()
    assert len(server.ask(ROWS)) == 1
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert wrong.encode() not in everything


def test_a_server_that_repeats_the_password(server, tmp_path):
    """As a proxy's messages may."""
    server.make_log()
    server.ask(f"CREATE OR REPLACE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'I know "
               f"{PASSWORD}, {PASSWORD}!'; END$$; CREATE TRIGGER tell BEFORE INSERT ON job_log EXECUTE FUNCTION tell()")
    supervisor = Driver(server.url, tmp_path, LOG)
    supervisor.write("j1")
    wait_until_said(supervisor, "I know ")
    assert "I know " + ", ".join(["*" * len(PASSWORD)] * 2) in supervisor.said()
    server.ask("DROP TRIGGER tell ON job_log")
    supervisor.close()


def test_another_encoding_in_the_environment(server, tmp_path):
    supervisor = Driver(server.url, tmp_path, PGCLIENTENCODING="LATIN1")
    supervisor.write("j1", "failed", reason="caf\u00e9")
    supervisor.close()
    assert [row[4] for row in server.ask(ROWS)] == ["caf\u00e9"]


@pytest.mark.parametrize("form", ["option", "environment", "passfile"])
def test_other_places_for_the_password(server, tmp_path, form):
    where, variables = url(None, host=server.server.folder), {}
    if form == "option":
        where += "&password=" + urllib.parse.quote(PASSWORD, safe="")
    elif form == "environment":
        variables["PGPASSWORD"] = PASSWORD
    else:
        (tmp_path / "passfile").write_text(f"*:*:*:{USER}:{PASSWORD}\n")
        (tmp_path / "passfile").chmod(0o600)
        variables["PGPASSFILE"] = tmp_path / "passfile"
    supervisor = Driver(where, tmp_path, **variables)
    supervisor.send("hide")
    shown = command_line(supervisor)
    assert PASSWORD not in urllib.parse.unquote(shown) and "of%40the" not in shown
    supervisor.write("j1")
    supervisor.close()
    assert len(server.ask(ROWS)) == 1 and supervisor.said() == ""


@pytest.mark.parametrize("where", [
    "mysql://u:hunter2@h/d", "sqlite:", "sqlite:///x.db", "sqlite::memory:",
    "postgresql://u:hunter2@hunter2@h/d", "postgresql://u:hunter2/hunter2@h/d", "postgresql://u:%zzhunter2@h/d",
    "postgresql://u:hunter2?@hunter2@h/d", "postgresql://u:hunter2", "postgresql://u:hunter2/d",
    "postgresql://u:hunter2@h/d?no_such_option=1", "postgresql://u:hunter2@[h/d"])
def test_a_url_that_cannot_be_right_is_refused_at_once(tmp_path, where):
    refused = Driver(where, tmp_path)
    assert not refused.opened
    assert "the database" in refused.said() and "hunter2" not in refused.said() and len(refused.said().splitlines()) == 1
