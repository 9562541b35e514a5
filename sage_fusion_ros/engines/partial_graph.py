"""Cuts an ONNX file down to what some of its outputs need.

ONNX Runtime runs the whole graph whichever outputs are asked for: `only_execute_path_to_fetches` is for its training
builds, and nodes that lead nowhere are not removed (onnxruntime 16013, 27615). So they are taken out beforehand. The
package onnx is not asked for on a robot; of its format no more is needed than to tell nodes apart: a message is a row
of fields, each a number, a kind and its content (protobuf's encoding), and the fields' numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sage_fusion_ros.errors import ModelError

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_VALUE_NAME, _TENSOR_NAME = 1, 8
_LONGEST_VARINT = 63  # bits before the last byte
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def only_outputs(model: bytes, outputs: Sequence[str]) -> bytes:
    """The same network with some of its outputs alone, and without the nodes that only the others need.

    Args:
        model: An ONNX file.
        outputs: Names of the outputs to keep.

    Raises:
        ModelError: The bytes are no ONNX file, or it has no such output.
    """
    try:
        parts = []
        for number, whole, content in fields_of(memoryview(model)):
            if number == _MODEL_GRAPH:
                graph = b"".join(_cut(content, outputs))
                parts.append(_tag(_MODEL_GRAPH) + _varint(len(graph)) + graph)
            else:
                parts.append(bytes(whole))
    except (IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"these {len(model)} bytes are no ONNX file: {error}") from error
    return b"".join(parts)


def port_names(model: bytes) -> tuple[list[str], list[str]]:
    """Names of a network's inputs and outputs in the order of its file, an ONNX file that has been looked at before."""
    names: dict[int, list[str]] = {_GRAPH_INPUT: [], _GRAPH_OUTPUT: [], _GRAPH_INITIALIZER: []}
    for number, _, graph in fields_of(memoryview(model)):
        if number == _MODEL_GRAPH:
            for part, _, content in fields_of(graph):
                if part in names:
                    names[part] += _names(content, _TENSOR_NAME if part == _GRAPH_INITIALIZER else _VALUE_NAME)
    # Older files list the weights among the inputs.
    return [name for name in names[_GRAPH_INPUT] if name not in names[_GRAPH_INITIALIZER]], names[_GRAPH_OUTPUT]


def _cut(graph: memoryview, outputs: Sequence[str]) -> list[memoryview]:
    """The fields of a graph that stay."""
    fields = list(fields_of(graph))
    given = {_names(content, _VALUE_NAME)[0]: i for i, (n, _, content) in enumerate(fields) if n == _GRAPH_OUTPUT}
    if unknown := sorted(set(outputs) - given.keys()):
        raise ModelError(f"the network gives {', '.join(given)}; it has no output {', '.join(unknown)}")
    dropped = {i for name, i in given.items() if name not in outputs}
    needed = set(outputs)
    # A graph lists its nodes in an order in which each comes after those it needs.
    for i in reversed(range(len(fields))):
        number, _, content = fields[i]
        if number == _GRAPH_NODE:
            if needed.isdisjoint(_names(content, _NODE_OUTPUT)):
                dropped.add(i)
            else:
                needed |= _used(content)
    return [whole for i, (_, whole, _) in enumerate(fields) if i not in dropped]


def _used(node: memoryview) -> set[str]:
    """What a node takes, and what the graphs inside it (If, Loop, Scan) may take from around it."""
    used = set(_names(node, _NODE_INPUT))
    for number, _, attribute in fields_of(node):
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, _, graph in fields_of(attribute):
            if kind in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                for part, _, content in fields_of(graph):
                    if part == _GRAPH_NODE:
                        used |= _used(content)
                    elif part == _GRAPH_OUTPUT:
                        used.update(_names(content, _VALUE_NAME))
    return used


def _names(message: memoryview, wanted: int) -> list[str]:
    return [str(content, "utf-8") for number, _, content in fields_of(message) if number == wanted]


def fields_of(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, the whole field, and its content (empty where it is a plain number), one after the other."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        content = message[:0]
        kind = tag & 7
        if kind == _LENGTH:
            length, at = _read_varint(message, at)
            content = message[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise IndexError(f"a field of the unknown kind {kind}")
        if at > len(message):
            raise IndexError("a field goes on after the end")
        yield tag >> 3, message[start:at], content


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _LONGEST_VARINT:
            raise IndexError("a number has more than 64 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _tag(number: int) -> bytes:
    return _varint(number << 3 | _LENGTH)
