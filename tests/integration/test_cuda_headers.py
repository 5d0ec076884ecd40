"""Every function of CUDA's and HIP's headers that may give or take memory, or has a hand in that, is in cuda_api.def, or is here with
the reason why it is not. A new toolkit shows what it has brought: COMFYDD_TEST_CUDA_INCLUDE and COMFYDD_TEST_HIP_INCLUDE name
folders with other headers than the fake GPU's (hip/hip_runtime_api.h comes with the package triton, too)."""

import os
import pathlib
import re
import subprocess

import pytest
from programs import REPOSITORY

from rig import fake_cuda

# What a name must have in it to be looked at, and what shows that it only asks, sets or uses.
ABOUT_MEMORY = re.compile(
    "alloc|free|register|reserve|import|map|bind|multicast|mem(create|release|export|retain|pool)|(create|destroy).*memory|"
    "array(3d)?(create|destroy)|ctx(create|destroy|from|attach|detach)|primaryctx|device(reset|retain)|threadexit|"
    "begincapture|entrypoint|procaddress|exporttable|memgetinfo|ipc(open|close)mem|checkpoint", re.I
)
HARMLESS = re.compile(
    "Get(?!Proc|Driver|Export|Info)|Set|Params|Tensor|Tex|Surf|Semaphore|Callback|Notification|TrimTo|AddDevice"
)

LEFT_OUT = {
    "a pool: what is allocated from it counts": "MemPoolCreate MemPoolDestroy",
    "another process's memory": """
        MemImportFromShareableHandle MemExportToShareableHandle MemPoolImportFromShareableHandle MemPoolExportToShareableHandle
        MemPoolImportPointer MemPoolExportPointer IpcOpenMemHandle IpcOpenMemHandle_v2 IpcCloseMemHandle""",
    "another API's memory (Vulkan, OpenGL)": """
        ImportExternalMemory DestroyExternalMemory GraphicsMapResources GraphicsUnmapResources GraphicsUnregisterResource""",
    "addresses, no memory": "MemAddressReserve MemAddressFree",
    "a graph's": "GraphAddMemAllocNode GraphAddMemFreeNode DrvGraphAddMemFreeNode",
    "of sparse arrays and of several devices, whose handles are hooked": """
        MemMapArrayAsync MulticastCreate MulticastBindMem MulticastBindAddr MulticastBindMem_v2 MulticastBindAddr_v2 MulticastUnbind""",
    "32-bit or older than CUDA 11: not what a program of today is given": """
        MemAlloc MemAllocHost MemAllocPitch MemFree MemGetInfo MemHostRegister ArrayCreate Array3DCreate
        CtxCreate CtxDestroy CtxAttach CtxDetach StreamBeginCapture""",
    "a part of the device, whose context is hooked when it becomes one": "GreenCtxCreate GreenCtxDestroy ExecutionCtxDestroy",
    "the whole process is put aside": "CheckpointProcess(Checkpoint|Restore|Lock|Unlock)",
    "private": "GetExportTable",
}  # by name without its prefix
RUNTIME = {"begins with the driver's, which is hooked": "StreamBeginCapture StreamBeginCaptureToGraph"}
HIP = {
    "does nothing there": "DevicePrimaryCtxRetain DevicePrimaryCtxRelease DevicePrimaryCtxReset CtxCreate CtxDestroy",
    "documented as not seen": "GetProcAddress GetDriverEntryPoint StreamBeginCapture StreamBeginCaptureToGraph",
}


def functions(header, prefix, *options):
    """What a header declares, without the prefix; old ABIs included."""
    source = f"#define __CUDA_API_VERSION_INTERNAL\n#include <{header}>\n"
    command = ["cc", "-E", "-P", "-x", "c", *options, "-"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True, timeout=60).stdout
    found = set(re.findall(rf"\b(?:CUresult|cudaError_t|hipError_t)\s+{prefix}([A-Z]\w*)\s*\(", text))
    assert len(found) > 300
    return found


def listed(kind, prefix):
    text = (REPOSITORY / "src/cuda/cuda_api.def").read_text()
    return set(re.findall(rf"^{kind}\({prefix}(\w+),", text, re.M))


def is_left_out(name, *reasons):
    base = re.sub("_(ptsz|ptds|spt)$", "", name)
    return any(re.fullmatch(word, base) for table in reasons for words in table.values() for word in words.split())


def missing(declared, hooked, *reasons):
    asked_for = {name for name in declared if ABOUT_MEMORY.search(name) and not HARMLESS.search(name)}
    return sorted(name for name in asked_for - hooked if not is_left_out(name, *reasons))


@pytest.fixture
def cuda():
    return os.environ.get("COMFYDD_TEST_CUDA_INCLUDE") or fake_cuda.build() / "include"


@pytest.mark.parametrize(
    "header, prefix, kind, reasons",
    [("cuda.h", "cu", "DRIVER", [LEFT_OUT]), ("cuda_runtime_api.h", "cuda", "RUNTIME", [LEFT_OUT, RUNTIME])],
)
def test_every_function_of_cuda_about_memory_is_hooked_or_left_out_for_a_reason(cuda, header, prefix, kind, reasons):
    declared = functions(header, prefix, "-I", cuda)
    hooked = listed(kind, prefix)
    assert missing(declared, hooked, *reasons) == []
    assert missing(declared, hooked - {"MemAllocManaged", "MallocManaged"}, *reasons) != []
    assert hooked & {"MemAlloc_v2", "Malloc"}


def test_every_function_of_hip_about_memory_is_hooked_or_left_out_for_a_reason():
    include = pathlib.Path(os.environ.get("COMFYDD_TEST_HIP_INCLUDE", "/opt/rocm/include"))
    if not include.exists():
        pytest.skip("no headers of HIP here")
    declared = functions("hip/hip_runtime_api.h", "hip", "-I", include, "-D__HIP_PLATFORM_AMD__")
    assert missing(declared, listed("HIP", "hip"), LEFT_OUT, HIP) == []
