"""The names under which pages of this machine are opened: what a browser says of any other page is not believed."""

from urllib.parse import urlsplit

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def is_local(address: str) -> bool:
    """Say whether an origin, or a host behind `//`, is this machine's; what is no address is not."""
    try:
        return urlsplit(address).hostname in _LOCAL
    except ValueError:
        return False
