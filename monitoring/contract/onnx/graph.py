"""The class labels that the nodes of an ONNX graph name, and whether its weights lie in other files.

ONNX Runtime does not show a graph's nodes, and the API has no `onnx`: what is needed of the file is read from its bytes
(protobuf's wire format; the field numbers are those of onnx.proto).
"""

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _SIZED, _FOUR_BYTES = 0, 1, 2, 5
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _NODE_ATTRIBUTE = 7, 1, 5, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTS, _ATTRIBUTE_STRINGS = 1, 8, 9
_TENSOR_LOCATION, _EXTERNAL = 14, 1

# as TreeEnsembleClassifier, LinearClassifier, SVMClassifier and ZipMap call them
_LABELS = (b"classlabels_strings", b"classlabels_int64s", b"classlabels_ints")

Value = int | memoryview


def class_labels(content: bytes) -> list[tuple[str, ...]]:
    """Return the distinct lists of class labels in the graph's nodes, whole numbers as text; none if it has none."""
    try:
        lists = [tuple(_labels(attribute)) for attribute in _attributes(memoryview(content))]
    except (ValueError, IndexError, UnicodeDecodeError):
        return []  # ONNX Runtime has another format beside ONNX
    return list(dict.fromkeys(labels for labels in lists if labels))


def has_external_data(content: bytes) -> bool:
    """Say whether weights lie in other files: in the registry a model is one."""
    try:
        return any(
            (_TENSOR_LOCATION, _EXTERNAL) in _fields(tensor)
            for graph in _messages(memoryview(content), _MODEL_GRAPH)
            for tensor in _messages(graph, _GRAPH_INITIALIZER)
        )
    except (ValueError, IndexError):
        return False


def _attributes(content: memoryview) -> Iterator[memoryview]:
    for graph in _messages(content, _MODEL_GRAPH):
        for node in _messages(graph, _GRAPH_NODE):
            for attribute in _messages(node, _NODE_ATTRIBUTE):
                # the name comes first, so that a forest's long lists are not read
                if next((bytes(name) for name in _messages(attribute, _ATTRIBUTE_NAME)), b"") in _LABELS:
                    yield attribute


def _labels(attribute: memoryview) -> Iterator[str]:
    for number, value in _fields(attribute):
        if number == _ATTRIBUTE_STRINGS and isinstance(value, memoryview):
            yield bytes(value).decode()
        elif number == _ATTRIBUTE_INTS:
            yield from map(str, [_signed(value)] if isinstance(value, int) else _packed(value))


def _packed(values: memoryview) -> Iterator[int]:
    at = 0
    while at < len(values):
        value, at = _varint(values, at)
        yield _signed(value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for number, value in _fields(message) if number == wanted and isinstance(value, memoryview))


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield a message's fields by number; raise ValueError or IndexError if it is none."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _SIZED:
            size, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"{kind} is no wire type")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no continuation bit
            return value, at
        shift += 7
