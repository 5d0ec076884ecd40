#!/usr/bin/env python3
"""Writes the corpus of fuzz_flight_view: small flight memories, one per thing that the reader must handle.

The layout is written down here a second time, independently of include/comfydd/flight.h; tests/unit/test_flight_view.c
reads some of the seeds, so that the two cannot part unnoticed.
usage: make_flight_view_corpus.py [FOLDER]        FOLDER: tests/fuzz/corpus/flight_view"""
import pathlib
import struct
import sys

MAGIC = int.from_bytes(b"CDFLIGHT", "little")
HEADER = struct.Struct("<Q II Q II II I III QQ i I Q 40s QQ QQQ 128x")
SPAN = struct.Struct("<QQQ ddd bbB5x QQ QQ Q HBBI")
SLOT = struct.Struct("<I4xQ")
RECORD = struct.Struct("<II")
TEXT, NUMBER = 1, 2
FREE, TAKEN, OPEN = 0, 1, 2
WANTED, SENT, PADDING = 1, 2, 3
NAMES = b"<resource>\0service\0node.id\0"
SLOT_SIZE, SLOTS, RING = 256, 3, 1024


def tag(key, kind, value):
    return struct.pack("<HHI", key, kind, len(value)) + value + bytes(-len(value) % 8)


RESOURCE = tag(0, TEXT, b"KSampler")
COUNT = tag(2, NUMBER, struct.pack("<d", 2))


def span(span_id, tags, end=0, waiting=0, priority=1):
    trace = 1, 2, 3, -1.0, 0.5, -1.0, priority, 1, 0
    return SPAN.pack(*trace, span_id, 3, 1000, end, 0, 2, 0, waiting, len(tags)) + tags


def slot(span_id, tags=b"", state=OPEN, closing_at=0, waiting=0):
    return (SLOT.pack(state, closing_at) + span(span_id, tags, waiting=waiting)).ljust(SLOT_SIZE, b"\0")


def record(span_id, tags=b"", state=WANTED):
    content = span(span_id, tags, end=2000)
    return RECORD.pack(RECORD.size + len(content), state) + content


def padding(size):
    return RECORD.pack(size, PADDING).ljust(size, b"\0")


def memory(slots=(), ring=b"", tail=0, version=1, names=NAMES):
    """A whole mapping; the ring's bytes stand where they belong when `tail` is its beginning."""
    identity = tag(1, TEXT, b"comfyui")
    keys = HEADER.size
    identity_at = keys + len(names) + -len(names) % 8
    slots_at = identity_at + len(identity)
    ring_at = slots_at + SLOT_SIZE * SLOTS
    header = HEADER.pack(
        MAGIC, version, HEADER.size, ring_at + RING, keys, len(names), identity_at, len(identity), len(identity),
        slots_at, SLOT_SIZE, SLOTS, ring_at, RING, 4711, 0, 12345, b"0b7e0b62-8e5c-4bd5-9d1c-3f6f2b7ac1d1",
        tail + len(ring), tail, 5, 2, 1)
    place = tail % RING
    turned = bytearray(RING)
    for i, byte in enumerate(ring):
        turned[(place + i) % RING] = byte
    table = b"".join(slots).ljust(SLOT_SIZE * SLOTS, b"\0")
    return (header + names).ljust(identity_at, b"\0") + identity + table + bytes(turned)


def seeds():
    two = record(21, RESOURCE + COUNT) + record(22, COUNT)
    last = record(23, RESOURCE)
    yield "empty", memory()
    yield "finished", memory(ring=two)
    yield "open", memory([slot(11, RESOURCE), slot(12, COUNT, waiting=1)])
    yield "finished_and_open", memory([slot(11, RESOURCE)], two)
    yield "some_sent", memory(ring=record(20, state=SENT) + two + record(24, RESOURCE, SENT))
    yield "left_over", memory([slot(22, COUNT, closing_at=len(two)), slot(13, closing_at=len(two) + 8)], two)
    yield "being_filled", memory([slot(11, RESOURCE, TAKEN), slot(12, RESOURCE, FREE), slot(13)])
    yield "wrapped", memory(ring=last + padding(40) + two, tail=5 * RING - len(last) - 40)
    yield "full", memory(ring=record(25, tag(0, TEXT, b"x" * (RING - 8 - RECORD.size - SPAN.size))))
    yield "odd_entries", memory([slot(11, tag(9, TEXT, b"?") + RESOURCE + tag(2, 3, b"later type") + COUNT)])
    yield "entry_too_long", memory(ring=record(21, RESOURCE + struct.pack("<HHI", 0, TEXT, 999)))
    yield "no_names", memory([slot(11, RESOURCE)], two, names=b"")
    yield "newer_version", memory(ring=two, version=2)
    yield "truncated", memory(ring=two)[:-1]
    yield "header_only", memory()[: HEADER.size]


def main():
    default = pathlib.Path(__file__).parent / "corpus" / "flight_view"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
