"""A PostgreSQL server of our own, on a private socket, from the distribution's packages."""

import functools
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from .process import Failed, wait_for

USER, PASSWORD = "tester", "s3cret/of@the tests"


@functools.lru_cache(None)
def programs():
    """The folder with initdb and postgres."""
    found = shutil.which("initdb")
    folders = [os.path.dirname(os.path.realpath(found))] if found else sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not folders:
        raise Failed("no initdb found: run scripts/install-deps")
    return pathlib.Path(folders[-1])


def _unprivileged():
    """Arguments of subprocess: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = next(pwd.getpwnam(name) for name in ("postgres", "nobody") if _exists(name))
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _exists(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


class Postgres:
    """with Postgres() as server: it runs; its folder is gone afterwards. The user of URLs is USER."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="comfydd-pg-"))
        self.child = None
        self.who = _unprivileged()
        if self.who:
            os.chown(self.folder, self.who["user"], self.who["group"])
            self.folder.chmod(0o755)  # root's own clients have no need of it, but a mere user's test has
        secret = self.folder / "password"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o644)
        self._run(
            [programs() / "initdb", "-D", self.folder / "data", "-A", "scram-sha-256", "-U", USER, "-E", "UTF8",
             "--locale=C", "--no-sync", f"--pwfile={secret}"])

    def _run(self, command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, **self.who)
        if done.returncode:
            raise Failed(f"{command[0]}: {done.stderr}")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder)

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.child = subprocess.Popen(
                [programs() / "postgres", "-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=",
                 "-c", "fsync=off", "-c", "shared_buffers=16MB"],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.who)
        wait_for("PostgreSQL", 60, self._answers)

    def _answers(self):
        if self.child.poll() is not None:
            raise Failed((self.folder / "log").read_text())
        try:
            return self.ask("SELECT 1")
        except Failed:
            return None

    def stop(self):
        """A fast shutdown: connections are ended, nothing is lost."""
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    @property
    def socket(self):
        return self.folder / ".s.PGSQL.5432"

    def client(self):
        """Command and environment of psql, connected as USER."""
        command = [programs() / "psql", "-X", "-q", "-h", self.folder, "-U", USER, "-d", "postgres",
                   "-v", "ON_ERROR_STOP=1", "-At", "-F", "|"]
        return command, {**os.environ, "PGPASSWORD": PASSWORD}

    def ask(self, sql):
        """Rows, as lists of texts."""
        command, environment = self.client()
        done = subprocess.run([*command, "-c", sql], env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Failed(done.stderr)
        return [line.split("|") for line in done.stdout.splitlines()]
