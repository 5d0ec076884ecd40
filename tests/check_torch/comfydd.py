"""What libcomfydd.so knows about GPU memory, read in the process that it is preloaded into with a probe: see probe.c."""

import ctypes
import os

import books

FIGURES = ("live", "allocated", "mapped", "async", "torch_allocated", "torch_reserved", "pinned", "out_of_memory")


class Figures(ctypes.Structure):
    """struct probe_figures: one device's, and the process's."""

    _fields_ = [(name, ctypes.c_uint64) for name in FIGURES]


_library = os.environ.get("LD_PRELOAD") and ctypes.CDLL(os.environ["LD_PRELOAD"])
if _library:
    _library.probe_read.restype = ctypes.c_bool


def read(device=0):
    """Figures, or None when the program runs without the library."""
    if not _library:
        return None
    figures = Figures()
    if not _library.probe_read(ctypes.c_uint8(device), ctypes.byref(figures)):
        raise RuntimeError("the ledger is not complete")
    return figures


def check():
    """With the library: what it holds for live must be what is live, to the byte. For programs whose allocations are multiples
    of 512 bytes: the driver rounds up to that, which who calls it does not see."""
    ours, gpu, host = read(), books.read(), books.read(books.HOST)
    if not ours:
        return
    live = gpu.plain + getattr(gpu, "async") + gpu.managed + gpu.array + gpu.physical
    wanted = {"live": live, "mapped": gpu.physical, "pinned": host.pinned + host.registered}
    wrong = {name: (getattr(ours, name), value) for name, value in wanted.items() if getattr(ours, name) != value}
    if wrong:
        raise AssertionError(f"ours, the books': {wrong}")
