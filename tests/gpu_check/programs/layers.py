"""Which driver calls does each allocation through the runtime make? usage: layers.py RUNTIME, with counting.so preloaded.
Prints {"asked": questions of the runtime to cuGetProcAddress_v2 when it began, "ways": [{"what", "calls", "bytes", "runtime":
calls that its hooks saw, "allocated": {driver function: calls}, "freed": the same, "own": pieces that are an allocation of the
driver's of their own, or null, "live": bytes that the ledger gained while they were there, "left"}]}."""

import ctypes
import sys

import api
import cuda
from cuda import MIB, Pointer, Size

ALLOCATING = [f.name for f in api.driver_functions() if f.effect in api.ALLOCATING]
FREEING = [f.name for f in api.driver_functions() if f.effect in api.FREEING]


class Channels(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "z", "w", "kind")]


driver, runtime, library = cuda.driver(), cuda.runtime(sys.argv[1]), cuda.Library()
page_locked = (ctypes.c_char * (2 * MIB))()


def out(function, *arguments):
    def allocate():
        pointer = Pointer()
        getattr(runtime, function)(ctypes.byref(pointer), *arguments)
        return pointer

    return allocate


def pitched():
    pointer, pitch = Pointer(), Size()
    runtime.cudaMallocPitch(ctypes.byref(pointer), ctypes.byref(pitch), Size(1000), Size(1000))
    return pointer


def registered():
    runtime.cudaHostRegister(page_locked, Size(MIB), 0)
    return page_locked


def free_async(pointer):
    runtime.cudaFreeAsync(pointer, None)


stream = Pointer()
byte_channel = ctypes.byref(Channels(8, 0, 0, 0, 0))
WAYS = [  # what, bytes (0: the driver decides), how often, allocate, free
    ("cudaMalloc, 1 KiB", 1024, 100, out("cudaMalloc", Size(1024)), runtime.cudaFree),
    ("cudaMalloc, 64 MiB", 64 * MIB, 3, out("cudaMalloc", Size(64 * MIB)), runtime.cudaFree),
    ("cudaMallocAsync, 1 KiB", 1024, 100, out("cudaMallocAsync", Size(1024), stream), free_async),
    ("cudaMallocAsync, 64 MiB", 64 * MIB, 3, out("cudaMallocAsync", Size(64 * MIB), stream), free_async),
    ("cudaMallocPitch", 0, 3, pitched, runtime.cudaFree),
    ("cudaMallocManaged", MIB, 3, out("cudaMallocManaged", Size(MIB), 1), runtime.cudaFree),
    ("cudaMallocArray", 4096, 3, out("cudaMallocArray", byte_channel, Size(64), Size(64), 0), runtime.cudaFreeArray),
    ("cudaMallocHost", MIB, 3, out("cudaMallocHost", Size(MIB)), runtime.cudaFreeHost),
    ("cudaHostAlloc", MIB, 3, out("cudaHostAlloc", Size(MIB), 0), runtime.cudaFreeHost),
    ("cudaHostRegister", MIB, 1, registered, runtime.cudaHostUnregister),
]


def counts(functions):
    return {name: library.calls(name) for name in functions}


def since(before):
    return {name: library.calls(name) - count for name, count in before.items() if library.calls(name) != count}


def is_own(pointer, size):
    base, found = ctypes.c_uint64(), Size()
    error = driver.library.cuMemGetAddressRange_v2(ctypes.byref(base), ctypes.byref(found), pointer)
    return not error and base.value == pointer.value and found.value < size + 2 * MIB


def measure(what, size, times, allocate, free):
    name = what.split(",")[0]
    held, in_runtime = library.used(), library.calls(name)
    before = counts(ALLOCATING)
    pointers = [allocate() for _ in range(times)]
    allocated, used = since(before), library.used()
    own = sum(is_own(pointer, size) for pointer in pointers) if name == "cudaMalloc" else None
    before = counts(FREEING)
    for pointer in pointers:
        free(pointer)
    left = library.used()
    return {
        "what": what,
        "calls": times,
        "bytes": size * times,
        "runtime": library.calls(name) - in_runtime,
        "allocated": allocated,
        "freed": since(before),
        "own": own,
        "live": used.live + used.pinned - held.live - held.pinned,
        "left": left.live + left.pinned - held.live - held.pinned,
    }


runtime.cudaMemGetInfo(ctypes.byref(Size()), ctypes.byref(Size()))  # the runtime begins
asked = library.calls("cuGetProcAddress_v2")
cuda.answer({"asked": asked, "ways": [measure(*way) for way in WAYS]})
