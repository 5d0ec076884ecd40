"""What a flight memory file holds (include/comfydd/flight.h), read independently of the library's own reader."""

import dataclasses
import os
import pathlib
import struct
import time

HEADER = struct.Struct("<Q II Q II II I III QQ i I Q 40s QQ QQQ")
SPAN = struct.Struct("<QQQ ddd bbB5x QQ QQ Q HBBI")
SLOT = struct.Struct("<I4xQ")
RECORD = struct.Struct("<II")
PID, START, BOOT_ID = 14, 16, 17  # their places in it
ALIVE, VRAM_PEAK, REPLACED = HEADER.size + 16, HEADER.size + 48, HEADER.size + 72  # bytes before those fields
WANTED, OPEN = 1, 2


@dataclasses.dataclass
class Flight:
    """Span ids as the strict agent names them: "TRACE:SPAN"."""

    pid: int
    finished: set  # not acknowledged
    open: set
    waiting: set
    replaced: bool = False  # by another program of the same process, which has noted that


def _span(content, offset):
    fields = SPAN.unpack_from(content, offset)
    trace_low, span_id, kind_error_waiting = fields[1], fields[9], fields[14:17]
    return f"{trace_low}:{span_id}", kind_error_waiting[2]


def read(path):
    """A memory whose process is still making it holds nothing."""
    content = pathlib.Path(path).read_bytes()
    if content[:8] != b"CDFLIGHT":
        return Flight(0, set(), set(), set())
    (_, _, _, _, _, _, _, _, _, slots, slot_size, slot_count, ring, ring_size, pid, _, _, _, head, tail, *_) = (
        HEADER.unpack_from(content)
    )
    flight = Flight(pid, set(), set(), set(), any(content[REPLACED : REPLACED + 4]))
    while tail < head:
        at = ring + tail % ring_size
        size, state = RECORD.unpack_from(content, at)
        if state == WANTED:
            flight.finished.add(_span(content, at + RECORD.size)[0])
        tail += size
    for at in range(slots, slots + slot_size * slot_count, slot_size):
        state, closing_at = SLOT.unpack_from(content, at)
        if state == OPEN and not (closing_at and closing_at <= head):
            span, waiting = _span(content, at + SLOT.size)
            (flight.waiting if waiting else flight.open).add(span)
    return flight


def _own():
    """A descriptor of this process's. It stays open: closing it would end its owner's lock."""
    (path,) = pathlib.Path(os.environ["COMFYDD_FLIGHT_FOLDER"]).glob(f"comfydd-*-{os.getpid()}-*")
    return os.open(path, os.O_RDWR)


def set_alive(seconds):
    """Says when this process gave its last sign of life."""
    os.pwrite(_own(), struct.pack("<Q", int(seconds * 1e9)), ALIVE)


def wait_for_vram(peak):
    """Until the library has noted that this process's workflow has had so many bytes of GPU memory."""
    file = _own()
    while struct.unpack("<Q", os.pread(file, 8, VRAM_PEAK))[0] < peak:
        time.sleep(0.01)


def move_to_another_boot(path):
    """As if the machine had been restarted since; the pid in it is that of somebody who runs now: us."""
    number = "00000000-0000-4000-8000-000000000000"
    start = int(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    with open(path, "r+b") as file:
        header = [*HEADER.unpack(file.read(HEADER.size))]
        header[PID], header[START], header[BOOT_ID] = os.getpid(), start, number.encode()
        file.seek(0)
        file.write(HEADER.pack(*header))
