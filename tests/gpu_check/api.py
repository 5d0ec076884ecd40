"""The hooked functions, from the one list of them: src/cuda/cuda_api.def."""

import pathlib
import re
from typing import NamedTuple

LIST = pathlib.Path(__file__).resolve().parents[2] / "src/cuda/cuda_api.def"
ALLOCATING = ("ALLOCATES", "ALLOCATES_ASYNC", "ALLOCATES_FROM_POOL", "REGISTERS", "PITCHES", "PITCHES_3D", "ARRAYS", "CREATES")
FREEING = ("FREES", "RELEASES")


class DriverFunction(NamedTuple):
    name: str  # as it is exported
    base: str  # as cuGetProcAddress knows it,
    since: int  # from this version on
    streams: int  # 2: the twin with a default stream for each thread; 1: the one without; 0: there is but one
    effect: str


def driver_functions():
    text = re.sub(r"/\*.*?\*/", "", LIST.read_text(), flags=re.DOTALL)
    rows = re.findall(r'^DRIVER\((\w+), "(\w+)", (\d+), (\d),(.*?)(?=^\w+\(|\Z)', text, re.DOTALL | re.MULTILINE)
    return [
        DriverFunction(name, base, int(since), int(streams), re.findall(r"\b[A-Z][A-Z_0-9]{3,}\b", rest)[0])
        for name, base, since, streams, rest in rows
    ]
