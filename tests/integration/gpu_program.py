"""For programs that run workflows of a stand-in with nodes that use the (fake) GPU, through the outline of PyTorch's
allocators in libc10_cuda.so. PYTORCH_CUDA_ALLOC_CONF chooses one of them."""

import asyncio
import ctypes
import threading

from stand_in_program import *  # must come before torch: it sets sys.path
import torch

allocator = ctypes.CDLL("libc10_cuda.so")
allocator.c10_cuda_allocate.restype = ctypes.c_void_p
allocator.c10_cuda_allocate.argtypes = [ctypes.c_int, ctypes.c_size_t]
allocator.c10_cuda_free.argtypes = [ctypes.c_void_p]
allocator.c10_cuda_set_limit.argtypes = [ctypes.c_size_t]
allocator.c10_cuda_allocated.restype = allocator.c10_cuda_reserved.restype = ctypes.c_size_t


class Tensor:
    def __init__(self, size, device=0):
        self.pointer = allocator.c10_cuda_allocate(device, size)
        if not self.pointer:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    def __del__(self):
        if self.pointer:
            allocator.c10_cuda_free(self.pointer)


class Keep(nodes.Node):
    """Its output is a tensor."""

    INPUTS = {"value": {}, "size": {}, "device": {}}

    def run(self, value, size, device):
        return (Tensor(size, device),)


class Use(nodes.Node):
    """Needs tensors of these sizes ("512 1024"), all at a time, while it runs."""

    INPUTS = {"value": {}, "sizes": {}}

    def run(self, value, sizes):
        tensors = [Tensor(int(size)) for size in sizes.split()]
        del tensors
        return (value,)


class Exhaust(nodes.Node):
    """Takes tensors until there is no more; they are gone when the executor sees the error."""

    INPUTS = {"value": {}, "size": {}}

    def run(self, value, size):
        tensors = []
        try:
            while True:
                tensors.append(Tensor(size))
        finally:
            tensors.clear()
            allocator.c10_cuda_empty_cache()


class Recover(nodes.Node):
    """Tries more than there is, and goes on with less."""

    INPUTS = {"value": {}, "size": {}}

    def run(self, value, size):
        try:
            Tensor(size)
        except torch.cuda.OutOfMemoryError:
            Tensor(1 << 20)
        return (value,)


class OnThread(nodes.Node):
    """Another thread allocates, as autograd's do."""

    INPUTS = {"value": {}, "size": {}}

    def run(self, value, size):
        thread = threading.Thread(target=Tensor, args=(size,))
        thread.start()
        thread.join()
        return (value,)


class AsyncUse(nodes.Node):
    """Takes `count` tensors, one a step, while other nodes do the same, and keeps them until its end."""

    INPUTS = {"value": {}, "size": {}, "count": {}}

    async def run(self, value, size, count):
        tensors = []
        for _ in range(count):
            await asyncio.sleep(0)
            tensors.append(Tensor(size))
        await asyncio.sleep(0)
        return (value,)


nodes.NODE_CLASS_MAPPINGS.update(
    {class_.__name__: class_ for class_ in (Keep, Use, Exhaust, Recover, OnThread, AsyncUse)}
)

_executor = application.new_executor()  # one: it keeps outputs, as ComfyUI does


def workflow(job, **prompt):
    """Runs a prompt, n1=("ClassType", {input: value}); a value ("1", 0) is a link."""
    graph = {
        name[1:]: node(
            kind, **{key: list(value) if isinstance(value, tuple) else value for key, value in inputs.items()}
        )
        for name, (kind, inputs) in prompt.items()
    }
    try:
        application.run_with(_executor, graph, f"prompt-{job}", {"job_id": job})
    except torch.cuda.OutOfMemoryError:
        pass  # up to R2 errors leave the executor
    result(
        {
            "job": job,
            "allocated": [allocator.c10_cuda_allocated(device) for device in range(2)],
            "reserved": [allocator.c10_cuda_reserved(device) for device in range(2)],
        }
    )
