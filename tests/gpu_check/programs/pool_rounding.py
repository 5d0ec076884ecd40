"""By how many bytes does a pool's used figure grow for an allocation? usage: pool_rounding.py RUNTIME; prints [[size, grown]]."""

import ctypes
import sys

import cuda
from cuda import MIB, Pointer, Size

driver, runtime = cuda.driver(), cuda.runtime(sys.argv[1])
pool = Pointer()
driver.cuDeviceGetDefaultMemPool(ctypes.byref(pool), 0)


def used():
    value = ctypes.c_uint64()
    driver.cuMemPoolGetAttribute(pool, cuda.POOL_USED, ctypes.byref(value))
    return value.value


def grown(size):
    pointer, before = Pointer(), used()
    runtime.cudaMallocAsync(ctypes.byref(pointer), Size(size), None)
    after = used()
    runtime.cudaFreeAsync(pointer, None)
    driver.cuCtxSynchronize()
    return after - before


cuda.answer([[size, grown(size)] for size in (1, 256, 512, 513, 4097, MIB + 1, 3 * MIB + 5, 64 * MIB + 1)])
