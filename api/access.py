"""Who may write: who has the API key, where API_KEY_FILE is set, and otherwise whoever is no page of another site."""

import hmac

from flask import request

from api.problems import Problem
from monitoring.contract.local_names import is_local


def require_key(key: str) -> None:
    """Raise the 401 of a request that would write and does not carry the key."""
    if request.method != "POST":
        return
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {key}".encode()):
        detail = "Authorization: an API key is required, like curl -H 'Authorization: Bearer KEY'"
        raise Problem(401, "api_key", detail, field="Authorization")


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
