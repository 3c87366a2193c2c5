"""URIs of files, and how they are told: without user and options, which may hold a storage's keys."""

import re
from pathlib import Path
from urllib.parse import quote, unquote

_LEGAL = "%:/?#@!$&'()*+,;=~"  # what a URI may hold beside letters and digits
# A key with a slash in it is no URI that Arrow takes, but it is a key all the same; a number after the colon is a port.
_USER = re.compile(r"[^/?#\s'\"]*@|[^/?#:\s'\"]*:(?!\d+(?:[/?#]|$))[^@'\"]*@")
_INSIDE = re.compile(rf"(\b[A-Za-z][\w+.-]*://)(?:{_USER.pattern})?([^\s'\"?]*)(\?[^\s'\"]*)?")


def uri_of(source: str) -> str:
    """Return a path or a URI as a URI; what a URI cannot hold, such as a space, is escaped."""
    scheme, mark, rest = source.partition("://")
    if not mark:
        return Path(source).absolute().as_uri()
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{quote(host, safe=_LEGAL + '[]')}{slash}{quote(path, safe=_LEGAL)}"


def below(source: str | None, name: str) -> str | None:
    """Return the folder of that name below a path or a URI, whose options stay; None of None."""
    if source is None:
        return None
    where, mark, options = source.partition("?") if "://" in source else (source, "", "")
    return f"{where.rstrip('/')}/{name}{mark}{options}"


def shown(uri: str) -> str:
    """Return a URI as people write it: a path on this machine, and without user, options and escapes."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return uri
    if user := _USER.match(rest):
        rest = rest[user.end() :]
    where = unquote(rest.partition("?")[0])
    return where if scheme == "file" else f"{scheme}{mark}{where}"


def without_keys(text: str) -> str:
    """Return what an error says, with the URIs in it as `shown` would write them, but for their escapes."""
    return _INSIDE.sub(r"\1\2", text)
