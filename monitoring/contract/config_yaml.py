"""YAML without its surprises: what a config may say, and what is refused with its place.

YAML itself keeps the last of two equal keys, reads a bare `no` as false and `010` as eight, and lets a few lines of
aliases stand for more values than any memory holds. Each of these is refused here by the key's path and its lines.
"""

from collections.abc import Hashable, Iterator
from typing import Any

import yaml

LARGEST = 250_000  # bytes of a config: PyYAML takes seconds for them
_MOST_VALUES = 100_000  # that a config may stand for, with each alias as what it means
_LONGEST_NUMBER = 100  # characters: Python takes minutes for numbers that fill a file
_LONGEST_KEY = 140  # characters of one that a message shows; a name has 128 at most
_CORE = "tag:yaml.org,2002:"
_MERGE = f"{_CORE}merge"
_PLAIN = {_CORE + kind for kind in ("null", "bool", "int", "float", "timestamp", "str", "seq", "map", "merge")}
_SWITCHES = ("yes", "no", "on", "off")


class ConfigYAMLError(ValueError):
    """A text is not YAML, or YAML that says something else than it seems to."""


def parse_yaml(content: bytes) -> Any:
    """Return what a YAML text says; raise ConfigYAMLError with all that cannot be used, a line each."""
    if len(content) > LARGEST:
        raise ConfigYAMLError(f"holds {len(content):,} bytes; a config holds {LARGEST:,} at most")
    try:
        loader = yaml.SafeLoader(content.decode("utf-8-sig"))
        node = loader.get_single_node()
        if node is None:
            return None
        _require_small(node)
        _require_plain(loader, node)
        return loader.construct_document(node)
    except ConfigYAMLError:
        raise
    except RecursionError:
        raise ConfigYAMLError("is not YAML that can be read: its values lie too deep in one another") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigYAMLError(f"is not YAML: {_told(error)}") from error
    except (ArithmeticError, ValueError) as error:  # such as the 30th of February
        raise ConfigYAMLError(f"holds a value that cannot be read: {error}") from error


def _told(error: Exception) -> str:
    """Return what a parser says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark, problem = error.problem_mark, ", ".join(filter(None, (error.context, error.problem)))
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return " ".join(str(error).split())


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _require_small(root: yaml.Node) -> None:
    """Raise ConfigYAMLError if a value holds itself, or if the aliases multiply into too many values."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise ConfigYAMLError(f"{_line(node)}: an alias stands for a value that holds the alias itself")
            return known
        sizes[id(node)] = None
        sizes[id(node)] = total = 1 + sum(map(size, _children(node)))
        if total > _MOST_VALUES:
            raise ConfigYAMLError(f"{_line(node)}: stands for more than {_MOST_VALUES:,} values")
        return total

    size(root)


def _require_plain(loader: yaml.SafeLoader, root: yaml.Node) -> None:
    """Raise ConfigYAMLError with all that says something else than it seems to."""
    problems = list(dict.fromkeys(_problems(loader, root, ())))
    if len(problems) > 1:
        problems.insert(0, f"{len(problems)} places say something else than they seem to:")
    if problems:
        raise ConfigYAMLError("\n".join(problems))


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _problems(loader: yaml.SafeLoader, node: yaml.Node, path: tuple[str, ...]) -> Iterator[str]:
    """Yield what cannot be used in a value and in all that it holds."""
    if node.tag not in _PLAIN:
        yield _foreign(node, path)
    elif isinstance(node, yaml.ScalarNode):
        yield from _scalar_problems(loader, node, path)
    elif isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield from _problems(loader, item, (*path, str(place)))
    elif isinstance(node, yaml.MappingNode):
        yield from _mapping_problems(loader, node, path)


def _foreign(node: yaml.Node, path: tuple[str, ...]) -> str:
    return f"{_key(path)}{_line(node)}: the tag {node.tag!r} has no place in a config; text that looks so is quoted"


def _scalar_problems(loader: yaml.SafeLoader, node: yaml.ScalarNode, path: tuple[str, ...]) -> Iterator[str]:
    kind, text = node.tag.removeprefix(_CORE), node.value
    where = f"{_key(path)}{_line(node)}"
    if kind == "str":
        return
    implicit = node.style is None, node.style is not None
    if node.tag != loader.resolve(yaml.ScalarNode, text, implicit):  # type: ignore[no-untyped-call]
        yield _foreign(node, path)
    elif len(text) > _LONGEST_NUMBER:
        yield f"{where}: a number of {len(text):,} characters; {_LONGEST_NUMBER} are read at most"
    elif kind == "bool" and text.lower() in _SWITCHES:
        yield f"{where}: YAML reads a bare {text} as a boolean: quote it, or write true or false"
    elif kind in ("int", "float") and (value := _read_otherwise(loader, node)) is not None:
        yield f"{where}: YAML reads {text} as {value}: quote it, or write {value}"


def _read_otherwise(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float | None:
    """Return a number that is not what stands there: octal, hexadecimal, binary, or with colons as minutes have."""
    value: int | float = loader.construct_object(node)
    if isinstance(value, float):
        return value if ":" in node.value else None
    return None if node.value.replace("_", "").removeprefix("+") == str(value) else value


def _mapping_problems(loader: yaml.SafeLoader, node: yaml.MappingNode, path: tuple[str, ...]) -> Iterator[str]:
    first: dict[Hashable, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield f"{_key(path)}{_line(key)}: a key is text, not a list or a mapping"
            continue
        wrong = list(_problems(loader, key, (*path, "a key"))) if key.tag != _MERGE else []
        yield from wrong
        below = (*path, key.value)
        if not wrong:
            known: Hashable = key.tag if key.tag == _MERGE else loader.construct_object(key)
            if (before := first.setdefault(known, key)) is not key:
                yield f"{_key(below)}stands at {_line(before)} and {_line(key)}"
        yield from _problems(loader, value, below)


def _key(path: tuple[str, ...]) -> str:
    return f"{dotted(path)}: " if path else ""


def dotted(path: tuple[Any, ...]) -> str:
    """Write a key's place in a config as people do: `drift.default.test`."""
    return ".".join(part if len(part) <= _LONGEST_KEY else f"{part[:_LONGEST_KEY]}..." for part in map(str, path))
