"""The features and classes that an ONNX file names: in its metadata, by the keys of its maps, or in its graph."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitoring.contract.names import ONNX_CLASSES

METADATA = "named by its metadata"

_HINT = f"set its metadata `{ONNX_CLASSES}` to a JSON list of the config's categories, ordered as its probabilities"

_NAMED = 5


@dataclass(frozen=True)
class Classes:
    """A model's classes in the order of its probabilities, and how they are known."""

    names: tuple[str, ...]
    origin: str


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def listed_names(metadata: Mapping[str, str], key: str, faults: list[str]) -> tuple[str, ...] | None:
    """Return the names that the metadata lists, whole numbers and booleans as text; None if it has no such list."""
    if key not in metadata:
        return None
    try:
        names = json.loads(metadata[key])
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        faults.append(f"its metadata's `{key}` is not a JSON list of names")
        return None
    texts = tuple(json.dumps(name) if isinstance(name, bool) else str(name) for name in names)
    if len(set(texts)) < len(texts):
        faults.append(f"its metadata's `{key}` names the same more than once")
        return None
    return texts


def find_classes(
    metadata: Mapping[str, str],
    keys: tuple[str | int, ...],
    labels: list[tuple[str, ...]],
    categories: tuple[str, ...],
    problems: tuple[list[str], list[str]],
) -> Classes | None:
    """Find out the classes; None, and the reason among the problems (faults, misfits), if the file does not name them.

    `keys` are those of an output of maps, `labels` the distinct lists of class labels in the graph.
    """
    faults, misfits = problems
    if ONNX_CLASSES in metadata:
        names = listed_names(metadata, ONNX_CLASSES, faults)
        if names is not None:
            misfits += _strangers(names, categories)
            faults += [] if keys else _disorder(names, labels)
        return Classes(names, METADATA) if names else None
    if keys:
        found = Classes(tuple(map(str, keys)), "the keys of its maps")
    elif len(labels) == 1:
        found = Classes(labels[0], "the class labels in its graph")
    else:
        faults.append(f"it does not name its classes: {_HINT}")
        return None
    faults += [f"{stranger}; {_HINT}" for stranger in _strangers(found.names, categories)]
    return found


def _strangers(names: tuple[str, ...], categories: tuple[str, ...]) -> list[str]:
    """Say which classes are no categories; a model may have learnt from rows that lack a category."""
    if set(names) <= set(categories):
        return []
    return [f"its classes are {', '.join(names)}; the config's categories are {', '.join(categories)}"]


def _disorder(names: tuple[str, ...], labels: list[tuple[str, ...]]) -> list[str]:
    """Say where the metadata names the graph's own class labels in another order."""
    return [
        f"its metadata names the classes in the order {', '.join(names)}, its graph in the order {', '.join(own)}"
        for own in labels[:1]
        if len(labels) == 1 and own != names and set(own) == set(names)
    ]
