"""Who may come in: the token, the names under which a server without one is called, and the size of what is brought."""

import hmac
import ipaddress

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gptjax.serving.refusal import Refused

OPEN = ("/", "/health")  # the page and what a load balancer asks; neither tells anything


class Door:
    """In front of the app, with a token: every path but OPEN needs it. Without one, only names of this machine are
    answered, so that no web page can reach the server through a name of its own that points here."""

    def __init__(self, app: ASGIApp, token: str | None):
        self.app, self.token = app, None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self.check(Headers(scope=scope), scope["path"])
            except Refused as refused:
                return await response(refused)(scope, receive, send)
        await self.app(scope, receive, send)

    def check(self, headers: Headers, path: str) -> None:
        if self.token is None:
            if not is_loopback(headers.get("host", "")):
                raise Refused("this server answers only under a name of its own machine", status=421)
        elif path not in OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token):
                raise Refused("a token is needed: Authorization: Bearer TOKEN", status=401, code="invalid_api_key")


def response(refused: Refused) -> JSONResponse:
    """The JSON of OpenAI's error; a 401 says that a bearer token is wanted (RFC 6750, section 3)."""
    headers = refused.headers() | ({"WWW-Authenticate": "Bearer"} if refused.status == 401 else {})
    return JSONResponse(refused.body(), refused.status, headers)


def is_loopback(host: str) -> bool:
    """Whether a name, with or without a port, is of this machine alone."""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host
    if name.count(":") == 1:
        name = name.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def read_body(request: Request, most: int) -> bytes:
    """Raises Refused for one that is no JSON, or larger than `most` bytes, before it is held whole."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which a web page of another site cannot send unasked
        raise Refused("Content-Type: must be application/json", status=415)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise Refused(f"the body is larger than {most} bytes", status=413)
    return b"".join(parts)
