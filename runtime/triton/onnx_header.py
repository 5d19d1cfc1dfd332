"""Reads what the lint needs out of an ONNX file, without onnx and without loading the weights.

A file is a protobuf message: fields of a number, a wire type and a value, one after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mavos_deploy.errors import InputError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
# Field numbers of onnx.proto.
IR_VERSION, GRAPH, OPSET_IMPORT = 1, 7, 8  # ModelProto
INPUT, OUTPUT = 11, 12  # GraphProto
NAME = 1  # ValueInfoProto; its type is field 2
ELEMENT_TYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 10: "float16"}

Value = int | memoryview  # of a field
Tensor = tuple[str, tuple[int, ...]]  # type and shape


@dataclass(frozen=True)
class OnnxHeader:
    """What an ONNX file says of itself.

    Attributes:
        ir_version: Of the format.
        opset: Of the standard operators.
        inputs: Type and shape by name; -1 where an extent may vary.
        outputs: Likewise.
    """

    ir_version: int
    opset: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def read_header(path: Path) -> OnnxHeader:
    """Read a file's versions and its graph's inputs and outputs.

    Raises:
        InputError: The file is missing or no ONNX.
    """
    try:
        ir_version, opset, graph = 0, 0, memoryview(b"")
        for number, value in _fields(memoryview(path.read_bytes())):
            if number == IR_VERSION and isinstance(value, int):
                ir_version = value
            elif number == GRAPH:
                graph = _message(value)
            elif number == OPSET_IMPORT:
                entry = dict(_fields(_message(value)))
                if not bytes(_message(entry.get(1, memoryview(b"")))):  # the standard operators
                    opset = _number(entry[2])
        if not ir_version or not graph:
            raise ValueError("no graph")
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        for number, value in _fields(graph):
            if number in (INPUT, OUTPUT):
                name, tensor = _value_info(_message(value))
                (inputs if number == INPUT else outputs)[name] = tensor
        return OnnxHeader(ir_version, opset, inputs, outputs)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror})") from None
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no ONNX file, or is damaged ({error})") from None


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == VARINT:
            number, position = _varint(message, position)
            yield tag >> 3, number
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(wire)
        if wire == BYTES:
            length, position = _varint(message, position)
        if length is None or position + length > len(message):
            raise ValueError("not protobuf")
        yield tag >> 3, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("not protobuf")


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in place of a message")
    return value


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("a message in place of a number")
    return value


def _value_info(message: memoryview) -> tuple[str, Tensor]:
    """Name, type and shape of a tensor: ValueInfoProto, TypeProto.Tensor, TensorShapeProto."""
    info = dict(_fields(message))
    tensor = dict(_fields(_message(dict(_fields(_message(info[2])))[1])))
    extents = _fields(_message(tensor.get(2, memoryview(b""))))
    # Field 1 of an extent is a number, field 2 a name; neither means unknown.
    shape = tuple(_number(dict(_fields(_message(extent))).get(1, -1)) for _, extent in extents)
    element = _number(tensor[1])
    return bytes(_message(info[NAME])).decode(), (
        ELEMENT_TYPES.get(element, f"type {element}"),
        shape,
    )
