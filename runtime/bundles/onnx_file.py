"""Looks into ONNX files without the package onnx: whether one reads its weights from elsewhere.

A graph is handed to its library as bytes, and a library may then look for such weights in the
current folder.

Source: onnx.proto of ONNX, and the encoding of Protocol Buffers.
"""

from collections.abc import Iterator

from mavos_deploy.errors import BundleError

VARINT, FIXED64, BYTES, GROUP, END, FIXED32 = range(6)  # wire types
EXTERNAL = 1  # TensorProto.DataLocation
DEEPEST = 100  # messages within messages, as in Protocol Buffers
LOW = (1 << 32) - 1  # bits that count in a key and in an enumeration

# Fields of each message that lead to tensors, with the message that they hold.
_TENSOR, _SPARSE, _ATTRIBUTE, _NODE, _GRAPH, _FUNCTION, _MODEL, _TRAINING = range(8)
_LEADS: dict[int, dict[int, int]] = {
    _TENSOR: {},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _ATTRIBUTE: {
        5: _TENSOR,
        6: _GRAPH,
        10: _TENSOR,
        11: _GRAPH,
        22: _SPARSE,
        23: _SPARSE,
    },
    _NODE: {5: _ATTRIBUTE},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
}
_EXTERNAL_DATA, _LOCATION = 13, 14  # fields of TensorProto


def refuse_external_data(content: bytes | memoryview, name: str) -> None:
    """Refuse a graph of which a part lies in another file.

    What is no message of Protocol Buffers passes, since every library refuses it in its own words.

    Args:
        content: The ONNX file.
        name: Name of the file, for errors.

    Raises:
        BundleError: It has such a part.
    """
    try:
        external = _refers(memoryview(content), _MODEL, 0)
    except (ValueError, IndexError):
        return
    if external:
        raise BundleError(
            f"{name} has weights in another file, which no hash covers; export the bundle again"
        )


def _refers(message: memoryview, kind: int, depth: int) -> bool:
    if depth > DEEPEST:
        raise ValueError("too deep")
    leads = _LEADS[kind]
    for field, value in _fields(message):
        if isinstance(value, memoryview):
            if kind == _TENSOR and field == _EXTERNAL_DATA:
                return True
            if field in leads and _refers(value, leads[field], depth + 1):
                return True
        elif kind == _TENSOR and field == _LOCATION and value & LOW == EXTERNAL:
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of a message's fields in order, but for groups, which ONNX has none of."""
    place, groups = 0, 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = (key & LOW) >> 3, key & 7
        value: int | memoryview = 0
        if wire in (GROUP, END):
            groups += 1 if wire == GROUP else -1
            if not 0 <= groups <= DEEPEST:
                raise ValueError("groups that don't fit")
            continue
        if wire == VARINT:
            value, place = _varint(message, place)
        elif wire in (FIXED64, BYTES, FIXED32):
            length = {FIXED64: 8, FIXED32: 4}.get(wire, 0)
            if wire == BYTES:
                length, place = _varint(message, place)
            if length > len(message) - place:
                raise ValueError("cut off")
            value = message[place : place + length]
            place += length
        else:
            raise ValueError(f"wire type {wire}")
        if not groups:
            yield number, value
    if groups:
        raise ValueError("a group without an end")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than 64 bits")
