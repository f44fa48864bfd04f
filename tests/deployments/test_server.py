"""Which requests the server that `up` starts answers, and which it refuses."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from linear_neuron.deployments.server import Guard

OURS = {"Host": "127.0.0.1:4200"}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer everything."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answered"})


def ask(method: str, headers: dict[str, str]) -> list[Message]:
    """All that the server sends in answer to a request; the method may be SOCKET."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": "/", "headers": raw}
    if method == "SOCKET":
        scope = {"type": "websocket", "path": "/", "headers": raw}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    asyncio.run(Guard(application, ["http://neuron.example:4200", "https://proxy.example"])(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4200", "LOCALHOST", "[::1]:4200", "192.0.2.7", "neuron.example", "proxy.example"]
)
def test_addresses_and_our_names_are_answered(host: str) -> None:
    assert ask("POST", {"Host": host})[1]["body"] == b"answered"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:4200", "", "[:", "4200"]
)
def test_a_name_that_is_not_ours_is_refused(host: str) -> None:
    start, body = ask("GET", {"Host": host})
    assert (start["status"], body["body"]) == (403, f"This server does not go by the name {host!r}.\n".encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9", "null", "http://127.0.0.1:4200.evil.example"]
)
def test_a_page_of_another_site_changes_nothing(method: str, origin: str) -> None:
    start, body = ask(method, OURS | {"Origin": origin})
    assert (start["status"], body["body"]) == (403, f"Pages of {origin} may not change anything here.\n".encode())


@pytest.mark.parametrize("origin", ["http://127.0.0.1:4200", "https://proxy.example", "HTTP://NEURON.EXAMPLE:4200"])
def test_our_own_pages_may_do_everything(origin: str) -> None:
    assert ask("POST", OURS | {"Origin": origin})[1]["body"] == b"answered"
    assert ask("SOCKET", OURS | {"Origin": origin}) == [{"type": "websocket.accept"}]


@pytest.mark.parametrize("theirs", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_a_socket_of_another_site_is_refused(theirs: dict[str, str]) -> None:
    (refused,) = ask("SOCKET", OURS | theirs)
    assert (refused["type"], refused["code"]) == ("websocket.close", 1008)


def test_pages_may_load_and_tell_nothing_elsewhere() -> None:
    headers = dict(ask("GET", {"Host": "localhost:4200"})[0]["headers"])
    policy = headers[b"content-security-policy"].decode().split("; ")
    assert "default-src 'self'" in policy
    assert "img-src 'self' data: blob:" in policy
    assert "connect-src 'self' data: blob: ws://localhost:4200 wss://localhost:4200" in policy
    assert "frame-ancestors 'none'" in policy
