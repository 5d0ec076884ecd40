"""For every driver function of ours: is what cuGetProcAddress answers the exported address, and, with the library preloaded,
a hook of its? Prints {"version", "asked": {v1, v2}, "absent": [name], "differ": {v1, v2: [case]}, "unhooked": [case]}."""

import ctypes
import os

import api
import cuda

LEGACY, PER_THREAD = 1, 2
STREAMS = {0: (0, LEGACY, PER_THREAD), 1: (0, LEGACY), 2: (PER_THREAD,)}


def our_code():
    """Address ranges of the preloaded library."""
    path = os.environ.get("LD_PRELOAD")
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps if path and line.rstrip().endswith(path)]
    return [tuple(int(end, 16) for end in line[0].split("-")) for line in lines]


driver = cuda.driver()
library = driver.library
newest = cuda.driver_version(driver)
functions = [function for function in api.driver_functions() if function.since <= newest]
asked, differ, absent, unhooked = {"v1": 0, "v2": 0}, {"v1": [], "v2": []}, [], []


def address_of(name):
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value


def resolve(which, function, version, flags):
    out, status = ctypes.c_void_p(), ctypes.c_int()
    more = [ctypes.byref(status)] if which == "v2" else []
    get = library.cuGetProcAddress_v2 if which == "v2" else library.cuGetProcAddress
    error = get(function.base.encode(), ctypes.byref(out), version, ctypes.c_uint64(flags), *more)
    return None if error else out.value


def versions(function):
    """It is asked for as of its own version, and as of the driver's when nothing has replaced it since."""
    newer = [f for f in functions if f.base == function.base and f.streams == function.streams and f.since > function.since]
    return [function.since] if newer or newest == function.since else [function.since, newest]


mine = our_code()
for function in functions:
    if not hasattr(library, function.name):
        absent.append(function.name)
        continue
    for which in [which for which, get in (("v1", "cuGetProcAddress"), ("v2", "cuGetProcAddress_v2")) if hasattr(library, get)]:
        for version in versions(function):
            for flags in STREAMS[function.streams]:
                found = resolve(which, function, version, flags)
                case = f"{function.name} @{version} flags {flags}"
                asked[which] += 1
                if found != address_of(function.name):
                    differ[which].append(case if found else f"{case} (not found)")
                if not any(begin <= (found or 0) < end for begin, end in mine):
                    unhooked.append(f"{which} {case}")

cuda.answer({"version": newest, "asked": asked, "differ": differ, "absent": absent, "unhooked": unhooked})
