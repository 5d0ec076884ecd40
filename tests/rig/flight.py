"""What a flight memory file holds (include/comfydd/flight.h), read independently of the library's own reader."""

import dataclasses
import pathlib
import struct

HEADER = struct.Struct("<Q II Q II II I III QQ i I Q 40s QQ QQQ")
SPAN = struct.Struct("<QQQ ddd bbB5x QQ QQ Q HBBI")
SLOT = struct.Struct("<I4xQ")
RECORD = struct.Struct("<II")
WANTED, OPEN = 1, 2


@dataclasses.dataclass
class Flight:
    """Span ids as the strict agent names them: "TRACE:SPAN"."""

    pid: int
    finished: set  # not acknowledged
    open: set
    waiting: set


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
    flight = Flight(pid, set(), set(), set())
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
