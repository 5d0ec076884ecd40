"""CUDA for the programs: the driver by its functions' names, the runtime through runtime.c, the preloaded library's figures."""

import ctypes
import json
import os
import sys

MIB = 1 << 20
POOL_RESERVED, POOL_USED = 5, 7  # CU_MEMPOOL_ATTR_…_CURRENT
THRESHOLD = 4  # CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
Size, Pointer = ctypes.c_size_t, ctypes.c_void_p


class Error(Exception):
    pass


class Functions:
    """Those of a library, by name, with a prefix; a result that is not 0 is an Error."""

    def __init__(self, path, prefix=""):
        self.library, self._prefix = ctypes.CDLL(path), prefix

    def __getattr__(self, name):
        function = getattr(self.library, self._prefix + name)

        def call(*arguments):
            result = function(*arguments)
            if result:
                raise Error(f"{name}: error {result}")

        return call


def driver():
    """With a context on device 0, as the runtime makes it."""
    found = Functions("libcuda.so.1")
    found.cuInit(0)
    context = Pointer()
    found.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    found.cuCtxSetCurrent(context)
    return found


def driver_version(cuda):
    version = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return version.value


def runtime(path):
    return Functions(path, "call_")


class Used(ctypes.Structure):
    """struct usage of src/cuda/usage.h, and what probe.c adds to it."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("live", "allocated", "mapped", "asynchronous", "torch_allocated", "torch_reserved", "pinned", "oom")
    ]


class Library:
    """The preloaded one."""

    def __init__(self):
        self._probe = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._probe.probe_read.restype = ctypes.c_bool

    def used(self):
        used = Used()
        if not self._probe.probe_read(ctypes.c_uint8(0), ctypes.byref(used)):
            raise Error("the ledger is not complete")
        return used

    def calls(self, function):
        self._probe.probe_calls.restype = ctypes.c_uint64
        return self._probe.probe_calls(function.encode())

    def device(self, index):
        """(uuid, name), or None."""
        self._probe.probe_device.restype = Pointer
        device = self._probe.probe_device(ctypes.c_uint8(index))
        return device and tuple(ctypes.string_at(device + at).decode() for at in (0, 48))


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Properties(ctypes.Structure):
    """CUmemAllocationProp: pinned memory of device 0."""

    _fields_ = [("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location", Location), ("rest", Pointer * 2)]

    def __init__(self):
        super().__init__(1, 0, Location(1, 0))


def answer(value):
    print(json.dumps(value))
    sys.exit(0)
