"""`nslookup` and `dig`: questions to name servers, by default to those of the configuration."""

from typing import Annotated, Literal

from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from core.lookup import Reply, Row, ask
from core.name_server import is_address, name_server
from ops.cli.account import INSPECTORS
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, command
from ops.network.place import servers_of

Kind = Literal["A", "CNAME", "MX", "NS", "PTR", "SOA", "TXT"]
_TITLES = {
    "A": "the host's IP address",
    "CNAME": "the canonical name for an alias",
    "MX": "the mail exchanger",
    "NS": "the name server for the named zone",
    "PTR": "the hostname if the query is an Internet address",
    "SOA": 'the domain\'s "start-of-authority" information',
    "TXT": "the text information",
}
_UNITS = ((604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m"))


def lifetime(seconds: int) -> str:
    """Show a TTL as the model does: the largest unit that it is a multiple of, or several (`2d`, `1h 30m`)."""
    rest, parts = max(0, seconds), []
    for length, unit in _UNITS:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    if rest or not parts:
        parts.append(f"{rest}s")
    return " ".join(parts)


def _rows(rows: list[Row]) -> list[Document]:
    return [{"name": one.name, "ttl_s": one.ttl_s, "type": one.kind, "data": one.text} for one in rows]


async def _ask_nslookup(call: Call, dialogue: Dialogue) -> Document | None:
    name = await dialogue.ask("Please enter the host or IP address to resolve.")
    if not name:
        return None
    options = [f"{kind:<6} {title}" for kind, title in _TITLES.items()]
    # An address has a name, everything else an address.
    default = list(_TITLES).index("PTR") + 1 if is_address(name) else 1
    chosen = await dialogue.choose("Choose the query type:", options, default)
    return {"name": name, "kind": list(_TITLES)[chosen]}


def render_nslookup(document: Document, width: int) -> str:
    """Show each record as `A=192.0.2.7 TTL=2d`."""
    lines = [f"{row['type']}={row['data']} TTL={lifetime(row['ttl_s'])}" for row in document["records"]]
    return "\n".join(lines)


@command(
    "nslookup", "Ask the DNS for one type of record.", render=render_nslookup, dialogue=_ask_nslookup, roles=INSPECTORS
)
async def nslookup(
    call: Call,
    name: Annotated[str, Help("host name or address")],
    kind: Annotated[Kind | None, Help("type of record; left out: A, or PTR for an address")] = None,
) -> Document:
    """Goes to the configured name servers, past the caches of the daemons."""
    wanted = kind or ("PTR" if is_address(name) else "A")
    reply = await ask(servers_of(call.appliance.configuration()), name, wanted)
    records = _rows(reply.sections["answer"])
    if reply.code == "NXDOMAIN":
        raise GatepostError(f"{name}: there is no such name", EX_NOINPUT)
    if reply.code != "NOERROR":
        raise GatepostError(f"{name}: {reply.server} answered {reply.code}", EX_NOINPUT)
    if not records:
        raise GatepostError(f"{name} has no {wanted} record", EX_NOINPUT)
    return {"name": name, "type": wanted, "server": reply.server, "records": records}


async def _ask_dig(call: Call, dialogue: Dialogue) -> Document | None:
    name = await dialogue.ask("Please enter the host or IP address to look up.")
    if not name:
        return None
    kind = await dialogue.ask("Please enter the query type:", "PTR" if is_address(name) else "A")
    return {"words": ["-t", kind, name]}


def render_dig(document: Document, width: int) -> str:
    """Show the whole answer in the form of the DNS's own zone files."""
    question = document["question"]
    lines = [
        f";; status: {document['status']}, flags: {' '.join(document['flags'])}",
        "",
        ";; QUESTION SECTION:",
        f";{question['name']}  IN  {question['type']}",
    ]
    for title in ("answer", "authority", "additional"):
        rows = document[title]
        if rows:
            lines += ["", f";; {title.upper()} SECTION:"]
            lines += [f"{row['name']}  {row['ttl_s']}  IN  {row['type']}  {row['data']}" for row in rows]
    lines += ["", f";; Query time: {document['took_ms']:.0f} msec", f";; SERVER: {document['server']}"]
    return "\n".join([*lines, f";; MSG SIZE rcvd: {document['octets']}"])


@command("dig", "Ask a name server anything.", render=render_dig, dialogue=_ask_dig, roles=INSPECTORS)
async def dig(
    call: Call,
    words: Annotated[
        list[str], Help("the name; -s SERVER, -t TYPE and -x ADDRESS go before it", "[-s SERVER] [-t TYPE] NAME")
    ],
) -> Document:
    """`dig -t mx example.com`, `dig -s 192.0.2.53 example.com`, `dig -x 192.0.2.7`; SERVER is an address, with
    `:PORT` if not 53. The whole answer is shown.
    """
    server, kind, name = _dig_words(words)
    servers = servers_of(call.appliance.configuration())
    if server:
        try:
            servers = [name_server(server)]
        except ValueError:
            raise GatepostError(f"{server!r}: give the server's address", EX_DATAERR) from None
    return _document(await ask(servers, name, kind or ("PTR" if is_address(name) else "A")))


def _dig_words(words: list[str]) -> tuple[str, str, str]:
    """Give server, type and name; `@server` and a type after the name are understood too."""
    given = {"-s": "", "-t": "", "-x": ""}
    loose, pending = [], list(words)
    while pending:
        word = pending.pop(0)
        if word in given:
            if not pending:
                raise GatepostError(f"{word} needs a value", EX_DATAERR)
            given[word] = pending.pop(0)
        elif word.startswith("@"):
            given["-s"] = word[1:]
        elif word.startswith("-"):
            raise GatepostError(f"unknown option {word}", EX_DATAERR)
        else:
            loose.append(word)
    loose = [given["-x"]] if given["-x"] else loose
    if not 1 <= len(loose) <= 2:
        raise GatepostError("give one name", EX_DATAERR)
    kind = given["-t"] or ("PTR" if given["-x"] else loose[1] if len(loose) == 2 else "")
    return given["-s"], kind, loose[0]


def _document(reply: Reply) -> Document:
    sections = {title: _rows(rows) for title, rows in reply.sections.items()}
    return {
        "status": reply.code,
        "flags": list(reply.flags),
        "question": {"name": reply.question[0], "type": reply.question[1]},
        **sections,
        "server": reply.server,
        "octets": reply.octets,
        "took_ms": reply.took_ms,
    }


COMMANDS = (nslookup, dig)
