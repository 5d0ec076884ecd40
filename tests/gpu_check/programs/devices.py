"""Which devices does the preloaded library see, and which does NVML? Prints {"ours": [[uuid, name]], "nvml": the same, or
null, "version": of CUDA, "driver": the driver's own, or null, "library": its path}."""

import ctypes
import re

import cuda

SIZE = 128


def nvml():
    try:
        library = cuda.Functions("libnvidia-ml.so.1")
    except OSError:
        return None
    count, found = ctypes.c_uint(), []
    library.nvmlInit_v2()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for index in range(count.value):
        handle, uuid, name = ctypes.c_void_p(), ctypes.create_string_buffer(SIZE), ctypes.create_string_buffer(SIZE)
        library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        library.nvmlDeviceGetUUID(handle, uuid, SIZE)
        library.nvmlDeviceGetName(handle, name, SIZE)
        found.append([uuid.value.decode(), name.value.decode()])
    return found


def driver_release():
    try:
        with open("/proc/driver/nvidia/version") as text:
            return re.search(r"\b(\d{3,}\.[\d.]+)", text.read())[1]
    except (OSError, TypeError):
        return None


def library_path():
    with open("/proc/self/maps") as maps:
        return next(line.split()[-1] for line in maps if "/libcuda.so" in line)


driver, library, ours = cuda.driver(), cuda.Library(), []
while device := library.device(len(ours)):
    ours.append(device)
version = cuda.driver_version(driver)
cuda.answer(
    {"ours": ours, "nvml": nvml(), "version": version, "driver": driver_release(), "library": library_path()}
)
