"""Who may write: who has the API key, where API_KEY_FILE is set, and otherwise whoever is no page of another site."""

import hmac

from flask import request

from api.problems import Problem


def require_key(key: str) -> None:
    """Raise the 401 of a request that would write and does not carry the key."""
    if request.method != "POST":
        return
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {key}".encode()):
        detail = "Authorization: an API key is required, like curl -H 'Authorization: Bearer KEY'"
        raise Problem(401, "api_key", detail, field="Authorization")


def refuse_foreign_pages() -> None:
    """Raise the 403 of a form that a page of another site sends: browsers say so, and ask nobody before they send it.

    With a key this is not needed: such a page has none, and could not send it unasked.
    """
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site") == "cross-site":
        detail = "Sec-Fetch-Site: a page of another site may not write"
        raise Problem(403, "cross_site", detail, field="Sec-Fetch-Site")
