"""Which GPUs a program uses, and what the driver is asked about them."""

import pytest
from gpu_rig import ENDS, MIB, gpu  # noqa: F401  a fixture

pytestmark = pytest.mark.timeout(120)


def test_several_gpus(gpu):
    program = """
workflow("job", n1=("Keep", {"value": 0, "size": 3 << 20, "device": 0}), n2=("Keep", {"value": 0, "size": 5 << 20, "device": 1}),
         n3=("Use", {"value": ("1", 0), "sizes": str(7 << 20)}),
         n4=("Show", {"value": ("3", 0)}), n5=("Show", {"value": ("2", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "async", devices=2).run(program)
    root = traces["job"].root
    assert root["metrics"]["gpu.count"] == 2
    assert root["metrics"]["memory.vram.delta_bytes"] == 8 * MIB
    assert [root["metrics"][f"memory.vram.delta_bytes.gpu{n}"] for n in (0, 1)] == [3 * MIB, 5 * MIB]
    assert [root["metrics"][f"memory.vram.alloc_count.gpu{n}"] for n in (0, 1)] == [2, 1]
    assert [root["metrics"][f"memory.vram.peak_bytes.gpu{n}"] for n in (0, 1)] == [10 * MIB, 5 * MIB]
    assert root["meta"]["gpu.uuid.gpu0"] == root["meta"]["gpu.uuid"] != root["meta"]["gpu.uuid.gpu1"]


def test_asking_the_driver_leaves_the_programs_contexts_alone(gpu):
    """The current one, and how often each device's own is held."""
    program = """
driver = ctypes.CDLL("libcuda.so.1")

def current():
    context = ctypes.c_void_p()
    driver.cuCtxGetCurrent(ctypes.byref(context))
    return context.value

def is_active(device):
    flags, active = ctypes.c_uint(), ctypes.c_int()
    assert driver.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(active)) == 0
    return active.value

kept = [Tensor(512, device) for device in (1, 0)]
before = current()
for job in ("first", "second"):
    workflow(job, n1=("Keep", {"value": job, "size": 3 << 20, "device": 0}), n2=("Show", {"value": ("1", 0)}))
assert before and current() == before
assert is_active(1) and driver.cuDevicePrimaryCtxRelease_v2(1) == 0 and not is_active(1)
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "native", devices=2).run(program)
    root = traces["second"].root["metrics"]
    used = [root[f"gpu.memory.used_bytes.gpu{n}"] for n in (0, 1)]
    assert used == [(20 + 2) << 20, 2 << 20] and root["gpu.memory.total_bytes.gpu1"] == 8 << 30


def test_a_device_is_not_asked_where_that_would_make_a_context(gpu):
    """A library with contexts of its own."""
    program = """
driver = ctypes.CDLL("libcuda.so.1")

class Other(nodes.Node):
    def run(self):
        context, pointer = ctypes.c_void_p(), ctypes.c_void_p()
        assert driver.cuInit(0) == driver.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0
        assert driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(5 << 20)) == 0
        return (pointer.value,)

nodes.NODE_CLASS_MAPPINGS["Other"] = Other
workflow("job", n1=("Other", {}), n2=("Show", {"value": ("1", 0)}))
"""
    machine = gpu(ENDS[-1], "a3", "native")
    _, traces, _ = machine.run(program)
    root = traces["job"].root["metrics"]
    assert root["memory.vram.delta_bytes"] == 5 * MIB and "gpu.memory.used_bytes" not in root
    assert "cuDevicePrimaryCtxRetain" not in machine.fake.stats().calls


def test_more_gpus_than_have_figures_of_their_own(gpu):
    program = """
workflow("job", **{f"n{n}": ("Keep", {"value": 0, "size": (n + 1) << 20, "device": n}) for n in range(18)},
         **{f"nshow{n}": ("Show", {"value": (str(n), 0)}) for n in range(18)})
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "async", devices=18).run(program)
    root = traces["job"].root["metrics"]
    assert root["memory.vram.delta_bytes"] == sum(range(1, 19)) * MIB
    assert [root[f"memory.vram.delta_bytes.gpu{n}"] for n in range(15)] == [(n + 1) * MIB for n in range(15)]
    assert root["memory.vram.delta_bytes.gpu15"] == (16 + 17 + 18) * MIB and "memory.vram.delta_bytes.gpu16" not in root


@pytest.mark.parametrize("mig", [False, True])
def test_the_gpu_that_the_program_has_chosen_in_the_end(gpu, mig):
    """CUDA_VISIBLE_DEVICES is changed inside Python, as ComfyUI's --cuda-device does; instances of partitioned GPUs have their own
    uuid."""
    program = """
import os
os.environ["CUDA_VISIBLE_DEVICES"] = "2"
workflow("job", n1=("Keep", {"value": 0, "size": 3 << 20, "device": 0}), n2=("Show", {"value": ("1", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "async", devices=3, mig=mig).run(program, CUDA_VISIBLE_DEVICES="0")
    root = traces["job"].root
    assert root["meta"]["gpu.uuid"].startswith("MIG-" if mig else "GPU-") and root["meta"]["gpu.uuid"].endswith("2")
    assert (root["metrics"]["gpu.count"], root["metrics"]["memory.vram.delta_bytes"]) == (1, 3 * MIB)
