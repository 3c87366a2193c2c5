"""Prefect's server for the local stack: `prefect server start`, which pages of other sites cannot use.

It asks for no password, and by itself lets every page that a browser on this machine shows read and write. A page gives
itself away by its origin, or, where its name was made to point at this machine, by the host that it asks for.
"""

import os
from collections.abc import Mapping

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from monitoring.contract.local_names import is_local


def refusal(headers: Mapping[str, str]) -> str | None:
    """Say why a request is refused; None if it is not."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if not is_local(f"//{host}"):
        return "Host: this server answers to 127.0.0.1 and localhost alone"
    if origin is not None and not is_local(origin):
        return "Origin: a page of another site may not use this server"
    return None


class LocalPagesOnly:
    """Refuses requests and websockets by their Host and Origin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or let the server answer."""
        reason = None if scope["type"] == "lifespan" else refusal(Headers(scope=scope))
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await PlainTextResponse(reason, 403)(scope, receive, send)


def main() -> None:
    """Serve until told to stop; nothing calls home, whoever starts the server."""
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    from prefect.server.api.server import create_app  # noqa: PLC0415 - its import reads the settings

    app = create_app(final=True)
    app.add_middleware(LocalPagesOnly)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PREFECT_PORT"]), log_level="warning")


if __name__ == "__main__":
    main()
