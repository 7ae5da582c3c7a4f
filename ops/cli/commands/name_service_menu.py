"""The dialogue of `dnsconfig`: the model's menu over the commands of ops/cli/commands/name_service.py."""

from ops.cli.commands.name_service import DNSSEC, facts_of, server_of
from ops.cli.commands.staged import Operations, menu_of, pick, words_of
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Command, Document

_LIST = "dnsconfig list"


async def _ask_new(dialogue: Dialogue) -> None:
    kinds = ["Add a local DNS cache server.", "Add a server for a domain of one's own."]
    private = await dialogue.choose(
        "Do you want to add a new local DNS cache server or an alternate domain server?", kinds
    )
    domain = (
        await dialogue.ask('Please enter the domain this server is authoritative for. (Ex: "example.com").')
        if private
        else ""
    )
    if private and not domain:
        return
    servers = await dialogue.ask("Please enter the IP address of your DNS server; several separated by commas.")
    if not servers:
        return
    priority = 0 if private else await dialogue.number("Please enter the priority for this server.", 0, 65535)
    for server in words_of(servers):
        await dialogue.perform("dnsconfig new", {"server": server, "priority": priority, "domain": domain})


async def _which(call: Call, dialogue: Dialogue, verb: str) -> Document | None:
    facts = facts_of(call.editing.tables())
    rows = [{"server": one["server"], "priority": one["priority"], "domain": ""} for one in facts["servers"]]
    rows += [
        {"server": server_of(one)[0], "priority": server_of(one)[1], "domain": row["domain"]}
        for row in facts["private"]
        for one in row["servers"]
    ]
    if not rows:
        dialogue.say("There are no servers of your own.")
        return None
    names = [f"{row['server']}{' for ' + row['domain'] if row['domain'] else ''}" for row in rows]
    for place, name in enumerate(names, 1):
        dialogue.say(f"{place}. {name}")
    found = pick(names, await dialogue.ask(f"Enter the number of the server that you want to {verb}."))
    return rows[names.index(found)] if found else None


async def _ask_edit(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "edit")
    if row is not None:
        priority = await dialogue.number("Please enter the priority for this server.", row["priority"], 65535)
        await dialogue.perform("dnsconfig edit", {**row, "priority": priority})


async def _ask_delete(call: Call, dialogue: Dialogue) -> None:
    row = await _which(call, dialogue, "delete")
    if row is not None:
        await dialogue.perform("dnsconfig delete", {"server": row["server"], "domain": row["domain"]})


async def _ask_setup(call: Call, dialogue: Dialogue) -> None:
    facts = facts_of(call.editing.tables())
    ways = ["Use Internet root DNS servers", "Use own DNS cache servers"]
    root = await dialogue.choose(
        "Do you want the gateway to use the Internet's root DNS servers or your own?", ways, 2 - facts["root"]
    )
    reverse = await dialogue.number(
        "Enter the number of seconds to wait before timing out reverse DNS lookups; 0 makes none.",
        int(facts["reverse_timeout_s"]),
        60,
    )
    arguments: Document = {"root": "yes" if root == 0 else "no", "reverse_timeout_s": float(reverse)}
    if root:
        words = list(DNSSEC)
        before = words.index(next(key for key, value in DNSSEC.items() if value is facts["validating"])) + 1
        texts = ["Believe them", "Do not believe them", "Believe them if all are on this machine"]
        arguments["validating"] = words[await dialogue.choose("Do your servers validate DNSSEC?", texts, before)]
    await dialogue.perform("dnsconfig setup", arguments)


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    operations: Operations = {
        "NEW": ("Add a new server.", lambda: _ask_new(dialogue)),
        "EDIT": ("Edit a server.", lambda: _ask_edit(call, dialogue)),
        "DELETE": ("Remove a server.", lambda: _ask_delete(call, dialogue)),
        "SETUP": ("Configure general settings.", lambda: _ask_setup(call, dialogue)),
    }
    await menu_of(call, dialogue, _LIST, operations)
    return None


COMMANDS = (Command("dnsconfig", "Configure which name servers are asked.", run=None, dialogue=_menu),)
