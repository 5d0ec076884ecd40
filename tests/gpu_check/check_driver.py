"""What the driver answers: addresses, rounding of its pools, names of devices."""

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
    absent = f"; the driver has no {few(bare['absent'])}" if bare["absent"] else ""
    for which, name in (("v1", "cuGetProcAddress"), ("v2", "cuGetProcAddress_v2")):
        asked, differ = bare["asked"][which], bare["differ"][which]
        figures = f"{asked - len(differ)} of {asked} questions (function, version, stream flags)"
        figures += f", others: {few(differ)}" if differ else ""
        yield judge(f"{name} answers the exported address", asked and not differ, figures + absent)
    asked, without = sum(hooked["asked"].values()), hooked["unhooked"]
    figures = f"{asked - len(without)} of {asked}" + (f", others: {few(without)}" if without else "")
    yield judge("with the library, it answers a hook", asked and not without, figures)


def rounding(machine):
    grown = machine.run("pool_rounding", machine.runtime("shared"))
    figures = ", ".join(f"{size}: {got}" for size, got in grown)
    right = all(got == -(-size // UNIT) * UNIT for size, got in grown)
    yield judge(f"a pool charges multiples of {UNIT} bytes", right, figures)


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
    figures = f"{len(ours)} devices, {few([name for _, name in ours])}"
    figures += f"; not there: {few(wrong)}; there: {few([' '.join(device) for device in theirs])}" if wrong else ""
    yield judge(f"uuid and name are those of {who}", ours and not wrong, figures)
