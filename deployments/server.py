"""The Prefect server that `up` starts: on SQLite writers wait for each other, and pages of other sites are refused.

Run as `python -P -m linear_neuron.deployments.server FILE ...`: the numbers of inherited sockets that listen already,
so that nobody else can answer at its address. Everything else is in Prefect's own settings.
"""

import ipaddress
import socket
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import uvicorn
from prefect.server.api.server import create_app
from prefect.server.database import dependencies
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_SERVER_API_KEEPALIVE_TIMEOUT,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    PREFECT_SERVER_LOGGING_LEVEL,
)
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STOP_SECONDS = 5  # How long open connections may delay the end.
READING = ("GET", "HEAD", "OPTIONS")
# The pages are Prefect's and load nothing from elsewhere but telemetry; reports carry their pictures in themselves.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob: ws://{0} wss://{0}; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class WaitingSqlite(AioSqliteConfiguration):
    """Begin every transaction on SQLite as one that is going to write.

    Prefect begins most of them with `BEGIN DEFERRED`. One that reads before it writes fails at once, whatever the
    time-out, if another has written in between (https://www.sqlite.org/lang_transaction.html): a click on Run is
    answered 503 and lost, as in PrefectHQ/prefect #18934. With `BEGIN IMMEDIATE` it waits for its turn.
    """

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = True
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        async with super().begin_transaction(session, with_for_update=True) as transaction:
            yield transaction


class Guard:
    """Answer programs and the server's own pages, and no page of another site.

    A page of another site can't read our answers, but it could have a run started here. Its requests carry its own
    address as their Origin; or, after DNS rebinding, its own name as their Host. Programs send no Origin.
    The Content-Security-Policy keeps our own pages from loading or telling anything elsewhere.

    Args:
        app: The server.
        urls: The addresses by which it is reached; any IP address and `localhost` will do besides.
    """

    def __init__(self, app: ASGIApp, urls: Iterable[str]) -> None:
        self._app = app
        self._origins = {url.lower() for url in urls}
        self._names = {urlsplit(url).hostname for url in self._origins} | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if not self._is_ours(host):
            await _refuse(f"This server does not go by the name {host!r}.", scope, receive, send)
        elif origin and scope.get("method") not in READING and not self._is_same(origin, host):
            await _refuse(f"Pages of {origin} may not change anything here.", scope, receive, send)
        else:
            policy = (b"content-security-policy", POLICY.format(host).encode("latin-1"))

            async def send_with_policy(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), policy]
                await send(message)

            await self._app(scope, receive, send_with_policy)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _is_same(self, origin: str, host: str) -> bool:
        return origin in self._origins or origin in (f"http://{host}", f"https://{host}")


async def _refuse(reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
    else:
        await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)


def serve(sockets: list[socket.socket]) -> None:
    """Serve Prefect's API and UI on sockets that listen already, until SIGTERM."""
    database = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if database.startswith("sqlite"):
        dependencies.MODELS_DEPENDENCIES["database_config"] = WaitingSqlite(database)
    config = uvicorn.Config(
        Guard(create_app(final=True), PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value().split(",")),
        log_level=PREFECT_SERVER_LOGGING_LEVEL.value().lower(),
        timeout_keep_alive=PREFECT_SERVER_API_KEEPALIVE_TIMEOUT.value(),
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run(sockets)
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    serve([socket.socket(fileno=int(file)) for file in sys.argv[1:]])
