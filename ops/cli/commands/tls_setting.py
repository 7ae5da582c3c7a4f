"""`sslconfig`: TLS versions and ciphers of the web side, of mail that comes in and of mail that goes out.

Changes go to the caller's pending copy; a commit brings them to the next handshakes.
"""

from functools import partial
from typing import Annotated

from core.config.section import TlsSection
from core.errors import EX_DATAERR, GatepostError
from core.tls_rules import VERSIONS, check_ciphers, ciphers_of
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help, UsageProblem
from ops.cli.commands.staged import (
    Operations,
    also_called,
    menu_of,
    put,
    render_staged,
    section,
    stage,
    words_of,
)
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Command, Document, command
from ops.configuration.place import Tables

_LIST = "sslconfig list"
SIDES = {"gui": "GUI HTTPS", "inbound": "Inbound SMTP", "outbound": "Outbound SMTP"}
Versions = Annotated[str, Help("TLS versions separated by commas: 1.2, 1.3", "VERSIONS")]
Ciphers = Annotated[str, Help("ciphers of TLS 1.2, as OpenSSL writes them", "STRING")]


def _facts(tables: Tables) -> Document:
    found = TlsSection().model_dump(mode="json") | section(tables, "tls")
    return {side: {"versions": found[f"{side}_versions"], "ciphers": found[f"{side}_ciphers"]} for side in SIDES}


def render_sides(document: Document, width: int) -> str:
    """Show versions and ciphers of each side."""
    lines = ["sslconfig settings:"]
    for side, title in SIDES.items():
        one = document[side]
        lines.append(f"  {title + ' method:':<25}{', '.join('TLS v' + version for version in one['versions'])}")
        lines.append(f"  {title + ' ciphers:':<25}{one['ciphers']}")
    return "\n".join(lines)


@command(_LIST, "Show TLS versions and ciphers.", render=render_sides)
async def sslconfig_list(call: Call) -> Document:
    """As the pending configuration has them. The ciphers are those of TLS 1.2; those of TLS 1.3 are all fit."""
    return _facts(call.editing.tables())


async def _set(call: Call, side: str, versions: str, ciphers: str) -> Document:
    if not versions and not ciphers:
        raise UsageProblem(f"sslconfig {side}: say --versions, --ciphers, or both")
    spoken = [one.lower().removeprefix("tls").strip(" v_").replace("1_", "1.") for one in words_of(versions)]
    if wrong := [one for one in spoken if one not in VERSIONS]:
        raise GatepostError(
            f"TLS {wrong[0]} cannot be had: {', '.join(VERSIONS)} can, older ones are forbidden (RFC 8996)", EX_DATAERR
        )
    values: Tables = {f"{side}_versions": spoken or None, f"{side}_ciphers": ciphers or None}
    given = {key: value for key, value in values.items() if value}
    return await stage(call, f"TLS of {SIDES[side]} was changed", lambda tables: put(tables, "tls", **given))


@command("sslconfig gui", "Set TLS of the web side.", render=render_staged, roles=ADMINISTRATORS)
async def sslconfig_gui(call: Call, *, versions: Versions = "", ciphers: Ciphers = "") -> Document:
    """What is not given stays."""
    return await _set(call, "gui", versions, ciphers)


@command("sslconfig inbound", "Set TLS of mail that comes in.", render=render_staged, roles=ADMINISTRATORS)
async def sslconfig_inbound(call: Call, *, versions: Versions = "", ciphers: Ciphers = "") -> Document:
    """What is not given stays. The quarantine channel has rules of its own."""
    return await _set(call, "inbound", versions, ciphers)


@command("sslconfig outbound", "Set TLS of mail that goes out.", render=render_staged, roles=ADMINISTRATORS)
async def sslconfig_outbound(call: Call, *, versions: Versions = "", ciphers: Ciphers = "") -> Document:
    """What is not given stays. A string that has anonymous ciphers in it is refused; append `:-aNULL`."""
    return await _set(call, "outbound", versions, ciphers)


def render_ciphers(document: Document, width: int) -> str:
    """Show one cipher a line."""
    return "\n".join(document["names"])


@command("sslconfig verify", "Show which ciphers a string stands for.", render=render_ciphers)
async def sslconfig_verify(call: Call, ciphers: Annotated[str, Help("as OpenSSL writes them", "STRING")]) -> Document:
    """Those of TLS 1.2, the best first. A string that cannot be set is refused with the reason."""
    try:
        check_ciphers(ciphers)
    except ValueError as error:
        raise GatepostError(f"{ciphers}: {error}", EX_DATAERR) from None
    return {"ciphers": ciphers, "names": ciphers_of(ciphers)}


async def _ask(call: Call, dialogue: Dialogue, side: str) -> None:
    facts = _facts(call.editing.tables())[side]
    ways: list[tuple[str, str]] = [("TLS v1.2 and v1.3", "1.2,1.3"), ("TLS v1.3", "1.3"), ("TLS v1.2", "1.2")]
    before = next(place for place, (_, one) in enumerate(ways, 1) if one.split(",") == list(facts["versions"]))
    title = SIDES[side]
    chosen = await dialogue.choose(f"Enter the {title} ssl method you want to use.", [text for text, _ in ways], before)
    ciphers = await dialogue.ask(f"Enter the {title} ssl cipher you want to use.", facts["ciphers"])
    arguments = {"versions": ways[chosen][1], "ciphers": ciphers}
    await dialogue.perform(f"sslconfig {side}", arguments)


async def _ask_verify(dialogue: Dialogue) -> None:
    ciphers = await dialogue.ask("Enter the ssl cipher you want to verify.")
    if ciphers:
        await dialogue.perform("sslconfig verify", {"ciphers": ciphers})


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    operations: Operations = {
        side.upper(): (f"Edit {title} ssl settings.", partial(_ask, call, dialogue, side))
        for side, title in SIDES.items()
    }
    verify = ("Verify and show ssl cipher list.", lambda: _ask_verify(dialogue))
    await menu_of(call, dialogue, _LIST, {**operations, "VERIFY": verify})
    return None


COMMANDS = (
    Command("sslconfig", "Configure TLS versions and ciphers.", run=None, dialogue=_menu),
    sslconfig_list,
    also_called(sslconfig_list, "sslconfig print"),
    sslconfig_gui,
    sslconfig_inbound,
    sslconfig_outbound,
    sslconfig_verify,
)
