"""Real PyTorch, when there is one that has CUDA."""

from machine import PROBE, REPOSITORY, Unable
from report import judge, skip

ALLOCATORS = ("backend:native", "backend:cudaMallocAsync", "expandable_segments:True")
PROGRAMS = REPOSITORY / "tests/check_torch"
STEPS, MIB_AT_MOST = 10_000, 512


def torch(machine):
    try:
        python = machine.torch_python()
    except Unable as why:
        yield skip("PyTorch under three allocators, its out-of-memory, its profiler", str(why))
        return
    for allocator in ALLOCATORS:
        yield walk(machine, python, allocator)
        yield out_of_memory(machine, python, allocator)
    yield profiler(machine, python)


def walk(machine, python, allocator):
    done = machine.run(
        PROGRAMS / "walk.py", STEPS, MIB_AT_MOST, preload=PROBE, python=python, limit=900, PYTORCH_CUDA_ALLOC_CONF=allocator)
    found = ", ".join(f"{what} {count}" for what, count in done.items() if what not in ("peaks", "preloaded"))
    right = done["preloaded"] and done.get("allocated") and done.get("freed")
    expected = f"torch.cuda.memory_stats() at each of {STEPS} steps"
    return judge(f"{allocator}: the ledger", expected, right, found if right else f"not compared: {found}")


def out_of_memory(machine, python, allocator):
    how = dict(python=python, PYTORCH_CUDA_ALLOC_CONF=allocator)
    bare, hooked = machine.run("torch_out_of_memory", **how), machine.run("torch_out_of_memory", preload=PROBE, **how)
    right = bare["text"] and hooked["ours"] == hooked["ooms"] and {**hooked, "ours": None} == bare
    expected, found = (f"{run['text']!r}, {run['ooms']} counted, {run['small']} bytes afterwards" for run in (bare, hooked))
    found += f", {hooked['ours']} counted by comfydd"
    return judge(f"{allocator}: an out-of-memory", f"as without the library: {expected}", right, found)


def profiler(machine, python):
    question = "kernels that torch.profiler sees with the library"
    bare, hooked = (machine.run("torch_profiler", python=python, preload=preload)["kernels"] for preload in (None, PROBE))
    if machine.fake:
        return skip(question, "the fake runs no kernels")
    return judge(question, f"{bare}, as without", bare > 0 and hooked == bare, str(hooked))
