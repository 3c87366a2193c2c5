"""Who may write: who has a key with the scope, where keys are asked for, or else whoever is no page of another site."""

from collections.abc import Callable, Mapping

from flask import g, request

from api.keys import Key, Keys
from api.problems import Problem
from monitoring.contract.local_names import is_local


def require_key(keys: Keys, scopes: Mapping[str, str], asked: Callable[[], str]) -> None:
    """Raise the 401 of a request that would write and carries no key, or the 403 of a key that does not open it.

    `scopes` has the scope that each endpoint takes, and `asked` says which model the request is for.
    """
    if request.method != "POST":
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    g.key = keys.find(given) if scheme.lower() == "bearer" else None
    if g.key is None:
        detail = "Authorization: an API key is required, like curl -H 'Authorization: Bearer KEY'"
        raise Problem(401, "api_key", detail, field="Authorization")
    if (scope := scopes.get(request.endpoint or "")) is not None:
        require_scope(scope, f"POST {request.path}")
        _require_model(g.key, asked())


def require_scope(scope: str, what: str) -> None:
    """Raise the 403 of a request whose key does not open `what`; without keys everything is open."""
    if (key := g.get("key")) is not None and scope not in key.scopes:
        has = ", ".join(sorted(key.scopes))
        detail = f"Authorization: {what} takes a key with the scope {scope}; that of {key.name} has {has}"
        raise Problem(403, "scope", detail, field="Authorization")


def _require_model(key: Key, model: str) -> None:
    """Raise the 403 of a key that is for other models; whether there is such a model it does not say."""
    if key.models is not None and model not in key.models:
        detail = f"Authorization: the key of {key.name} is for {', '.join(sorted(key.models))} alone"
        raise Problem(403, "model", detail, field="Authorization")


def refuse_foreign_pages() -> None:
    """Raise the 403 of what a page of another site sends: browsers say so, and ask nobody before they send a form.

    A page whose name was made to point at this machine passes for one of ours, but for the name in its origin. With a
    key this is not needed: such a page has none, and could not send it unasked.
    """
    if request.method != "POST":
        return
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        detail = "Sec-Fetch-Site: a page of another site may not write"
        raise Problem(403, "cross_site", detail, field="Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if origin is not None and not is_local(origin):
        detail = "Origin: a page of another site may not write; behind a proxy of yours set API_KEY_FILE"
        raise Problem(403, "cross_site", detail, field="Origin")
