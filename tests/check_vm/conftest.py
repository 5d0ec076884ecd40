"""What a machine that has just been started lacks, and where the other tests' aids are."""

import fcntl
import pathlib
import socket
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

SIOCSIFFLAGS, IFF_UP = 0x8914, 1


@pytest.fixture(scope="session", autouse=True)
def loopback():
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
