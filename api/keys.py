"""API keys: each has a name and scopes; a file holds their hashes and is read again whenever it changes.

A line of the file is NAME SCOPE,SCOPE SHA256, and where the key is for some models alone models:NAME,NAME. `python -m
api.keys NAME SCOPE... [models:NAME,NAME]` makes a key and its line. A key is 256 random bits, so that one round of
SHA-256 is enough: nobody finds such a key by trying.
"""

import hashlib
import re
import secrets
import sys
from pathlib import Path
from typing import NamedTuple

import structlog

from monitoring.contract.errors import ConfigError
from monitoring.contract.storage import Stamp, stamp

SCOPES = ("predict", "log", "feedback")
SINGLE = "api_key"  # the name in the log of the one key in API_KEY_FILE, which has every scope
LARGEST = 1_000_000  # bytes of a file of keys

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_MODELS = re.compile(r"models:([A-Za-z0-9][A-Za-z0-9._-]*(?:,[A-Za-z0-9][A-Za-z0-9._-]*)*)")
_TAKES = f"takes NAME SCOPE,SCOPE SHA256, with the scopes {', '.join(SCOPES)}, and models:NAME,NAME if not for all"

logger = structlog.get_logger(__name__)


class Key(NamedTuple):
    """Whose key it is, and what it opens: of all models, or of those alone."""

    name: str
    scopes: frozenset[str]
    models: frozenset[str] | None = None


class Keys:
    """The single key and the named ones, whose file is looked at in each request: a change holds at once.

    From then on a line that cannot be read opens nothing, and a file that cannot be read takes all of its keys away;
    the log says so, once for each change.
    """

    def __init__(self, single: str | None, path: Path | None) -> None:
        """Raise ConfigError where the file of named keys cannot be read, or a line of it."""
        self._single = {} if single is None else {hashed(single): Key(SINGLE, frozenset(SCOPES))}
        self._path = path
        self._stamp: Stamp | None = None
        self._named: dict[str, Key] = {}
        if path is not None:
            self._stamp = stamp(path)
            self._named, wrong = read_keys(path)
            if wrong:
                raise ConfigError(f"API_KEYS_FILE = {path}: {'; '.join(wrong)}")

    def find(self, given: str) -> Key | None:
        """Return the key that a client has given; None if it is none."""
        digest = hashed(given)
        return self._current().get(digest) or self._single.get(digest)

    def tell(self) -> bool:
        """Say whether requests are told apart by their keys: as soon as there are named ones."""
        return bool(self._named)

    def _current(self) -> dict[str, Key]:
        if self._path is not None and (seen := stamp(self._path)) != self._stamp:
            named, wrong = read_keys(self._path)
            self._stamp, self._named = seen, named
            logger.info("api_keys_read", keys=sorted({key.name for key in named.values()}))
            if wrong:
                logger.error("api_keys_wrong", file=str(self._path), wrong=wrong)
        return self._named


def hashed(key: str) -> str:
    """Return what a file holds of a key: its SHA-256, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> tuple[dict[str, Key], list[str]]:
    """Return the keys of a file by their hashes, and what is wrong with it, by line."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"cannot be read: {error}"]
    if len(text) > LARGEST:
        return {}, [f"is larger than {LARGEST:,} bytes"]
    keys: dict[str, Key] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (words := line.partition("#")[0].split()):
            continue
        if (parsed := _parse(words)) is None or parsed[0] in keys:
            wrong.append(f"line {number}: {_TAKES}, each hash once")
        else:
            keys[parsed[0]] = parsed[1]
    return keys, wrong


def _parse(words: list[str]) -> tuple[str, Key] | None:
    if len(words) not in (3, 4):  # name, scopes, hash, models
        return None
    name, scopes, digest, bound = words[0], frozenset(words[1].split(",")), words[2], words[3:]
    models = _MODELS.fullmatch(bound[0]) if bound else None
    if not (_NAME.fullmatch(name) and scopes <= set(SCOPES) and _HASH.fullmatch(digest)) or (bound and not models):
        return None
    return digest, Key(name, scopes, frozenset(models[1].split(",")) if models else None)


def main(arguments: list[str]) -> None:
    """Make a key; print it and its line."""
    name, *words = arguments or [""]
    bound = [word for word in words if word.startswith("models:")]
    scopes = [word for word in words if word not in bound]
    key = secrets.token_urlsafe(32)
    line = [name, ",".join(scopes), hashed(key), *bound]
    if _parse(line) is None:
        sys.exit(f"usage: python -m api.keys NAME SCOPE... [models:NAME,NAME]; scopes: {', '.join(SCOPES)}")
    sys.stdout.write(f"the client's key:         {key}\nthe line in API_KEYS_FILE: {' '.join(line)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
