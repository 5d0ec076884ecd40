"""Nanoseconds, the best of some rounds. usage: cost.py RUNTIME PAIRS NAMES...: of a pair of calls, plain and async, and of
asking the driver for all NAMES. Prints {"plain", "async", "resolver"}."""

import ctypes
import sys

import cuda
from cuda import MIB, Size

ROUNDS = 5
driver, runtime = cuda.driver(), cuda.runtime(sys.argv[1])
pairs, names = int(sys.argv[2]), [name.encode() for name in sys.argv[3:]]
table = (ctypes.c_char_p * len(names))(*names)
pool = ctypes.c_void_p()
driver.cuDeviceGetDefaultMemPool(ctypes.byref(pool), 0)
driver.cuMemPoolSetAttribute(pool, cuda.THRESHOLD, ctypes.byref(ctypes.c_uint64(2**64 - 1)))
runtime.cudaFree(None)


def best(name, *arguments):
    function = getattr(runtime.library, name)
    function.restype = ctypes.c_uint64
    rounds = [function(*arguments) for _ in range(ROUNDS)]
    if not all(rounds):
        sys.exit(f"{name}: a call failed")
    return min(rounds)


version = ctypes.c_int(cuda.driver_version(driver))
cuda.answer(
    {
        "plain": best("time_plain", ctypes.c_long(pairs), Size(MIB)) / pairs,
        "async": best("time_async", ctypes.c_long(pairs), Size(MIB)) / pairs,
        "resolver": best("time_resolver", table, ctypes.c_long(len(names)), version),
    }
)
