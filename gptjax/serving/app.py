"""The server's addresses: OpenAI's, a page to chat on, and one for load balancers."""

import base64
import hashlib
import pathlib
import re
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gptjax.serving import door
from gptjax.serving.endpoint import Endpoint, Service
from gptjax.serving.refusal import Refused

PAGE = pathlib.Path(__file__).with_name("page.html")


def make(service: Service, token: str | None) -> Starlette:
    """The ASGI app: OpenAI's endpoints, the page and /health; every failure is OpenAI's error object. With a token,
    clients must know it (door.py)."""

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [service.model()]})

    async def model(request: Request) -> Response:
        service.check_model(request.path_params["name"])
        return JSONResponse(service.model())

    routes = [
        Route("/", page(PAGE.read_text(encoding="utf-8")), methods=["GET"]),
        Route("/health", health),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/v1/completions", Endpoint(service, chat=False), methods=["POST"]),
        Route("/v1/chat/completions", Endpoint(service, chat=True), methods=["POST"]),
    ]
    handlers: dict[Any, Callable] = {Refused: refused, HTTPException: refused_by_starlette, Exception: broken}
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(door.Door, token=token)])


def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return door.response(error)


def refused_by_starlette(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return door.response(Refused(f"{request.method} {request.url.path}: {error.detail}", status=error.status_code))


def broken(request: Request, error: Exception) -> Response:
    return door.response(Refused("the server made a mistake; its log says more", status=500))


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def page(html: str) -> Callable:
    """One file, whose own script and style are all that a browser may run for it."""
    hashed = {}
    for tag, body in re.findall(r"<(script|style)>(.*?)</\1>", html, re.DOTALL):
        hashed[tag] = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    policy = [
        "default-src 'none'", f"script-src 'sha256-{hashed['script']}'", f"style-src 'sha256-{hashed['style']}'",
        "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    ]  # fmt: skip
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    async def shown(request: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    return shown
