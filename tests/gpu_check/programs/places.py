"""Where does the driver say that stream-ordered memory is? Prints for each [what, [memory type, device] to be expected, what it says];
types are 1 for the host and 2 for a device, the host's device is not asked for."""

import ctypes

import cuda
from cuda import Location, Pointer, Size

HOST, DEVICE = 1, 2  # CU_MEMORYTYPE_…
MEMORY_TYPE, ORDINAL = 2, 9  # CU_POINTER_ATTRIBUTE_…
LOCATION_HOST = 2


class PoolProperties(ctypes.Structure):
    """CUmemPoolProps."""

    _fields_ = [("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location", Location), ("rest", Pointer * 9)]


def stream_on(device):
    context, stream = Pointer(), Pointer()
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    driver.cuCtxPushCurrent_v2(context)
    driver.cuStreamCreate(ctypes.byref(stream), 1)
    driver.cuCtxPopCurrent_v2(None)
    return stream


def place_of(pointer):
    memory, device = ctypes.c_uint(), ctypes.c_int()
    answers = (Pointer * 2)(ctypes.addressof(memory), ctypes.addressof(device))
    driver.cuPointerGetAttributes(2, (ctypes.c_int * 2)(MEMORY_TYPE, ORDINAL), answers, pointer)
    return [memory.value, device.value if memory.value == DEVICE else None]


def of_stream(device):
    pointer, stream = ctypes.c_uint64(), stream_on(device)
    driver.cuMemAllocAsync(ctypes.byref(pointer), Size(1 << 20), stream)
    found = place_of(pointer)
    driver.cuMemFreeAsync(pointer, stream)
    return [f"a stream of device {device}", [DEVICE, device], found]


def of_host():
    pool, pointer = Pointer(), ctypes.c_uint64()
    driver.cuMemPoolCreate(ctypes.byref(pool), ctypes.byref(PoolProperties(1, 0, Location(LOCATION_HOST, 0))))
    driver.cuMemAllocFromPoolAsync(ctypes.byref(pointer), Size(1 << 20), pool, None)
    found = place_of(pointer)
    driver.cuMemFreeAsync(pointer, None)
    return ["a pool of the host", [HOST, None], found]


driver, count = cuda.driver(), ctypes.c_int()
driver.cuDeviceGetCount(ctypes.byref(count))
cuda.answer([of_stream(device) for device in range(count.value)] + ([of_host()] if cuda.driver_version(driver) >= 13000 else []))
