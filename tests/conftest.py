"""Lets every test import tests/rig, and keeps the flight memories of killed processes out of other tests."""

import os
import pathlib
import sys

import pytest

os.environ["COMFYDD_FLIGHT_FOLDER"] = "/nonexistent"  # for what runs longer than a test
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


@pytest.fixture(autouse=True)
def flight_folder(tmp_path_factory, monkeypatch):
    """Where traced processes of this test keep what is not sent yet; the next process to trace a workflow would send it."""
    folder = tmp_path_factory.mktemp("flight")
    monkeypatch.setenv("COMFYDD_FLIGHT_FOLDER", str(folder))
    return folder
