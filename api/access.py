"""The API key: asked for by every endpoint that writes, where API_KEY_FILE is set."""

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
