"""A client that leaves, as Serve tells it."""

from ray.exceptions import RayError
from starlette.types import Message, Receive, Scope


def told_as_asgi(scope: Scope, receive: Receive) -> Receive:
    """`receive`, where a proxy that has cancelled its request, or has died, is a client that has left.

    Serve raises what became of its call to the proxy, once, and every later `receive` would wait for ever.
    """
    gone: Message | None = None

    async def received() -> Message:
        nonlocal gone
        if gone is None:
            try:
                return await receive()
            except RayError:
                gone = _disconnect(scope)
        return gone

    return received


def _disconnect(scope: Scope) -> Message:
    """https://www.rfc-editor.org/rfc/rfc6455#section-7.1.5: 1006 is for a connection that closed without a word."""
    return (
        {"type": "websocket.disconnect", "code": 1006} if scope["type"] == "websocket" else {"type": "http.disconnect"}
    )
