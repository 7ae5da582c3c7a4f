"""What the health port answers, without log-in: `/healthz`, `/readyz` and `/metrics`. Nothing secret is in any of it.

`/healthz`: 200 as long as this process turns. `/readyz`: 200, or 503 while the machine should be left alone, with the
reasons as JSON (`ops/health.py`). `/metrics`: the text for Prometheus. Many who ask at a time get one look's answer,
and one that is less than a second old: the port must not be a way to keep the daemons busy. On loopback only questions
that name this machine are answered: not those of a page in a browser here whose own name was turned to 127.0.0.1.
"""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from core import clock
from core.diagnostic import incident
from ops.health import FAILED, OK, Place, Report, ready
from ops.metrics import CONTENT_TYPE

T = TypeVar("T")
FRESH_S: Final = 1.0
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PORT: Final = re.compile(r":[0-9]*$")
Answer = Callable[[Request], Awaitable[Response]]
Look = Callable[[Place], Awaitable[Report]]


class Recent(Generic[T]):
    """Gives what a look found, looking again only after a while; who comes meanwhile waits for the same look."""

    def __init__(self, look: Callable[[], Awaitable[T]], now: clock.Clock = clock.monotonic) -> None:
        self._look = look
        self._now = now
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self) -> T:
        """Give the latest finding."""
        async with self._lock:
            if self._found is None or self._now() - self._found[0] >= FRESH_S:
                self._found = None
                found = await self._look()
                self._found = self._now(), found
            return self._found[1]


def _is_meant(request: Request, own: str) -> bool:
    """Tell whether the host that a request names is this one; beyond loopback that is for the network to see to."""
    local = (request.scope.get("server") or ("",))[0]
    named = _PORT.sub("", request.headers.get("host", "")).strip("[]").lower()
    return not _is_loopback(local) or named in ("", "localhost", own.lower()) or _address(named) is not None


def _is_loopback(text: str) -> bool:
    address = _address(text)
    return address is not None and address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _guarded(answer: Answer, own: Callable[[], str]) -> Answer:
    """Wrap an answer: only for who means this machine, whose name `own` gives, and never without one."""

    async def endpoint(request: Request) -> Response:
        try:
            if not _is_meant(request, own()):
                return PlainTextResponse(f"ask by address, as localhost or as {own()}\n", 421, headers=_HEADERS)
            response = await answer(request)
        except Exception as error:  # a request never takes its siblings down
            response = PlainTextResponse(f"internal error, incident {incident('health', error)}\n", 500)
        response.headers.update(_HEADERS)
        return response

    return endpoint


def build(place: Callable[[], Place], metrics: Callable[[Report], Awaitable[bytes]], look: Look = ready) -> Starlette:
    """Build the application; `place` is looked at for each answer, `metrics` writes the text of a report."""
    reports = Recent(lambda: look(place()))

    async def text() -> bytes:
        return await metrics(await reports.get())

    texts = Recent(text)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"state": OK})

    async def readyz(_: Request) -> Response:
        report = await reports.get()
        document: dict[str, Any] = {
            "ready": report.state != FAILED,
            "state": report.state,
            "reasons": [one._asdict() for one in report.checks if one.state != OK],
        }
        return JSONResponse(document, 503 if report.state == FAILED else 200)

    async def show(_: Request) -> Response:
        return Response(await texts.get(), headers={"Content-Type": CONTENT_TYPE})

    def own() -> str:
        return place().hostname

    ways = {"/healthz": healthz, "/readyz": readyz, "/metrics": show}
    made = Starlette(routes=[Route(path, _guarded(answer, own), methods=["GET"]) for path, answer in ways.items()])
    made.router.redirect_slashes = False  # it would send the asker to whatever host the request names
    return made
