"""comfy-aimdo on the fake GPU: weights in virtual memory, more of them than fit, beside tensors of PyTorch. Prints every
decision that it takes, and the books after each, as lines of JSON: two runs must print the same, with comfydd and without,
whose figures must be the books'."""

import json

import books
import comfy_aimdo.control as control
import comfydd

MIB = 1 << 20
assert control.init(simple_vram_headroom=0)

import torch  # noqa: E402 aimdo wants to be loaded first

torch.cuda.init()
torch.empty(512, dtype=torch.uint8, device="cuda")
assert control.init_device(0)

from comfy_aimdo.model_vbar import ModelVBAR  # noqa: E402 they look for the library when they are imported
from comfy_aimdo.vram_buffer import VRAMBuffer  # noqa: E402


def tell(what, **figures):
    comfydd.check()
    gpu = books.read()
    print(json.dumps({"what": what, **figures, "physical": gpu.physical, "in_use": gpu.in_use}), flush=True)


tell("start")
models = [ModelVBAR(1024 * MIB, 0) for _ in range(3)]
layers = {model: [model.alloc(64 * MIB) for _ in range(16)] for model in models}
for number, model in enumerate(models):
    model.prioritize()
    faults = []
    for layer in layers[model]:
        signature = model.fault(layer[1], layer[2])
        faults.append(signature is not None)
        if signature is not None:
            model.unpin(layer[1], layer[2])
    tell("model", number=number, faults=faults, loaded=[m.loaded_size() for m in models])

tensors = []
for number in range(12):
    try:
        tensors.append(torch.empty(128 * MIB, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError:
        tell("out of memory", number=number)
        break
    tell("tensor", number=number, loaded=[m.loaded_size() for m in models], residency=models[0].get_residency())
tensors.clear()
torch.cuda.empty_cache()

buffer = VRAMBuffer(256 * MIB, 0)
buffer.get(20 * MIB)
buffer.get(40 * MIB)
tell("buffer", size=buffer.size())
del buffer
tell("no buffer", freed=models[2].free_memory(256 * MIB), usage=control.get_total_vram_usage())
for model in models:
    model.close()
torch.cuda.empty_cache()
tell("end", usage=control.get_total_vram_usage())
