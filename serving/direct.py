"""Direct: the routes that are asked most, without the router's way to them.

Starlette looks at every route in turn, within layers that FastAPI's injection needs. A route that
reads its own body needs neither, and they cost about as much as its model.
"""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import answer_to
from serving.route_table import GuardedRoute


class Direct:
    """ASGI middleware that hands a request to its route, guard and all, by its exact address.

    What has no such address goes on to `app`. Errors leave as those of every route.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, GuardedRoute) and route.is_direct
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, {}
        try:
            await route.handle(scope, receive, send)
        except Exception as error:
            answer = await answer_to(Request(scope, receive), error)
            await answer(scope, receive, send)
