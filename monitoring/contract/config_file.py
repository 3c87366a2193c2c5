"""Reading config.yml, and saying all that is wrong with it."""

import os
import textwrap
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from monitoring.contract.config import Config
from monitoring.contract.config_yaml import ConfigYAMLError, dotted, parse_yaml
from monitoring.contract.errors import ConfigError

_SHOWN = 20  # mistakes


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and validate config.yml; raise ConfigError with every key that is wrong and what it takes."""
    try:
        content = parse_yaml(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ConfigYAMLError as error:
        raise ConfigError(_told(path, str(error).splitlines())) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: is not a mapping; it takes the keys {', '.join(Config.model_fields)}")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        inside = {one["loc"][:-1] for one in found}  # a list that is too short without them is no mistake beside them
        lines = [_explain(one) for one in found if one["type"] != "too_short" or one["loc"] not in inside]
        lines.insert(0, f"{len(lines)} value(s) cannot be used:")
        raise ConfigError(_told(path, lines)) from error


def _told(path: str | os.PathLike[str], lines: list[str]) -> str:
    more = [f"and {len(lines) - 1 - _SHOWN} more"] if len(lines) - 1 > _SHOWN else []
    return "\n  ".join(map(_printable, [f"{path}: {lines[0]}", *lines[1 : _SHOWN + 1], *more]))


def _printable(line: str) -> str:
    """Escape what would break the line, or the terminal that shows it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _explain(error: Any) -> str:
    key = dotted(_written(error["loc"])) or "config"
    value = repr(error["input"])
    shown = textwrap.shorten(value, 80, placeholder="...")
    if error["type"] == "extra_forbidden":
        allowed = ", ".join(name for name in _section(error["loc"][:-1]).model_fields if name != "kinds")
        return f"{key} = {shown}: no such key; allowed here are {allowed}"
    if error["type"] == "missing":
        return f"{key}: is missing"
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict) and shown != value:  # a whole section; the message names what does not fit
        return f"{key}: {message}"
    if error["type"] == "string_type" and not isinstance(error["input"], list | dict):
        message += " (quote it)"
    return f"{key} = {shown}: {message}"


def _written(location: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return where a key stands in the file: a mapping of features holds names and kinds."""
    return ("model", "features", *location[2:]) if location[:2] == ("model", "kinds") else location


def _section(location: tuple[Any, ...]) -> type[BaseModel]:
    """Return the section class that stands at a key's place, to list its keys."""
    section, kind = Config, Config
    for part in location:
        kind = _inside(kind, part)
        section = kind if _is_section(kind) else section
    return section


def _inside(kind: Any, part: Any) -> Any:
    """Return the type of what a value of a type holds at a key or a place."""
    if _is_section(kind):
        inside = kind.model_fields[part].annotation
    else:
        inside = get_args(kind)[-1] if get_origin(kind) is dict else next(iter(get_args(kind)), None)
    if get_origin(inside) in (Union, UnionType):  # of a section and None, say
        return next((one for one in get_args(inside) if _is_section(one)), inside)
    return inside


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
