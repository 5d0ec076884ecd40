"""The ledger beside the driver's own figures. usage: ledger.py RUNTIME, with the library preloaded. Prints for each way of
allocating {"way", "count", "ledger": bytes it gained, "driver": bytes less free, "left": bytes of the ledger after freeing},
and for pools also "used" and "reserved", what the pool says."""

import ctypes
import random
import sys

import cuda
from cuda import MIB, Pointer, Size

driver, runtime, library = cuda.driver(), cuda.runtime(sys.argv[1]), cuda.Library()
chance = random.Random(6)
SIZES = [chance.randint(2 * MIB, 32 * MIB) for _ in range(20)]


def free_memory():
    free, whole = Size(), Size()
    driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(whole))
    return free.value


def measure(way, count, allocate, free, pool=None):
    figures = {"way": way, "count": count}
    held, at_first = library.used().live, free_memory()
    before = pool() if pool else {}
    pieces = allocate()
    driver.cuCtxSynchronize()
    figures["ledger"], figures["driver"] = library.used().live - held, at_first - free_memory()
    figures.update({name: value - before[name] for name, value in (pool() if pool else {}).items()})
    free(pieces)
    driver.cuCtxSynchronize()
    figures["left"] = library.used().live - held
    return figures


def plain(sizes):
    def allocate():
        pointers = [Pointer() for _ in sizes]
        for pointer, size in zip(pointers, sizes):
            runtime.cudaMalloc(ctypes.byref(pointer), Size(size))
        return pointers

    return allocate


def free_plain(pointers):
    for pointer in pointers:
        runtime.cudaFree(pointer)


def allocate_async():
    pointers = [Pointer() for _ in SIZES]
    for pointer, size in zip(pointers, SIZES):
        runtime.cudaMallocAsync(ctypes.byref(pointer), Size(size), None)
    return pointers


def free_async(pointers):
    for pointer in pointers:
        runtime.cudaFreeAsync(pointer, None)


def read_pool():
    values = {}
    for name, attribute in (("used", cuda.POOL_USED), ("reserved", cuda.POOL_RESERVED)):
        value = ctypes.c_uint64()
        driver.cuMemPoolGetAttribute(default_pool, attribute, ctypes.byref(value))
        values[name] = value.value
    return values


def allocate_physical():
    handles = [ctypes.c_uint64() for _ in range(8)]
    for handle in handles:
        driver.cuMemCreate(ctypes.byref(handle), page, ctypes.byref(properties), ctypes.c_uint64(0))
    for number, handle in enumerate(handles):
        driver.cuMemMap(ctypes.c_uint64(addresses.value + number * page.value), page, Size(0), handle, ctypes.c_uint64(0))
    return handles


def free_physical(handles):
    driver.cuMemUnmap(addresses, Size(8 * page.value))
    for handle in handles:
        driver.cuMemRelease(handle)


default_pool, properties, page, addresses = Pointer(), cuda.Properties(), Size(), ctypes.c_uint64()
driver.cuDeviceGetDefaultMemPool(ctypes.byref(default_pool), 0)
driver.cuMemPoolSetAttribute(default_pool, cuda.THRESHOLD, ctypes.byref(ctypes.c_uint64(2**64 - 1)))
driver.cuMemGetAllocationGranularity(ctypes.byref(page), ctypes.byref(properties), 0)
driver.cuMemAddressReserve(ctypes.byref(addresses), Size(8 * page.value), Size(0), ctypes.c_uint64(0), ctypes.c_uint64(0))
free_plain(plain(SIZES)())  # what happens once
cuda.answer(
    [
        measure("cudaMalloc, 256 MiB", 1, plain([256 * MIB]), free_plain),
        measure("cudaMalloc, odd sizes", len(SIZES), plain(SIZES), free_plain),
        measure("cudaMallocAsync, odd sizes", len(SIZES), allocate_async, free_async, read_pool),
        measure("cuMemCreate and cuMemMap", 8, allocate_physical, free_physical),
    ]
)
