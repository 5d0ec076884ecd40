"""torch.profiler over some kernels. Prints {"kernels": how many it has seen on the device}."""

import cuda
import torch
from torch.profiler import ProfilerActivity, profile

with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
    x = torch.ones(1 << 20, device="cuda")
    for _ in range(10):
        x = x * 2
    torch.cuda.synchronize()
kernels = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiled.events())
cuda.answer({"kernels": kernels})
