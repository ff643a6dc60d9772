"""The ingress's routes as one ASGI application, whose life is that of what they need."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from serve_app.hang_up import told_as_asgi
from serve_app.relay import Relay


class Application:
    """A Starlette application whose routes exist once its lifespan has begun."""

    def __init__(self, open_routes: Callable[[], Any]) -> None:
        self._while_open: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        self._direct: dict[tuple[str, str], ASGIApp] = {}

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async with open_routes() as routes:
                app.router.routes.extend(routes)
                self._direct = direct_routes(routes)
                async with self._while_open():
                    yield

        self._starlette = Starlette(lifespan=lifespan)

    def while_open(self, context: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """What is to be there as long as the routes are."""
        self._while_open = context

    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """For a caller that speaks no ASGI."""
        return self._starlette.router.lifespan_context(self._starlette)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._starlette(scope, receive, send)
            return
        # Past Starlette's own error layers: the edge has the one translation of errors.
        scope["app"] = self._starlette
        receive = told_as_asgi(scope, receive)
        app = self._direct.get((scope.get("method", ""), scope["path"])) or self._starlette.router
        await app(scope, receive, send)


def direct_routes(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], ASGIApp]:
    """The data path's own, by method and path: a look in a dictionary instead of a walk over all patterns."""
    return {
        (method, route.path): route.endpoint
        for route in routes
        if isinstance(route, Route) and isinstance(route.endpoint, Relay)
        for method in route.methods or ()
    }
