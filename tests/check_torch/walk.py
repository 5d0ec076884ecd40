"""A random walk of allocations in real PyTorch over all devices, in and out of want of memory; at every step PyTorch's own
figures must be those of the GPU's books (of a fake one), and comfydd's when it is preloaded, to the byte. Prints what was
done, as JSON. usage: walk.py STEPS [MIB]; MIB is what PyTorch may take of a device, by default all. The allocator comes from
PYTORCH_CUDA_ALLOC_CONF."""

import collections
import json
import os
import random
import sys

import books
import comfydd
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


class Walk:
    def __init__(self, device):
        self.device = device
        self.streams = [torch.cuda.current_stream(device), torch.cuda.Stream(device)]
        self.live = []

    def step(self, chance):
        """What was done."""
        if chance.random() < 0.001:
            torch.cuda.empty_cache()
            return "emptied"
        if self.live and chance.random() < 0.45:
            self.live.pop(chance.randrange(len(self.live)))
            return "freed"
        try:
            with torch.cuda.stream(chance.choice(self.streams)):
                tensor = torch.empty(random_size(chance), dtype=torch.uint8, device=self.device)
                self.live.append(tensor)
            return "allocated"
        except torch.OutOfMemoryError:
            del self.live[::2]
            return "out of memory"

    @staticmethod
    def books_pairs(gpu, allocated, reserved):
        pairs = {"reserved": (reserved, gpu.in_use)}
        if ASYNC:
            pairs["allocated"] = allocated, getattr(gpu, "async")
        else:
            pairs["segments"] = gpu.in_use, gpu.physical if EXPANDABLE else gpu.plain
        return pairs

    def differences(self):
        """(what, one, the other) of every figure that differs."""
        if ASYNC:
            torch.cuda.synchronize(self.device)  # a pool's figures may wait for its streams
        sizes = [tensor.nbytes for tensor in self.live]
        stats = torch.cuda.memory_stats(self.device)
        gpu = books.read(self.device)
        ours = comfydd.read(self.device)
        allocated, reserved = stats["allocated_bytes.all.current"], stats["reserved_bytes.all.current"]
        pairs = self.books_pairs(gpu, allocated, reserved) if gpu else {}
        if ASYNC:
            pairs["sizes"] = sum(map(rounded, sizes)), allocated
        else:
            pairs["sizes"] = stats["requested_bytes.all.current"], sum(sizes)
        if ours and ASYNC:
            # The driver rounds up what it hands out; who calls it does not see how far.
            pairs["our live"] = ours.live, sum(sizes)
            pairs["our allocated"] = ours.allocated, sum(sizes)
            pairs["our torch_allocated"] = ours.torch_allocated, sum(sizes)
        elif ours:
            pairs["our live"] = ours.live, reserved
            pairs["our mapped"] = ours.mapped, reserved if EXPANDABLE else 0
            pairs["our allocated"] = ours.allocated, allocated
            pairs["our torch_allocated"] = ours.torch_allocated, allocated
            pairs["our torch_reserved"] = ours.torch_reserved, reserved
        return [(self.device, name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]]


def main(steps, mib=None):
    chance = random.Random(4)
    walks = [Walk(device) for device in range(torch.cuda.device_count())]
    for walk in walks if mib else []:
        whole = torch.cuda.get_device_properties(walk.device).total_memory
        torch.cuda.set_per_process_memory_fraction(mib * MIB / whole, walk.device)
    done = collections.Counter()
    for number in range(steps):
        walk = chance.choice(walks)
        done[walk.step(chance)] += 1
        wrong = walk.differences()
        if wrong:
            sys.exit(f"step {number} {dict(done)}: {wrong}")
    for walk in walks:
        walk.live.clear()
    torch.cuda.empty_cache()
    for walk in walks:
        wrong, held = walk.differences(), torch.cuda.memory_reserved(walk.device)
        if wrong or held:
            sys.exit(f"at the end: {wrong}, {held} bytes held")
    ours = comfydd.read()
    ooms = sum(torch.cuda.memory_stats(walk.device)["num_ooms"] for walk in walks)
    if ours and ours.out_of_memory != ooms:
        sys.exit(f"{ours.out_of_memory} out-of-memories, not {ooms}")
    peaks = [gpu.peak for gpu in (books.read(walk.device) for walk in walks) if gpu]
    print(json.dumps({**done, "peaks": peaks, "preloaded": bool(ours)}))


main(*map(int, sys.argv[1:]))
