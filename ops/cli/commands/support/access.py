"""`techsupport tunnel`, `sshaccess` and `disable`: opening the machine to support and closing it, at once.

Nothing here waits for a commit. The seed string comes from standard input, from a dialogue, or from the tunnel
client, which makes one; it is in the answer of the command that enables and nowhere else.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from core.errors import EX_DATAERR, EX_UNAVAILABLE, GatepostError
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help, UsageProblem
from ops.cli.commands.support.patience import asked
from ops.cli.commands.support.state import CLIENT, attempts_table, completed, tunnel_line, when
from ops.cli.display import folded, paint
from ops.cli.registry import MAIL_MACHINES, Call, Document, command

_START_S = 90.0
"""The tunnel client tells how the first round over all ports ended before it answers."""

_CUT_S, _LOOK_S = 5.0, 0.1

Act = Annotated[Literal["enable", "disable"], Help("enable (the default) or disable")]
Seed = Annotated[str, Help("the seed string, which only a dialogue gives", secret=True)]
FromInput = Annotated[bool, Help("read an own seed string from standard input; without it one is made")]
Ask = Annotated[bool, Help("let each session wait until it is approved here")]
Shell = Annotated[bool, Help("allow a full login shell as well, where the configuration does")]
Hours = Annotated[float | None, Help("take new connections for so long", "N", 0.01, 168)]


def addresses(text: str) -> list[str]:
    """Read a list of addresses, `none` and the empty one being none at all. Raises status 64."""
    words = text.replace(",", " ").split()
    return [] if [word.lower() for word in words] == ["none"] else [_address(word) for word in words]


def _address(word: str) -> str:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        text = f"{word!r} is not an address; give addresses of appliances, separated by commas, or none"
        raise UsageProblem(text) from None


def render_enabled(document: Document, width: int) -> str:
    """Say that access was enabled, and what to give to support; or that it has ended."""
    if document.get("mode") == "disabled":
        return render_disabled(document, width)
    alone = ", without a tunnel" if document.get("mode") == "sshaccess" else ""
    lines = [
        paint(f"Success - Remote Access has been enabled{alone}.", "good", width),
        "",
        *_for_support(document, width),
    ]
    lines += ["", tunnel_line(document, width)]
    if document.get("until"):
        lines.append(f"No new tunnel connections after: {when(document['until'])}")
    if document.get("mode") == "tunnel" and document.get("tunnel") != "open":
        lines += _trouble(document, width)
    return "\n".join(lines)


def _for_support(document: Document, width: int) -> list[str]:
    serial = str(document.get("serial", ""))
    if not document.get("seed"):
        return [f"Give this serial number to support: {serial}"]
    return [
        "Give these two to support:",
        "",
        f"    Seed string:    {paint(str(document['seed']), 'bold', width)}",
        f"    Serial number:  {paint(serial, 'bold', width)}",
        "",
        "The seed string is shown only now. It is no password: support makes the",
        "password from both.",
    ]


def _trouble(document: Document, width: int) -> Sequence[str]:
    lines = []
    if document.get("problem"):
        lines.append(folded("The tunnel is not open yet: ", str(document["problem"]), width or 80))
    if document.get("attempts"):
        lines.append(attempts_table(document["attempts"], width))
    return [*lines, "It is tried again and again; `techsupport status` shows how it is."]


async def _seed_from_input(call: Call) -> str:
    try:
        seed = (await call.stdin()).decode().strip()
    except UnicodeDecodeError:
        raise GatepostError("the seed string on standard input is not UTF-8 text", EX_DATAERR) from None
    if not seed or "\n" in seed:
        raise GatepostError("give the seed string as the one line of standard input", EX_DATAERR)
    return seed


async def _enable(call: Call, mode: str, *, seed: str, seed_stdin: bool, **terms: Any) -> Document:
    given = await _seed_from_input(call) if seed_stdin else seed
    terms = {name: value for name, value in terms.items() if value not in (None, False, [])}
    document = await asked(call, "techsupport_enable", _START_S, _so_far, mode=mode, seed=given or None, **terms)
    return await completed(call, document)


def _so_far(status: Document) -> str:
    return str(status.get("doing") or "making the keys")


async def _disable(call: Call) -> Document:
    """Disable, and see that nobody is in any more before saying so: the console cuts sessions within a second."""
    closed = await _closed(call)
    document = await completed(call, closed)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CUT_S):
            while document["sessions"]:
                await asyncio.sleep(_LOOK_S)
                document = await completed(call, closed)
    return document


async def _closed(call: Call) -> Document:
    """Have the tunnel client end access; where none runs, end it without."""
    try:
        return await call.appliance.ask(CLIENT, "techsupport_disable") or {}
    except GatepostError as error:
        if error.status != EX_UNAVAILABLE or call.appliance.shut_out is None:
            raise
        return call.appliance.shut_out()


def _only(act: str, **terms: Any) -> None:
    given = [name for name, value in terms.items() if value]
    if act == "disable" and given:
        raise UsageProblem(f"disable takes no --{given[0].replace('_', '-')}")


@command(
    "techsupport tunnel",
    "Let support log in through a tunnel that this machine opens.",
    render=render_enabled,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def tunnel(
    call: Call,
    act: Act = "enable",
    *,
    port: Annotated[int | None, Help("port of the bastion to try first", "PORT", 1, 65535)] = None,
    hops: Annotated[str, Help("other appliances that support may reach from here", "ADDRESS,…")] = "",
    ask: Ask = False,
    shell: Shell = False,
    hours: Hours = None,
    seed_stdin: FromInput = False,
    seed: Seed = "",
) -> Document:
    """The tunnel takes new connections for seven days; service access stays until it is disabled."""
    _only(act, port=port, hops=hops, ask=ask, shell=shell, hours=hours, seed_stdin=seed_stdin)
    if act == "disable":
        return await _disable(call)
    terms = {"port": port, "hops": addresses(hops), "ask": ask, "shell": shell, "hours": hours}
    return await _enable(call, "tunnel", seed=seed, seed_stdin=seed_stdin, **terms)


@command(
    "techsupport sshaccess",
    "Let support log in without a tunnel, from a second machine.",
    render=render_enabled,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def sshaccess(
    call: Call,
    act: Act = "enable",
    *,
    ask: Ask = False,
    shell: Shell = False,
    seed_stdin: FromInput = False,
    seed: Seed = "",
) -> Document:
    """For a machine without internet access; stays until it is disabled."""
    _only(act, ask=ask, shell=shell, seed_stdin=seed_stdin)
    if act == "disable":
        return await _disable(call)
    return await _enable(call, "sshaccess", seed=seed, seed_stdin=seed_stdin, ask=ask, shell=shell)


def render_disabled(document: Document, width: int) -> str:
    """Say that access has ended."""
    lines = [paint("Success - Remote Access has been disabled.", "good", width)]
    if left := len(document.get("sessions") or []):
        lines.append(paint(f"{left} support sessions have not ended yet; see `techsupport status`.", "bad", width))
    return "\n".join([*lines, f"Serial Number: {document.get('serial', '')}"])


@command(
    "techsupport disable",
    "End service access and the tunnel.",
    render=render_disabled,
    roles=ADMINISTRATORS,
    machines=MAIL_MACHINES,
)
async def disable(call: Call) -> Document:
    """Support sessions that are open are cut."""
    return await _disable(call)
