"""A msgpack decoder that forgives nothing: what the v0.4 trace API does not have is an error, not a value.

str must be UTF-8, numbers are integers or float64, map keys are texts and never repeat, and nothing may follow the
value. bin and ext do not occur."""

import struct

MAX_DEPTH = 16


class Malformed(ValueError):
    """Says what is wrong and at which byte."""


def decode(payload):
    """The one value that `payload` is."""
    value, end = _value(payload, 0, 0)
    if end != len(payload):
        raise Malformed(f"{len(payload) - end} bytes follow the value at byte {end}")
    return value


_NUMBERS = {
    0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"),
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}
_TEXT_SIZES = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY_SIZES = {0xDC: 2, 0xDD: 4}
_MAP_SIZES = {0xDE: 2, 0xDF: 4}


def _size(payload, at, width):
    if at + width > len(payload):
        raise Malformed(f"ends within a size at byte {at}")
    return int.from_bytes(payload[at : at + width], "big"), at + width


def _text(payload, at, size):
    if at + size > len(payload):
        raise Malformed(f"ends within a text at byte {at}")
    try:
        return payload[at : at + size].decode("utf-8"), at + size
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error.reason} at byte {at + error.start}") from None


def _array(payload, at, size, depth):
    if size > len(payload) - at:
        raise Malformed(f"an array of {size} cannot be here, at byte {at}")
    items = []
    for _ in range(size):
        item, at = _value(payload, at, depth + 1)
        items.append(item)
    return items, at


def _map(payload, at, size, depth):
    if size > len(payload) - at:
        raise Malformed(f"a map of {size} cannot be here, at byte {at}")
    items = {}
    for _ in range(size):
        begin = at
        key, at = _value(payload, at, depth + 1)
        if type(key) is not str:
            raise Malformed(f"a key that is no text at byte {begin}")
        if key in items:
            raise Malformed(f"the key {key!r} again at byte {begin}")
        items[key], at = _value(payload, at, depth + 1)
    return items, at


def _value(payload, at, depth):
    if at >= len(payload):
        raise Malformed(f"ends before a value at byte {at}")
    if depth > MAX_DEPTH:
        raise Malformed(f"nested too deeply at byte {at}")
    kind = payload[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 256, at
    if 0xA0 <= kind <= 0xBF:
        return _text(payload, at, kind & 31)
    if kind <= 0x8F:
        return _map(payload, at, kind & 15, depth)
    if kind <= 0x9F:
        return _array(payload, at, kind & 15, depth)
    if kind in _NUMBERS:
        number = _NUMBERS[kind]
        if at + number.size > len(payload):
            raise Malformed(f"ends within a number at byte {at}")
        return number.unpack_from(payload, at)[0], at + number.size
    if kind in _TEXT_SIZES:
        return _text(payload, *reversed(_size(payload, at, _TEXT_SIZES[kind])))
    if kind in _ARRAY_SIZES:
        return _array(payload, *reversed(_size(payload, at, _ARRAY_SIZES[kind])), depth)
    if kind in _MAP_SIZES:
        return _map(payload, *reversed(_size(payload, at, _MAP_SIZES[kind])), depth)
    raise Malformed(f"a value of kind 0x{kind:02x} at byte {at - 1}")
