"""A tensor larger than the device; then a small one. Prints {"text": the exception's first words, "ooms", "small": bytes allocated
after it, "ours": out-of-memories that the preloaded library has seen, or null}."""

import os

import cuda
import torch

ours = cuda.Library() if "LD_PRELOAD" in os.environ else None
whole = torch.cuda.get_device_properties(0).total_memory
try:
    torch.empty(2 * whole, dtype=torch.uint8, device="cuda")
    text = None
except torch.OutOfMemoryError as error:
    text = str(error)[:30]
small = torch.empty(1 << 20, dtype=torch.uint8, device="cuda")
allocated = torch.cuda.memory_allocated()
cuda.answer(
    {"text": text, "ooms": torch.cuda.memory_stats()["num_ooms"], "small": allocated, "ours": ours and ours.used().oom}
)
