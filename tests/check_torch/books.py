"""What the fake GPU knows, read in the process that uses it: tests/fakes/cuda/fake_gpu.h. A real one keeps no books."""

import ctypes

KINDS = ("plain", "async", "managed", "array", "physical", "pinned", "registered", "mapping", "graph")
HOST = -1


class Books(ctypes.Structure):
    _fields_ = [
        ("total", ctypes.c_uint64),
        ("in_use", ctypes.c_uint64),
        ("peak", ctypes.c_uint64),
        ("live", ctypes.c_uint64 * len(KINDS)),
        ("count", ctypes.c_uint64 * len(KINDS)),
    ]

    def __getattr__(self, kind):
        """Bytes of that kind that are live."""
        return self.live[KINDS.index(kind)]


try:
    _library = ctypes.CDLL("libfakegpu.so")
    _library.fake_gpu_calls.restype = ctypes.c_uint64
except OSError:
    _library = None


def read(device=0):
    """None on a real GPU."""
    if not _library:
        return None
    books = Books()
    if not _library.fake_gpu_books(device, ctypes.byref(books)):
        raise ValueError(f"no device {device}")
    return books


def calls(function):
    return _library.fake_gpu_calls(function.encode())
