"""What nodes do to GPU memory is on their spans, to the byte, under each of PyTorch's allocators."""

import json

import pytest
from gpu_rig import BACKENDS, ENDS, MIB, PYTHONS, figures, gpu, node  # noqa: F401  gpu is a fixture

pytestmark = pytest.mark.timeout(120)

every_backend = pytest.mark.parametrize("backend", BACKENDS)


def segments(*sizes):
    """What the native allocator has reserved for tensors of these sizes: one of each kind of segment is enough here."""
    small = 2 * MIB if any(size <= MIB for size in sizes) else 0
    middle = 20 * MIB if any(MIB < size < 10 * MIB for size in sizes) else 0
    return small + middle + sum(size for size in sizes if size >= 10 * MIB)


@every_backend
@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("generation", ["r2", "r4", "x1", "a3"])
def test_a_node_has_the_bytes_it_used(gpu, version, generation, backend):
    program = """
workflow("first",
         n1=("Keep", {"value": 0, "size": 3 << 20, "device": 0}),
         n2=("Use", {"value": ("1", 0), "sizes": f"512 {4 << 20} {40 << 20}"}),
         n3=("Keep", {"value": ("2", 0), "size": 1024, "device": 0}),
         n4=("Show", {"value": ("3", 0)}))
workflow("second", n1=("Keep", {"value": 0, "size": 3 << 20, "device": 0}),
         n2=("Use", {"value": ("1", 0), "sizes": str(100 << 20)}), n4=("Show", {"value": ("2", 0)}))
"""
    said, traces, _ = gpu(version, generation, backend).run(program)
    first = traces["first"]
    keep, use, small = (figures(node(first, n)) for n in "123")
    reserved = keep["reserved_bytes.after"], use["reserved_bytes.after"]
    if backend == "async":
        assert reserved[0] >= 3 * MIB and reserved[1] >= 47 * MIB  # the pool keeps what it once had
    else:
        assert reserved == (segments(3 * MIB), segments(512, 4 * MIB, 40 * MIB))
    assert [keep[name] for name in ("delta_bytes", "peak_bytes", "alloc_count", "alloc_bytes")] == [
        3 * MIB, 3 * MIB, 1, 3 * MIB]  # fmt: skip
    assert [use[name] for name in ("delta_bytes", "peak_bytes", "alloc_count", "alloc_bytes")] == [
        0, 47 * MIB + 512, 3, 44 * MIB + 512]  # fmt: skip
    assert (use["allocated_bytes.before"], use["allocated_bytes.after"]) == (3 * MIB, 3 * MIB)
    assert (small["delta_bytes"], small["alloc_count"], small["failed_allocs"]) == (1024, 1, 0)
    mapped = segments(512, 4 * MIB, 40 * MIB) if backend == "expandable" else 0
    assert (use["mapped_bytes.after"], use["pinned_bytes.after"]) == (mapped, 0)
    root = first.root["metrics"]
    assert root["memory.vram.peak_bytes"] == 47 * MIB + 512
    assert root["memory.vram.delta_bytes"] == 3 * MIB + 1024 == said["first"]["allocated"][0]
    assert (root["memory.vram.alloc_count"], root["memory.vram.alloc_bytes"]) == (5, 47 * MIB + 1536)
    assert (root["memory.vram.failed_allocs"], root["gpu.count"]) == (0, 1)
    assert first.root["meta"]["gpu.uuid"].startswith("GPU-") and "Fake" in first.root["meta"]["gpu.name"]
    assert root["gpu.memory.total_bytes"] == 8 << 30
    assert root["gpu.memory.used_bytes"] >= said["first"]["reserved"][0] - 1

    second = traces["second"]  # node 1 comes from the cache
    assert figures(node(second, "2"))["alloc_bytes"] == 100 * MIB
    assert second.root["metrics"]["memory.vram.alloc_count"] == 1


@every_backend
@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("generation", ["r4", "a3"])
def test_out_of_memory(gpu, version, generation, backend):
    program = """
workflow("first", n1=("Keep", {"value": 0, "size": 200 << 20, "device": 0}),
         n2=("Exhaust", {"value": ("1", 0), "size": 100 << 20}), n3=("Show", {"value": ("2", 0)}))
workflow("second", n1=("Keep", {"value": 0, "size": 200 << 20, "device": 0}),
         n2=("Use", {"value": ("1", 0), "sizes": str(100 << 20)}), n3=("Show", {"value": ("2", 0)}))
"""
    said, traces, _ = gpu(version, generation, backend, memory="1G").run(program, PYTORCH_MEMORY_TRACKING="true")
    span, root = node(traces["first"], "2"), traces["first"].root
    for failed in (span, root):
        assert failed["meta"]["error.type"] == "OutOfMemoryError"
        metrics = failed["metrics"]
        assert metrics["oom.requested_bytes"] == 100 * MIB
        assert (metrics["oom.device"], metrics["oom.total_bytes"]) == (0, 1 << 30)
        assert metrics["oom.allocated_bytes"] == metrics["oom.reserved_bytes"] == 1000 * MIB
        assert metrics["oom.free_bytes"] == 24 * MIB
        owners = [(group["class_type"], group["node_id"], group["size"], group["count"])
                  for group in json.loads(failed["meta"]["oom.top_allocations"])]  # fmt: skip
        assert owners == [("Exhaust", "2", 100 * MIB, 8), ("Keep", "1", 200 * MIB, 1)]
    assert figures(span)["peak_bytes"] == 1000 * MIB
    assert figures(span)["allocated_bytes.after"] == 200 * MIB  # after the clean-up
    assert figures(span)["failed_allocs"] == (1 if backend == "async" else 2)  # PyTorch tries again
    second = node(traces["second"], "2")
    assert second["meta"]["node.result"] == "SUCCESS" and "oom.requested_bytes" not in second["metrics"]
    assert "oom.requested_bytes" not in traces["second"].root["metrics"]
    moments = ("first", "after"), ("second", "before"), ("second", "after")
    assert [traces[job].root["metrics"][f"memory.pytorch.num_ooms.{when}"] for job, when in moments] == [1, 1, 1]


@pytest.mark.parametrize("version", ENDS)
def test_what_the_pool_keeps_back_is_reserved_at_an_out_of_memory(gpu, version):
    program = """
workflow("job", n1=("Use", {"value": 0, "sizes": str(300 << 20)}), n2=("Keep", {"value": ("1", 0), "size": 2 << 30, "device": 0}),
         n3=("Show", {"value": ("2", 0)}))
"""
    said, traces, _ = gpu(version, "a3", "async", memory="1G").run(program)
    metrics = node(traces["job"], "2")["metrics"]
    assert said["job"]["reserved"][0] == figures(node(traces["job"], "2"))["reserved_bytes.before"] == 300 * MIB
    assert (metrics["oom.requested_bytes"], metrics["oom.allocated_bytes"]) == (2 << 30, 0)
    assert (metrics["oom.reserved_bytes"], metrics["oom.free_bytes"]) == (300 * MIB, 724 * MIB)


@pytest.mark.parametrize("version", ENDS)
def test_a_limit_of_pytorchs_own(gpu, version):
    """torch.cuda.set_per_process_memory_fraction under cudaMallocAsync: no call fails, nothing is reported. What was asked for is
    not known, and no picture of an earlier failure is taken for this one."""
    program = """
workflow("recovers", n1=("Number", {"value": 1}), n2=("Recover", {"value": ("1", 0), "size": 2 << 30}),
         n3=("Show", {"value": ("2", 0)}))
allocator.c10_cuda_set_limit(550 << 20)
workflow("job", n1=("Keep", {"value": 0, "size": 200 << 20, "device": 0}),
         n2=("Exhaust", {"value": ("1", 0), "size": 100 << 20}), n3=("Show", {"value": ("2", 0)}))
"""
    _, traces, _ = gpu(version, "a3", "async", memory="1G").run(program)
    span, root = node(traces["job"], "2"), traces["job"].root
    for failed in (span, root):
        assert failed["meta"]["error.type"] == "OutOfMemoryError"
        metrics = failed["metrics"]
        assert "oom.requested_bytes" not in metrics
        assert metrics["oom.allocated_bytes"] == 500 * MIB
        assert metrics["oom.free_bytes"] == (1 << 30) - metrics["oom.reserved_bytes"]
        owners = [(group["class_type"], group["size"], group["count"])
                  for group in json.loads(failed["meta"]["oom.top_allocations"])]  # fmt: skip
        assert owners == [("Exhaust", 100 * MIB, 3), ("Keep", 200 * MIB, 1)]
    assert figures(span)["failed_allocs"] == 0


def test_an_out_of_memory_that_no_call_has_failed_for(gpu):
    """An extension's own: no picture is of it, and none of an earlier failure, which another node has recovered from, is taken for it."""
    program = """
class Raise(nodes.Node):
    INPUTS = {"value": {}}

    def run(self, value):
        runtime = ctypes.CDLL("libcudart.so.13", ctypes.RTLD_GLOBAL)
        assert runtime.cudaMemGetInfo(ctypes.byref(ctypes.c_size_t()), ctypes.byref(ctypes.c_size_t())) == 0
        assert ctypes.CDLL(None).cudaMemGetInfo(ctypes.byref(ctypes.c_size_t()), ctypes.byref(ctypes.c_size_t())) == 0
        raise torch.cuda.OutOfMemoryError("not today")

nodes.NODE_CLASS_MAPPINGS["Raise"] = Raise
workflow("job", n1=("Number", {"value": 1}), n2=("Recover", {"value": ("1", 0), "size": 2 << 30}), n3=("Raise", {"value": ("2", 0)}),
         n4=("Show", {"value": ("3", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "async", memory="1G").run(program, PYTORCH_MEMORY_TRACKING="true")
    root = traces["job"].root
    for failed in (node(traces["job"], "3"), root):
        assert failed["meta"]["error.type"] == "OutOfMemoryError"
        assert not [name for name in {**failed["metrics"], **failed["meta"]} if name.startswith("oom.")]
    assert root["metrics"]["memory.pytorch.num_ooms.after"] == 1


@every_backend
def test_a_failure_that_the_node_handles_is_no_out_of_memory(gpu, backend):
    program = """
workflow("job", n1=("Number", {"value": 1}), n2=("Recover", {"value": ("1", 0), "size": 2 << 30}),
         n3=("Show", {"value": ("2", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", backend, memory="1G").run(program)
    span, root = node(traces["job"], "2"), traces["job"].root
    assert span["error"] == root["error"] == 0
    assert not [name for name in {**span["metrics"], **root["metrics"]} if name.startswith("oom.")]
    assert figures(span)["failed_allocs"] == root["metrics"]["memory.vram.failed_allocs"] >= 1
    assert figures(span)["alloc_bytes"] == MIB


@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("generation", ["r4", "a3"])
def test_another_threads_allocations_are_the_nodes(gpu, version, generation):
    program = """
workflow("job", n1=("Number", {"value": 1}), n2=("OnThread", {"value": ("1", 0), "size": 5 << 20}),
         n3=("Show", {"value": ("2", 0)}))
"""
    _, traces, _ = gpu(version, generation, "async").run(program)
    assert figures(node(traces["job"], "2"))["alloc_bytes"] == 5 * MIB
    assert traces["job"].root["metrics"]["memory.vram.alloc_bytes"] == 5 * MIB


NESTED = """
class Nest(nodes.Node):
    INPUTS = {"value": {}, "size": {}}

    def run(self, value, size):
        inner = {"1": node("Use", value=1, sizes="1048576"), "2": node("Show", value=["1", 0])}
        application.run_here(inner, "inner", {"job_id": "inner"})
        return (Tensor(size),)

nodes.NODE_CLASS_MAPPINGS.update(Nest=Nest)
workflow("nested", n1=("Nest", {"value": 1, "size": 2 << 20}), n2=("Show", {"value": ("1", 0)}))
"""


@pytest.mark.parametrize("generation", ["r4", "x1"])
def test_a_node_that_runs_a_prompt_works_for_itself_again(gpu, generation):
    _, traces, _ = gpu(ENDS[-1], generation, "async").run(NESTED)
    assert figures(node(traces["nested"], "1"))["alloc_bytes"] == 2 * MIB


@pytest.mark.parametrize("version", PYTHONS)
def test_overlapping_async_nodes(gpu, version):
    """Told apart where sys.monitoring is; the workflow's elsewhere."""
    program = """
workflow("job", n1=("Number", {"value": 1}),
         n2=("AsyncUse", {"value": ("1", 0), "size": 1 << 20, "count": 3}),
         n3=("AsyncUse", {"value": ("1", 0), "size": 16 << 20, "count": 5}),
         n4=("Show", {"value": ("2", 0)}), n5=("Show", {"value": ("3", 0)}))
"""
    _, traces, _ = gpu(version, "a3", "async").run(program)
    both = [figures(node(traces["job"], n)) for n in "23"]
    root = traces["job"].root["metrics"]
    assert (root["memory.vram.alloc_count"], root["memory.vram.alloc_bytes"]) == (8, 83 * MIB)
    counts = [(each["alloc_count"], each["alloc_bytes"]) for each in both]
    if version in ("3.9", "3.10", "3.11"):
        assert all(count <= whole for count, whole in zip(counts, [(3, 3 * MIB), (5, 80 * MIB)]))
    else:
        assert counts == [(3, 3 * MIB), (5, 80 * MIB)]


@pytest.mark.parametrize("ends", [False, True], ids=["waits", "has ended"])
@pytest.mark.parametrize("version", [version for version in PYTHONS if version not in ("3.9", "3.10", "3.11")])
def test_what_the_event_loop_does_while_an_async_node(gpu, version, ends):
    """is not that node's: a callback that runs between the steps of tasks."""
    program = f"""
kept, woken, done = [], asyncio.Event(), asyncio.Event()

def wake():
    woken.set()
    asyncio.get_running_loop().call_soon(allocate)  # right after the step of the node that has been woken

def allocate():
    kept.append(Tensor(7 << 20))
    done.set()

class Callback(nodes.Node):
    INPUTS = {{"value": {{}}}}

    async def run(self, value):
        asyncio.get_running_loop().call_soon(wake)
        await woken.wait()
        if not {ends}:
            await done.wait()
        return (value,)

class Other(nodes.Node):
    INPUTS = {{"value": {{}}}}

    async def run(self, value):
        await done.wait()
        return (value,)

nodes.NODE_CLASS_MAPPINGS.update({{"Callback": Callback, "Other": Other}})
workflow("job", n1=("Keep", {{"value": 1, "size": 512, "device": 0}}), n2=("Callback", {{"value": ("1", 0)}}),
         n3=("Other", {{"value": ("1", 0)}}), n4=("Show", {{"value": ("2", 0)}}), n5=("Show", {{"value": ("3", 0)}}))
"""
    _, traces, _ = gpu(version, "a3", "async").run(program)
    assert figures(node(traces["job"], "2"))["alloc_bytes"] == 0
    assert traces["job"].root["metrics"]["memory.vram.alloc_bytes"] == 7 * MIB + 512


@every_backend
@pytest.mark.parametrize("version", ENDS)
def test_allocation_tracking(gpu, version, backend):
    program = """
def load():
    return Tensor(30 << 20)

class Load(nodes.Node):
    def run(self):
        return (load(),)

nodes.NODE_CLASS_MAPPINGS["Load"] = Load
workflow("job", n1=("Load", {}), n2=("Use", {"value": ("1", 0), "sizes": str(1 << 20)}), n3=("Show", {"value": ("2", 0)}))
"""
    said, traces, err = gpu(version, "a3", backend).run(program, PYTORCH_MEMORY_TRACKING="true")
    root = traces["job"].root
    metrics = root["metrics"]
    assert metrics["memory.pytorch.allocated_bytes.after"] == said["job"]["allocated"][0] == 30 * MIB
    assert metrics["memory.pytorch.reserved_bytes.after"] == said["job"]["reserved"][0]
    assert metrics["memory.pytorch.num_ooms.after"] == 0
    assert metrics["memory.pytorch.largest_mb.after"] == metrics["memory.pytorch.cuda_mb.after"] == 30
    assert metrics["memory.pytorch.num_cuda_allocations.after"] == 1
    info = root["meta"]["memory.pytorch.largest_info.after"]
    assert info.startswith("30.0 MB on GPU 0 by Load (node 1): ")
    assert "load" in info and "run" in info
    (line,) = [line for line in err.splitlines() if "GPU allocation 1 of 1" in line]
    assert "30.0 MB on GPU 0 by Load (node 1): " in line and "load," in line and "run" in line  # all in one line


def test_the_five_largest(gpu):
    sizes = [3, 9, 1, 7, 20, 5, 8]  # MiB
    program = f"""
class Load(nodes.Node):
    def run(self):
        return ([Tensor(size << 20) for size in {sizes}],)

nodes.NODE_CLASS_MAPPINGS["Load"] = Load
workflow("job", n1=("Load", {{}}), n2=("Show", {{"value": ("1", 0)}}))
"""
    _, traces, err = gpu(ENDS[-1], "a3", "async").run(program, PYTORCH_MEMORY_TRACKING="true")
    root, largest = traces["job"].root, sorted(sizes)[:-6:-1]
    info = [line for line in root["meta"]["memory.pytorch.largest_info.after"].splitlines() if " on GPU " in line]
    assert [line.split(" MB ")[0] for line in info] == [f"{size}.0" for size in largest]
    logged = [line.split(": ")[2] for line in err.splitlines() if "GPU allocation " in line]
    assert [line.split(" MB ")[0] for line in logged] == [f"{size}.0" for size in largest]
    assert root["metrics"]["memory.pytorch.largest_mb.after"] == 20
    assert root["metrics"]["memory.pytorch.num_cuda_allocations.after"] == len(sizes)


@pytest.mark.parametrize("sample", [0, 1, 1 << 40])
def test_how_often_stacks_are_taken_changes_no_figure(gpu, sample):
    """COMFYDD_STACK_SAMPLE_BYTES: one of every allocation, or of none."""
    program = """
workflow("job", n1=("Keep", {"value": 0, "size": 30 << 20, "device": 0}), n2=("Use", {"value": ("1", 0), "sizes": "512 " * 200}),
         n3=("Show", {"value": ("2", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "async").run(
        program, PYTORCH_MEMORY_TRACKING="true", COMFYDD_STACK_SAMPLE_BYTES=str(sample))
    root = traces["job"].root
    assert ("gpu_program.py" in root["meta"]["memory.pytorch.largest_info.after"]) == (sample < 2)
    assert figures(node(traces["job"], "2"))["alloc_count"] == 200
    assert root["metrics"]["memory.vram.peak_bytes"] == (30 << 20) + 200 * 512
    assert root["metrics"]["memory.pytorch.allocated_bytes.after"] == 30 << 20


def test_more_owners_than_there_is_room_for(gpu):
    """Nodes that own something live, until nobody can be noted any more: what is not known is not said, what is stays right."""
    program = """
nodes_of_it = {"n0": ("Keep", {"value": 0, "size": 512, "device": 0})}
for number in range(1, 4200):
    nodes_of_it[f"n{number}"] = ("Keep", {"value": (str(number - 1), 0), "size": 512, "device": 0})
workflow("job", **nodes_of_it, nlast=("Show", {"value": (str(number), 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "async").run(program)
    root = traces["job"].root["metrics"]
    assert root["memory.vram.peak_bytes"] == root["memory.vram.delta_bytes"] == 4200 * 512
    assert root["memory.vram.alloc_count"] == 4200
    spans = [figures(span) for span in traces["job"].nodes if span["meta"]["node.class_type"] == "Keep"]
    assert all(span["delta_bytes"] == 512 and span.get("alloc_count", 1) == 1 for span in spans)
    assert 0 < sum("alloc_count" not in span for span in spans) < len(spans) / 2


def test_nodes_that_never_ran_take_up_no_room(gpu):
    """They only waited for an input that failed, in a recursive executor."""
    program = """
class Fail(nodes.Node):
    def run(self):
        raise ValueError("not today")

nodes.NODE_CLASS_MAPPINGS["Fail"] = Fail
waiting = {f"n{n}": ("Use", {"value": (str(n - 1), 0), "sizes": ""}) for n in range(1, 100)}
for number in range(45):
    workflow(f"failing{number}", n0=("Fail", {}), **waiting, n100=("Show", {"value": ("99", 0)}))
workflow("job", n1=("Keep", {"value": 0, "size": 512, "device": 0}), n2=("Show", {"value": ("1", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "r4", "native").run(program)
    assert figures(node(traces["job"], "1"))["alloc_count"] == 1


LOOKUPS = {
    "the driver by name": "driver.cuMemAlloc_v2",
    "cuGetProcAddress": "proc_address(driver.cuGetProcAddress)",
    "cuGetProcAddress_v2": "proc_address(driver.cuGetProcAddress_v2, None)",
    "the driver's own cuGetProcAddress": "proc_address(function(proc_address(driver.cuGetProcAddress, name=b'cuGetProcAddress')), None)",
    "cudaGetDriverEntryPoint": "entry_point(runtime.cudaGetDriverEntryPoint, 0)",
    "cudaGetDriverEntryPointByVersion": "entry_point(runtime.cudaGetDriverEntryPointByVersion, 12000, 0)",
    "the runtime by name": "runtime.cudaMalloc",
    "the runtime by name of the program": "ctypes.CDLL(None).cudaMalloc",
    "another runtime": "ctypes.CDLL('libcudart.so.12').cudaMalloc",
}


@pytest.mark.parametrize("way", LOOKUPS)
def test_however_a_library_finds_the_driver(gpu, way):
    """numba and ctypes by name, cuda-python by cuGetProcAddress, PyTorch and TransformerEngine by the runtime's entry points, CuPy by
    the runtime's names."""
    program = f"""
driver, runtime = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libcudart.so.13", ctypes.RTLD_GLOBAL)
runtime.cudaFree(None)

def proc_address(function, *status, name=b"cuMemAlloc"):
    found = ctypes.c_void_p()
    assert function(name, ctypes.byref(found), 12000, ctypes.c_uint64(0), *status) == 0
    return found.value

def entry_point(function, *more):
    found, status = ctypes.c_void_p(), ctypes.c_int()
    arguments = [ctypes.c_ulonglong(value) for value in more]
    assert function(b"cuMemAlloc", ctypes.byref(found), *arguments, ctypes.byref(status)) == 0
    return found.value

def function(found):
    return ctypes.CFUNCTYPE(ctypes.c_int)(found) if isinstance(found, int) else found

class Other(nodes.Node):
    def run(self):
        pointer = ctypes.c_void_p()
        allocate = function({LOOKUPS[way]})
        allocate.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        assert allocate(ctypes.byref(pointer), 5 << 20) == 0
        return (pointer.value,)

nodes.NODE_CLASS_MAPPINGS["Other"] = Other
workflow("job", n1=("Other", {{}}), n2=("Show", {{"value": ("1", 0)}}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "native").run(program)
    found = figures(node(traces["job"], "1"))
    assert (found["alloc_count"], found["alloc_bytes"], found["delta_bytes"]) == (1, 5 * MIB, 5 * MIB)


def test_a_gpu_that_only_the_child_of_a_fork_uses(gpu):
    """As multiprocessing's fork from a parent that has not touched CUDA; and a second child, which only starts a program."""
    program = """
import os, subprocess
workflow("parent", n1=("Number", {"value": 1}), n2=("Show", {"value": ("1", 0)}))
child = os.fork()
if child == 0:
    workflow("child", n1=("Keep", {"value": 0, "size": 3 << 20, "device": 0}), n2=("Show", {"value": ("1", 0)}))
    subprocess.run(["/bin/true"], check=True)
    workflow("again", n1=("Keep", {"value": 1, "size": 4 << 20, "device": 0}), n2=("Show", {"value": ("1", 0)}))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    _, traces, _ = gpu(ENDS[-1], "r4", "native").run(program)
    assert "memory.vram.peak_bytes" not in traces["parent"].root["metrics"]
    assert figures(node(traces["child"], "1"))["delta_bytes"] == 3 * MIB
    assert traces["child"].root["metrics"]["memory.vram.peak_bytes"] == 3 * MIB
    assert figures(node(traces["again"], "1"))["alloc_bytes"] == 4 * MIB


def test_what_the_parent_of_a_fork_has_is_not_the_childs(gpu):
    program = """
import os
workflow("parent", n1=("Keep", {"value": 0, "size": 3 << 20, "device": 0}), n2=("Show", {"value": ("1", 0)}))
child = os.fork()
if child == 0:
    workflow("child", n1=("Number", {"value": 1}), n2=("Show", {"value": ("1", 0)}))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
workflow("after", n1=("Number", {"value": 1}), n2=("Show", {"value": ("1", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "r4", "native").run(program)
    assert "memory.vram.peak_bytes" not in traces["child"].root["metrics"]
    assert traces["after"].root["metrics"]["memory.vram.peak_bytes"] == 3 * MIB


def test_without_a_gpu_there_are_no_gpu_tags(gpu):
    program = """
workflow("job", n1=("Number", {"value": 1}), n2=("Show", {"value": ("1", 0)}))
"""
    _, traces, _ = gpu(ENDS[-1], "a3", "native").run(program)
    for span in [traces["job"].root, *traces["job"].nodes]:
        assert not [name for name in span["metrics"] if "vram" in name or name.startswith("gpu.")]
