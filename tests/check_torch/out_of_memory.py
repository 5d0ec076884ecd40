"""Real PyTorch runs out of memory; then what it has cached is in the way of a larger tensor. Prints as JSON what is in use at
the failure and after the clean-up, the exception's text, PyTorch's own counts, and comfydd's when it is preloaded."""

import gc
import json

import books
import comfydd
import torch

GIB = 1 << 30


def fill():
    held = []
    try:
        while True:
            held.append(torch.empty(GIB, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        comfydd.check()
        return books.read().in_use, str(error)


in_use, text = fill()
gc.collect()
torch.cuda.empty_cache()
after = books.read().in_use

cached = [torch.empty(GIB, dtype=torch.uint8, device="cuda") for _ in range(int(books.read().total // GIB) - 1)]
cached.clear()
large = torch.empty(2 * GIB, dtype=torch.uint8, device="cuda")
comfydd.check()
stats = torch.cuda.memory_stats()
ours = comfydd.read()
figures = {
    "in_use": in_use,
    "text": text,
    "after": after,
    "large": books.read().in_use,
    "ooms": stats["num_ooms"],
    "retries": stats["num_alloc_retries"],
    "ours": ours and ours.out_of_memory,
}
print(json.dumps(figures))
