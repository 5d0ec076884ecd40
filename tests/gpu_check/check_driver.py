"""What the driver answers: addresses, rounding of its pools, where their memory is, names of devices."""

import re
import shutil
import subprocess

from machine import PROBE
from report import judge

UNIT = 512  # what the documents say that pools round up to


def few(items):
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")


def addresses(machine):
    bare, hooked = machine.run("addresses"), machine.run("addresses", preload=PROBE)
    versioned = [name for name in machine.driver_symbols() if "@" in name and name.startswith("cu")]
    yield judge(
        "the driver exports its functions without versions", "none with one: a linked program's calls are seen by hooks",
        not versioned, few(versioned) or "none")
    absent = f"; the driver has no {few(bare['absent'])}" if bare["absent"] else ""
    for which, name in (("v1", "cuGetProcAddress"), ("v2", "cuGetProcAddress_v2")):
        asked, differ = bare["asked"][which], bare["differ"][which]
        found = f"{asked - len(differ)}" + (f", others: {few(differ)}" if differ else "")
        yield judge(
            f"{name} answers the exported address", f"{asked} times (function, version, stream flags)",
            asked and not differ, found + absent)
    asked, without = sum(hooked["asked"].values()), hooked["unhooked"]
    found = f"{asked - len(without)}" + (f", others: {few(without)}" if without else "")
    yield judge("with the library, it answers a hook", f"{asked} times", asked and not without, found)


def rounding(machine):
    grown = machine.run("pool_rounding", machine.runtime("shared"))
    right = grown and all(got == -(-size // UNIT) * UNIT for size, got in grown)
    yield judge(
        "what a pool charges for some sizes", f"the next multiple of {UNIT} bytes", right,
        ", ".join(f"{got} for {size}" for size, got in grown))


def places(machine):
    for what, expected, found in machine.run("places"):
        yield judge(f"memory of {what}: its type and device", f"{expected}", found == expected, f"{found}")


def devices(machine):
    found = machine.run("devices", preload=PROBE)
    ours = [tuple(device) for device in found["ours"]]
    if shutil.which("nvidia-smi") and not machine.fake:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
        who = "nvidia-smi -L"
        gpus = re.findall(r"^GPU \d+: (.*) \(UUID: (GPU-[\w-]+)\)", done.stdout, re.MULTILINE)
        theirs = [(uuid, name) for name, uuid in gpus]
        name = theirs[0][1] if theirs else ""
        theirs += [(uuid, name) for uuid in re.findall(r"\(UUID: (MIG-[\w-]+)\)", done.stdout)]
    else:
        who, theirs = "NVML", [tuple(device) for device in found["nvml"] or []]
    same = {(uuid, name if uuid.startswith("GPU-") else "") for uuid, name in theirs}
    wrong = [f"{uuid} {name}" for uuid, name in ours if (uuid, name if uuid.startswith("GPU-") else "") not in same]
    yield judge(
        "uuid and name of the devices", f"those of {who}: {few([' '.join(device) for device in theirs]) or 'none'}",
        ours and not wrong, few([' '.join(device) for device in ours]) or "none")
