"""`gptjax serve`: a model behind OpenAI's interface, for whoever knows its token."""

import contextlib
import hashlib
import logging
import os
import pathlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax

from gptjax.config import BadInput
from gptjax.generation import decode, network, weights
from gptjax.generation.dialogue import Dialogue
from gptjax.training import source
from gptjax.training.source import Source

try:
    import uvicorn

    from gptjax.serving import app, door
    from gptjax.serving.endpoint import Service
    from gptjax.serving.scheduler import Scheduler
except ImportError as error:
    raise BadInput(f"serve needs pip install 'gptjax[serve]' ({error.name} is missing)") from error

TOKEN = "GPTJAX_TOKEN"
CONNECTIONS = 1024  # at once, of which each is a file
SECONDS_TO_SEND = 5  # beyond a request's own time, before a connection is cut at the end


class Asked(NamedTuple):
    """The flags of the command, by their names."""

    folder: str
    host: str
    port: int
    token: str | None
    model: str | None
    context: int
    precision: str
    rows: int
    max_queue: int
    max_body: int
    timeout: float

    def secret(self) -> str | None:
        return os.environ.get(TOKEN) if self.token is None else self.token


LIMITS = {  # least and most
    "port": (0, 65_535), "context": (0, 2**31 - 1), "rows": (1, network.FEW_ROWS), "max_queue": (0, 2**20),
    "max_body": (1, 2**31 - 1), "timeout": (1, 86_400),
}  # fmt: skip


def run(asked: Asked) -> int:
    """Serves until SIGTERM or SIGINT, then finishes what is under way; returns the exit code. Raises BadInput."""
    check(asked)
    with listen(asked.host, asked.port) as listening:
        return serve(asked, listening)


def serve(asked: Asked, listening: socket.socket) -> int:
    service = opened(asked)
    service.scheduler.warm()
    server = make_server(service, asked.secret(), asked.timeout)
    here = address(listening)
    print(f"{service.name}: {here}/v1 for OpenAI's clients ({'with a token' if asked.secret() else 'no token'})")
    print(f"chat page: {here}/ ; Ctrl-C ends", flush=True)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with working(service):
            server.run(sockets=[listening])  # at its end it raises its signal once more, for the handlers above
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def opened(asked: Asked) -> Service:
    """The model, ready to write. Raises BadInput."""
    given = source.open_run(asked.folder)
    context = given.cfg.model.context
    if asked.context > context:
        raise BadInput(f"--context={asked.context}: must be at most model.context={context}")
    writer = decode.writer(given.params, given.cfg.model, asked.precision)
    return Service(
        name=asked.model or pathlib.PurePosixPath(given.run).name,
        fingerprint=fingerprint(given, asked, writer.machine.native),
        created=int(time.time()),
        tokenizer=given.tokenizer,
        dialogue=Dialogue(given.tokenizer, given.chat),
        scheduler=Scheduler(writer, given.tokenizer, asked.context or context, asked.rows, asked.max_queue),
        most_bytes=asked.max_body,
        most_seconds=asked.timeout,
    )


def make_server(service: Service, token: str | None, timeout: float) -> uvicorn.Server:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Server(
        uvicorn.Config(
            app.make(service, token),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(timeout) + SECONDS_TO_SEND,
        )
    )


@contextlib.contextmanager
def working(service: Service) -> Iterator[None]:
    """The engine's thread, which ends when nothing is left to write."""
    engine = threading.Thread(target=work, args=(service.scheduler,), name="engine")
    engine.start()
    try:
        yield
    finally:
        service.scheduler.close()
        engine.join()


def work(scheduler: Scheduler) -> None:
    try:
        scheduler.run()
    except Exception as error:  # not even new rows can be made, so nobody would be answered any more
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        print(f"gptjax: the engine cannot go on: {reason}", file=sys.stderr, flush=True)
        os._exit(1)


def check(asked: Asked) -> None:
    """Raises BadInput for flags that cannot be, before anything is opened."""
    for flag, (least, most) in LIMITS.items():
        number = getattr(asked, flag)
        if not least <= number <= most:
            raise BadInput(f"--{flag}={number:g}: must be at {f'least {least}' if number < least else f'most {most}'}")
    if asked.precision not in weights.PRECISIONS:
        raise BadInput(f"--precision={asked.precision}: must be one of {', '.join(weights.PRECISIONS)}")
    secret, where = asked.secret(), "--token" if asked.token is not None else TOKEN
    if secret is not None and not (secret.isascii() and secret.isprintable() and secret and " " not in secret):
        raise BadInput(f"{where}: must be printable ASCII without spaces, at least one character")
    if secret is None and not door.is_loopback(asked.host):
        raise BadInput(f"--host={asked.host}: others could reach it, so it needs a token: set {TOKEN}, or --token")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens: who connects before the model is ready waits. Raises BadInput."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        hint = "; name another port, or 0 for any that is free" if port else ""
        raise BadInput(f"--host={host} --port={port}: cannot listen there: {reason}{hint}") from error


def address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def fingerprint(given: Source, asked: Asked, native: bool) -> str:
    """Changes with all that could change a text of a seed."""
    device = jax.devices()[0].device_kind
    held = [given.run, given.step, given.tokenizer.fingerprint, asked.precision, asked.rows, asked.context]
    said = [*held, native, jax.__version__, device, sys.byteorder]
    return f"fp_{hashlib.sha256(repr(said).encode()).hexdigest()[:12]}"
