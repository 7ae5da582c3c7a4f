"""What the web side answers: `/xml/status` and `/metrics`, to users of the console who have a password.

Whatever an answer could not be made of becomes 503 with one line, or 500 with an incident number.
"""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.diagnostic import incident
from core.errors import GatepostError
from ops.cli.appliance import Appliance
from ops.metrics import CONTENT_TYPE
from ops.status import collect
from ops.web.login import Busy, Logins
from ops.web.xml import status_xml

Answer = Callable[[], Awaitable[Response]]
_ASK = {"WWW-Authenticate": 'Basic realm="Gatepost", charset="UTF-8"'}
_AGAIN = {"Retry-After": "2"}
_FIXED = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def build(appliance: Appliance, text: Callable[[], Awaitable[bytes]], logins: Logins) -> Starlette:
    """Build the application; `text` gives the metrics."""

    async def xml() -> Response:
        document = await collect(appliance)
        build_ = f"{appliance.product} {appliance.version}"
        return Response(status_xml(document, build=build_, hostname=appliance.hostname), media_type="text/xml")

    async def metrics() -> Response:
        return Response(await text(), headers={"Content-Type": CONTENT_TYPE})

    def guarded(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                source = request.client.host if request.client else "local"
                user = await logins.user_of(request.headers.get("authorization", ""), source)
            except Busy:
                return PlainTextResponse("too many log-ins at a time\n", 503, headers={**_FIXED, **_AGAIN})
            if user is None:
                return PlainTextResponse("a user name and password are needed\n", 401, headers={**_FIXED, **_ASK})
            response = await _safely(answer)
            response.headers.update(_FIXED)
            return response

        return endpoint

    made = Starlette(
        routes=[
            Route("/xml/status", guarded(xml), methods=["GET"]),
            Route("/metrics", guarded(metrics), methods=["GET"]),
        ]
    )
    made.router.redirect_slashes = False  # it would send the asker to whatever host the request names
    return made


async def _safely(answer: Answer) -> Response:
    try:
        return await answer()
    except GatepostError as error:
        return PlainTextResponse(f"{error.text}\n", 503)
    except Exception as error:  # a request never takes its siblings down
        return PlainTextResponse(f"internal error, incident {incident('web', error)}\n", 500)
