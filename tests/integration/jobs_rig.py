"""A supervisor's record of jobs as a process (jobs_driver.c), and the databases that it writes to."""

import functools
import glob
import json
import os
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.parse

from programs import REPOSITORY, environment
from rig.postgres import PASSWORD, USER

DRIVER = "build/release/tests/integration/jobs_driver"


@functools.lru_cache(None)
def driver():
    subprocess.run(["make", "-s", DRIVER], cwd=REPOSITORY, check=True, timeout=300)
    return REPOSITORY / DRIVER


class Driver:
    """jobs_driver with an empty spool in `folder`, unless an earlier one has left something there."""

    def __init__(self, url, folder, sql=None, patience=20, **variables):
        self.spool = folder / "spool"
        self.log = folder / "driver.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [driver(), url, self.spool, str(patience), *([sql] if sql else [])],
                env=environment(**variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.opened, _, self.identity = self.child.stdout.readline().strip().partition(" ")
        if not self.opened:
            assert self.child.wait(10) == 1

    def send(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return self.child.stdout.readline() == "ok\n"

    def write(self, job, state="succeeded", at=200, started=100, prompt=None, reason=""):
        began = time.monotonic()
        assert self.send(f"{job} {prompt or 'p-' + job} {state} {at} {started} {reason}")
        assert time.monotonic() - began < 2, "the caller must not wait for the database"

    def close(self):
        self.child.stdin.close()
        assert self.child.stdout.read() == "closed\n"
        assert self.child.wait(20) == 0
        return self

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()

    def waiting(self):
        """The jobs in the spool that are not delivered."""
        lines = [json.loads(line) for line in self.spool.read_text().splitlines()]
        return [line["event"]["job_id"] for line in lines if not line["done"]]

    def said(self):
        return self.log.read_text()


class Sqlite:
    """Down: its folder is not there."""

    def __init__(self, folder):
        self.folder = folder / "database"
        self.path = self.folder / "jobs.db"
        self.url = f"sqlite:{self.path}"
        self.away = folder / "away"
        self.folder.mkdir()

    def stop(self):
        self.folder.rename(self.away)

    def start(self):
        self.away.rename(self.folder)

    def ask(self, sql):
        connection = sqlite3.connect(self.path, timeout=20)
        try:
            rows = connection.execute(sql).fetchall()
            connection.commit()
        finally:
            connection.close()
        return [["" if value is None else str(value) for value in row] for row in rows]

    def is_used_by(self, pid):
        return any(os.path.realpath(path).startswith(str(self.path)) for path in glob.glob(f"/proc/{pid}/fd/*"))

    def make_log(self):
        self.ask("CREATE TABLE job_log (n integer PRIMARY KEY AUTOINCREMENT, job text, state text)")

    @staticmethod
    def time(seconds):
        return f"1970-01-01T00:0{seconds // 60}:{seconds % 60:02}.000000Z"


class Server:
    """A database of its own on the one PostgreSQL. Down: the server is stopped."""

    def __init__(self, server):
        self.server = server
        self.ask = server.ask
        for table in ("comfydd_jobs", "comfydd_delivered", "job_log"):
            server.ask(f"DROP TABLE IF EXISTS {table}")
        self.url = url(host=server.folder)
        self.stop, self.start = server.stop, server.start

    def is_used_by(self, _):
        return self.ask("SELECT 1 FROM pg_stat_activity WHERE application_name = 'comfydd'")

    def make_log(self):
        self.ask("CREATE TABLE job_log (n serial PRIMARY KEY, job text, state text)")

    @staticmethod
    def time(seconds):
        return f"1970-01-01 00:0{seconds // 60}:{seconds % 60:02}+00"


def url(password=PASSWORD, user=USER, **options):
    options = {"sslmode": "disable", **options}
    secret = f":{urllib.parse.quote(password, safe='')}" if password else ""
    return f"postgresql://{user}{secret}@/postgres?{urllib.parse.urlencode(options)}"


class Proxy:
    """Passes bytes between a TCP port and a unix socket, each piece `delay` seconds late; with None, never."""

    def __init__(self, target, delay):
        self.target, self.delay = target, delay
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(os.fspath(self.target))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        try:
            while data := one.recv(65536):
                if self.delay is None:
                    threading.Event().wait(60)
                time.sleep(self.delay or 0)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def url(self, **options):
        return url(host="127.0.0.1", port=self.port, **options)

    def close(self):
        self.listener.close()
