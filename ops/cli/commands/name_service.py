"""`dnsconfig`: which name servers are asked; `dnsflush`: forget what they have said.

Changes go to the caller's pending copy; daemons follow them with commit. The dialogue is in name_service_menu.py.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from core.config.section import DnsSection
from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from core.name_server import name_server, name_servers
from ops.cli.account import ADMINISTRATORS, STAFF
from ops.cli.appliance import DAEMONS
from ops.cli.argument import Help
from ops.cli.commands.staged import (
    File,
    also_called,
    put,
    read_rows,
    render_staged,
    render_written,
    section,
    stage,
    sure,
    write_rows,
)
from ops.cli.dialogue import Dialogue
from ops.cli.display import fitted, number
from ops.cli.registry import MAIL_MACHINES, Call, Document, command
from ops.cli.table import Column, table
from ops.configuration.place import Tables
from ops.formats.line import Lines

FORM = Lines("Which name servers are asked: DOMAIN or ALL: SERVER, SERVER/pri=N", "domain", "servers", several=True)
DNSSEC = {"yes": True, "no": False, "auto": None}
Server = Annotated[str, Help("IP address of the server, with :PORT if not 53", "SERVER")]
Domain = Annotated[str, Help("only for this domain and all below it", "DOMAIN")]
Priority = Annotated[int, Help("0 is asked first", "N", 0, 65535)]
Choice = Annotated[Literal["yes", "no", ""], Help("yes or no")]


def server_of(text: str) -> tuple[str, int]:
    """Give address and priority of an entry."""
    address, _, rest = text.partition("/")
    digits = rest.partition("=")[2]
    return address.strip(), int(digits) if digits.isdecimal() else 0


def _join(address: str, priority: int) -> str:
    return f"{address}/pri={priority}" if priority else address


def facts_of(tables: Tables) -> Document:
    """Give which servers are asked for what, and how."""
    found = DnsSection().model_dump(mode="json") | section(tables, "dns")
    servers = [dict(zip(("server", "priority"), server_of(one), strict=True)) for one in found["servers"]]
    return {
        "servers": sorted(servers, key=lambda one: int(one["priority"])),
        "system_servers": [] if servers or found["root"] else [str(one) for one in name_servers(())],
        "root": found["root"],
        "private": [{"domain": row.get("domain", ""), "servers": row.get("servers", [])} for row in found["private"]],
        "timeout_s": found["timeout_s"],
        "reverse_timeout_s": found["reverse_timeout_s"],
        "validating": found["validating"],
    }


def render_dns(document: Document, width: int) -> str:
    """Show who is asked, for what, and how long."""
    if document["root"]:
        lines = ["Currently using the Internet root DNS servers."]
    elif document["servers"]:
        heads = [Column("Priority", right=True), Column("Server")]
        rows = [[str(one["priority"]), one["server"]] for one in document["servers"]]
        lines = ["Currently using the local DNS cache servers:", table(heads, rows, width)]
    else:
        lines = [f"Currently using the DNS servers of the system: {', '.join(document['system_servers'])}"]
    if document["private"]:
        lines += ["", "Domains with servers of their own:"]
        lines += [f"{row['domain']}: {', '.join(row['servers'])}" for row in document["private"]]
    reverse = document["reverse_timeout_s"]
    dnssec = {True: "they are believed", False: "not believed", None: "believed if all are on this machine"}
    lines += [
        "",
        f"Time-out of a question: {document['timeout_s']:g} s.",
        f"Time-out of reverse DNS lookups: {f'{reverse:g} s' if reverse else 'off, none are made'}.",
        f"DNSSEC: what the servers say they validated is {dnssec[document['validating']].removeprefix('they are ')}.",
    ]
    return fitted("\n".join(lines), width)


@command("dnsconfig list", "Show which name servers are asked.", render=render_dns)
async def dnsconfig_list(call: Call) -> Document:
    """As the pending configuration has it."""
    return facts_of(call.editing.tables())


def _checked(text: str) -> str:
    try:
        return str(name_server(text)).removesuffix(":53") if ":53" not in text else text
    except ValueError as error:
        raise GatepostError(f"{text!r} is no name server: {error}", EX_DATAERR) from None


def _edit_servers(tables: Tables, domain: str, edit: Callable[[list[str]], list[str]]) -> None:
    """Change the general servers, or those of a private domain; a domain without any goes."""
    dns = section(tables, "dns")
    if not domain:
        put(tables, "dns", servers=edit(list(dns.get("servers", ()))) or None)
        return
    rows = [dict(row) for row in dns.get("private", ())]
    row = next((one for one in rows if one["domain"].lower() == domain.lower()), None)
    if row is None:
        rows.append(row := {"domain": domain, "servers": []})
    row["servers"] = edit(list(row["servers"]))
    put(tables, "dns", private=[one for one in rows if one["servers"]] or None)


def _without(servers: list[str], server: str) -> list[str]:
    wanted = _address(server)
    left = [one for one in servers if _address(one) != wanted]
    if len(left) == len(servers):
        raise GatepostError(f"{server} is not among the name servers: {', '.join(servers) or 'none'}", EX_NOINPUT)
    return left


def _address(text: str) -> str:
    return str(name_server(text))


@command("dnsconfig new", "Add a name server.", render=render_staged, roles=ADMINISTRATORS)
async def dnsconfig_new(call: Call, server: Server, *, priority: Priority = 0, domain: Domain = "") -> Document:
    """Servers of the lowest priority are asked first, the others when those do not answer. The root servers are not
    asked any more then."""
    address = _checked(server)

    def edit(tables: Tables) -> None:
        _edit_servers(tables, domain, lambda servers: _added(servers, address, priority))
        if not domain:
            put(tables, "dns", root=None)

    where = f" for {domain}" if domain else ""
    return await stage(call, f"name server {address}{where} was added with priority {priority}", edit)


def _added(servers: list[str], address: str, priority: int) -> list[str]:
    if any(_address(one) == _address(address) for one in servers):
        raise GatepostError(f"{address} is there already; change it with dnsconfig edit", EX_DATAERR)
    return [*servers, _join(address, priority)]


@command("dnsconfig edit", "Change the priority of a name server.", render=render_staged, roles=ADMINISTRATORS)
async def dnsconfig_edit(call: Call, server: Server, *, priority: Priority = 0, domain: Domain = "") -> Document:
    """The server itself: delete it, then add another one."""
    address = _checked(server)

    def edit(tables: Tables) -> None:
        _edit_servers(tables, domain, lambda servers: [*_without(servers, address), _join(address, priority)])

    return await stage(call, f"name server {address} has priority {priority}", edit)


@command("dnsconfig delete", "Ask a name server no more.", render=render_staged, roles=ADMINISTRATORS)
async def dnsconfig_delete(call: Call, server: Server, *, domain: Domain = "") -> Document:
    """Without any left, those of the system are asked; a private domain without any goes."""
    address = _checked(server)

    def edit(tables: Tables) -> None:
        _edit_servers(tables, domain, lambda servers: _without(servers, address))

    return await stage(call, f"name server {address} was deleted", edit)


def _written(dns: Tables) -> list[Tables]:
    """Give the rows of a file: ALL for everything, then the private domains."""
    general = ["ROOT"] if dns.get("root") else list(dns.get("servers", ()))
    rows = [{"domain": row["domain"], "servers": list(row["servers"])} for row in dns.get("private", ())]
    return [*([{"domain": "ALL", "servers": general}] if general else []), *rows]


@command(
    "dnsconfig export",
    "Write which name servers are asked to a file.",
    render=render_written,
    roles=STAFF,
    multiline={"text"},
)
async def dnsconfig_export(call: Call, file: File) -> Document:
    """One domain a line, ALL for everything else: `ALL: 10.0.0.1, 10.0.0.2/pri=1`, or `ALL: ROOT`."""
    return await write_rows(call, FORM, file, _written(section(call.editing.tables(), "dns")))


@command(
    "dnsconfig import", "Read which name servers are asked from a file.", render=render_staged, roles=ADMINISTRATORS
)
async def dnsconfig_import(call: Call, file: File) -> Document:
    """In the place of all that there are. A line that cannot be read refuses the whole file, with its number."""
    rows = await read_rows(call, FORM, file)
    general = [one for row in rows if row["domain"].upper() == "ALL" for one in row["servers"]]
    root = [one.upper() for one in general] == ["ROOT"]
    private = [row for row in rows if row["domain"].upper() != "ALL"]
    values = {"root": root or None, "servers": None if root else general or None, "private": private or None}
    return await stage(
        call, f"name servers were imported: {len(rows)} lines", lambda tables: put(tables, "dns", **values)
    )


@command("dnsconfig setup", "Set root servers, time-outs and DNSSEC.", render=render_staged, roles=ADMINISTRATORS)
async def dnsconfig_setup(
    call: Call,
    *,
    root: Choice = "",
    timeout_s: Annotated[float | None, Help("seconds for one question", "SECONDS", 0.1, 60)] = None,
    reverse_timeout_s: Annotated[
        float | None, Help("seconds for the name of an address; 0 = off", "SECONDS", 0, 60)
    ] = None,
    validating: Annotated[Literal["yes", "no", "auto", ""], Help("believe the servers on DNSSEC")] = "",
) -> Document:
    """What is not given stays. With the root servers, own servers are taken out."""

    def edit(tables: Tables) -> None:
        if root:
            put(tables, "dns", root=True if root == "yes" else None)
        if root == "yes":
            put(tables, "dns", servers=None)
        if validating:
            put(tables, "dns", validating=DNSSEC[validating])
        given = {"timeout_s": timeout_s, "reverse_timeout_s": reverse_timeout_s}
        put(tables, "dns", **{key: value for key, value in given.items() if value is not None})

    return await stage(call, "how names are looked up was changed", edit)


async def forget_names(call: Call) -> list[Document]:
    """Have every daemon that looks names up forget what it knows; tell of each how much, or why it did not."""
    daemons = [one for one in DAEMONS.get(call.appliance.role, ()) if one not in ("release-host", "bastion")]
    answers = await call.appliance.ask_each(daemons, "dns_flush")
    return [
        {
            "daemon": one.daemon,
            "flushed": one.document["flushed"] if one.error is None else 0,
            "error": one.error.text if one.error is not None else None,
        }
        for one in answers
    ]


def render_flush(document: Document, width: int) -> str:
    """Say what was forgotten where."""
    lines = [
        f"{row['daemon']}: {row['error'] or number(row['flushed']) + ' answers forgotten'}"
        for row in document["daemons"]
    ]
    return "\n".join(["The DNS cache has been flushed.", *lines])


async def _ask_flush(call: Call, dialogue: Dialogue) -> Document | None:
    sure_ = await dialogue.confirm("Are you sure you want to clear out the DNS cache?")
    return {"yes": True} if sure_ else None


@command(
    "dnsflush",
    "Forget what name servers have said.",
    render=render_flush,
    dialogue=_ask_flush,
    roles=STAFF,
    machines=MAIL_MACHINES,
)
async def dnsflush(call: Call, *, yes: Annotated[bool, Help("do it without a question")] = False) -> Document:
    """In all daemons; a daemon that is not running is named, it begins without a cache."""
    sure(yes, "every name would have to be looked up again")
    return {"daemons": await forget_names(call)}


COMMANDS = (
    dnsconfig_list,
    also_called(dnsconfig_list, "dnsconfig print"),
    dnsconfig_new,
    dnsconfig_edit,
    dnsconfig_delete,
    dnsconfig_setup,
    dnsconfig_export,
    dnsconfig_import,
    dnsflush,
)
