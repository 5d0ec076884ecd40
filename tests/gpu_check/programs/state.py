"""What a program sees of failures and stream captures: the results of its calls. usage: state.py RUNTIME; prints [[call,
result]]. With and without the library it must be the same."""

import ctypes
import sys

import cuda
from cuda import MIB, Pointer, Size

library = cuda.runtime(sys.argv[1]).library
TOO_MUCH = Size(1 << 60)
MODES = ("global", "thread-local", "relaxed")
seen = []


def see(what, function, *arguments):
    seen.append([what, getattr(library, function)(*arguments)])


def see_last_error(what):
    for function in ("cudaPeekAtLastError", "cudaGetLastError", "cudaGetLastError"):
        see(f"{what}, {function}", function)


pointer, stream, graph, status = Pointer(), Pointer(), Pointer(), ctypes.c_int()
see("cudaStreamCreate", "cudaStreamCreate", ctypes.byref(stream))
see("cudaMalloc, too much", "call_cudaMalloc", ctypes.byref(pointer), TOO_MUCH)
see_last_error("cudaMalloc, too much")
see("cudaMallocAsync, too much", "call_cudaMallocAsync", ctypes.byref(pointer), TOO_MUCH, stream)
see_last_error("cudaMallocAsync, too much")
see("cudaFree, unknown", "call_cudaFree", Pointer(0x10))
see_last_error("cudaFree, unknown")
see("cudaMalloc", "call_cudaMalloc", ctypes.byref(pointer), Size(MIB))
see("cudaFree", "call_cudaFree", pointer)
for mode, name in enumerate(MODES):
    for function, arguments in (
        ("cudaMallocAsync", (ctypes.byref(pointer), Size(MIB), stream)),
        ("cudaMalloc", (ctypes.byref(pointer), Size(MIB))),
        ("cudaMemGetInfo", (ctypes.byref(Size()), ctypes.byref(Size()))),
    ):
        what = f"{name} capture, {function}"
        see(f"{what}, begin", "cudaStreamBeginCapture", stream, mode)
        see(what, f"call_{function}", *arguments)
        see(f"{what}, is capturing", "cudaStreamIsCapturing", stream, ctypes.byref(status))
        seen.append([f"{what}, status", status.value])
        see(f"{what}, end", "cudaStreamEndCapture", stream, ctypes.byref(graph))
        see_last_error(what)
cuda.answer(seen)
