"""Lets every test import tests/rig, keeps the flight memories of killed processes out of other tests, and has processes hear
signals that we were started to ignore, by nohup or in the background."""

import os
import pathlib
import signal
import sys

import pytest

os.environ["COMFYDD_FLIGHT_FOLDER"] = "/nonexistent"  # for what runs longer than a test
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def flight_folder(tmp_path_factory, monkeypatch):
    """Where traced processes of this test keep what is not sent yet; the next process to trace a workflow would send it."""
    folder = tmp_path_factory.mktemp("flight")
    monkeypatch.setenv("COMFYDD_FLIGHT_FOLDER", str(folder))
    return folder
