"""Files beside an ONNX file that it takes weights from: they have to lie in its folder.

ONNX Runtime reads whatever path a tensor names; releases refuse those that leave the model's folder, older ones do not.
A file from anywhere must not be able to have another one read, so the paths are looked at before it is opened. The
numbers of the fields are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from sage_fusion_ros.engines.partial_graph import fields_of
from sage_fusion_ros.errors import ModelError

_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_FUNCTION_NODE = 7
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_TENSOR_EXTERNAL = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_MAX_DEPTH = 30  # of graphs inside each other
_SHOWN = 80


def check_external_files(path: Path) -> None:
    """Refuses a network that names a file outside its own folder.

    Raises:
        ModelError: It does; or it can't be read, or is no ONNX file.
    """
    try:
        for name in _names(memoryview(path.read_bytes())):
            parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
            if not name or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts:
                raise ModelError(
                    f"model file {path} takes weights from {name[:_SHOWN]!r}, which is not in its folder; get the "
                    "model from whoever made it, whole"
                )
    except OSError as error:
        raise ModelError(f"model file {path} can't be loaded as a network: {error.strerror or error}") from error
    except (IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"model file {path} can't be loaded as a network: it is no ONNX file ({error})") from error


def _names(model: memoryview) -> Iterator[str]:
    for number, _, content in fields_of(model):
        if number == _MODEL_GRAPH:
            yield from _in_graph(content, 0)
        elif number == _MODEL_FUNCTION:
            for part, _, node in fields_of(content):
                if part == _FUNCTION_NODE:
                    yield from _in_node(node, 0)


def _in_graph(graph: memoryview, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise IndexError(f"graphs lie more than {_MAX_DEPTH} deep")
    for number, _, content in fields_of(graph):
        if number == _GRAPH_INITIALIZER:
            yield from _in_tensor(content)
        elif number == _GRAPH_SPARSE:
            yield from _in_sparse(content)
        elif number == _GRAPH_NODE:
            yield from _in_node(content, depth)


def _in_node(node: memoryview, depth: int) -> Iterator[str]:
    for number, _, attribute in fields_of(node):
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, _, content in fields_of(attribute):
            if kind in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                yield from _in_tensor(content)
            elif kind in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
                yield from _in_sparse(content)
            elif kind in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                yield from _in_graph(content, depth + 1)


def _in_sparse(tensor: memoryview) -> Iterator[str]:
    for number, _, content in fields_of(tensor):
        if number in (_SPARSE_VALUES, _SPARSE_INDICES):
            yield from _in_tensor(content)


def _in_tensor(tensor: memoryview) -> Iterator[str]:
    """The location among a tensor's external data, where it has one."""
    for number, _, entry in fields_of(tensor):
        if number != _TENSOR_EXTERNAL:
            continue
        texts = {part: str(content, "utf-8") for part, _, content in fields_of(entry)}
        if texts.get(_ENTRY_KEY) == "location":
            yield texts.get(_ENTRY_VALUE, "")
