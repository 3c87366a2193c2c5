"""Reading config.yml, or a folder of such files, and saying all that is wrong with it."""

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
_SUFFIXES = (".yml", ".yaml")
_LONGEST_NAME = 128  # characters of a model's name that names a folder too


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and validate config.yml; raise ConfigError with every key that is wrong and what it takes."""
    try:
        content = parse_yaml(Path(path).read_bytes())
    except IsADirectoryError as error:
        what = "is a folder of many models' files; this takes one file"
        raise ConfigError(_told(path, [what])) from error
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


def load_configs(folder: Path) -> dict[Path, Config | ConfigError]:
    """Read each *.yml and *.yaml of a folder, one model each: its config, or why it has none, by file name.

    Of files that name one model the first counts. Names that differ in case alone are one, since they are one folder on
    some disks. Hidden files, such as editors leave, are left out. Raise ConfigError if the folder cannot be listed.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(_SUFFIXES))
    except OSError as error:
        raise ConfigError(_told(folder, [f"cannot be listed: {error.strerror}"])) from error
    first: dict[str, Path] = {}
    return {path: _read_one_of_many(path, first) for path in paths if not path.name.startswith(".")}


def _read_one_of_many(path: Path, first: dict[str, Path]) -> Config | ConfigError:
    """Read one of many files; `first` holds the file of each name so far."""
    try:
        config = _load_one_of_many(path)
    except ConfigError as error:
        return error
    counts = first.setdefault(config.model.name.casefold(), path)
    if counts != path:
        return ConfigError(_told(path, [f"names the model {config.model.name}, as {counts} does, which counts"]))
    return config


def _load_one_of_many(path: Path) -> Config:
    if path.exists() and not path.is_file():  # to read a pipe would wait for its writer
        raise ConfigError(_told(path, ["is no file"]))
    config = load_config(path)
    if len(config.model.name) > _LONGEST_NAME:
        raise ConfigError(_told(path, [f"model.name is longer than {_LONGEST_NAME} characters; it names a folder too"]))
    return config


def _told(path: str | os.PathLike[str], lines: list[str]) -> str:
    more = [f"and {len(lines) - 1 - _SHOWN} more"] if len(lines) - 1 > _SHOWN else []
    return "\n  ".join(map(printable, [f"{path}: {lines[0]}", *lines[1 : _SHOWN + 1], *more]))


def printable(line: str) -> str:
    """Escape what would break the line, or the terminal or the JSON that shows it."""
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
