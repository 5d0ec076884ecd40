"""A random walk of allocations in real PyTorch, in and out of want of memory; at every step PyTorch's own figures must be
those of the GPU's books, to the byte. Prints what was done, as JSON.
usage: walk.py STEPS; the allocator comes from PYTORCH_CUDA_ALLOC_CONF."""

import collections
import json
import os
import random
import sys

import books
import torch

MIB = 1 << 20

EXPANDABLE = "expandable_segments:True" in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
ASYNC = torch.cuda.get_allocator_backend() == "cudaMallocAsync"


def rounded(size):
    """As the driver's pools charge it."""
    return -(-size // 512) * 512


def random_size(chance):
    kind = chance.random()
    if kind < 0.6:
        return chance.randint(1, 64 << 10)
    if kind < 0.9:
        return chance.randint(64 << 10, 4 * MIB)
    return chance.randint(4 * MIB, 64 * MIB)


def differences(sizes):
    """(what, PyTorch's, the books') of every figure that differs."""
    stats = torch.cuda.memory_stats()
    gpu = books.read()
    pairs = {"reserved": (stats["reserved_bytes.all.current"], gpu.in_use)}
    if ASYNC:
        pairs["allocated"] = stats["allocated_bytes.all.current"], getattr(gpu, "async")
        pairs["sum of sizes"] = sum(map(rounded, sizes)), getattr(gpu, "async")
    else:
        segments = gpu.physical if EXPANDABLE else gpu.plain
        pairs["segments"] = stats["reserved_bytes.all.current"], segments
        pairs["requested"] = stats["requested_bytes.all.current"], sum(sizes)
    return [(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]]


def main(steps):
    chance = random.Random(4)
    streams = [torch.cuda.current_stream(), torch.cuda.Stream()]
    live = []
    done = collections.Counter()
    for step in range(steps):
        if live and chance.random() < 0.45:
            live.pop(chance.randrange(len(live)))
            done["freed"] += 1
        else:
            try:
                with torch.cuda.stream(chance.choice(streams)):
                    live.append(torch.empty(random_size(chance), dtype=torch.uint8, device="cuda"))
                done["allocated"] += 1
            except torch.OutOfMemoryError:
                del live[::2]
                done["out of memory"] += 1
        if chance.random() < 0.001:
            torch.cuda.empty_cache()
            done["emptied"] += 1
        wrong = differences([tensor.nbytes for tensor in live])
        if wrong:
            sys.exit(f"step {step} {dict(done)}: {wrong}")
    live.clear()
    torch.cuda.empty_cache()
    wrong = differences([])
    if wrong or books.read().in_use:
        sys.exit(f"at the end: {wrong}, {books.read().in_use} bytes held")
    print(json.dumps({**done, "peak": books.read().peak, "retries": torch.cuda.memory_stats()["num_alloc_retries"]}))


main(int(sys.argv[1]))
