"""The dialogue of `certconfig`: the model's menu over the commands of ops/cli/commands/certificate.py."""

from ops.cli.commands.certificate import OWN, SIDES, rows_of
from ops.cli.commands.staged import Operations, menu_of, pick
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Command, Document

_LIST = "certconfig list"


async def _ask_paste(dialogue: Dialogue) -> None:
    name = await dialogue.ask("Enter a name for this certificate profile:")
    if not name:
        return
    certificate = await dialogue.text(
        "Paste the certificate and what leads to its authority, in PEM format; end with '.':"
    )
    key = await dialogue.text("Paste the private key in PEM format; end with '.':")
    secret = "ENCRYPTED" in key
    passphrase = await dialogue.secret("Passphrase of the key") if secret else ""
    await dialogue.perform("certconfig paste", {"name": name, "pem": certificate + key, "passphrase": passphrase})


async def _ask_import(dialogue: Dialogue) -> None:
    name = await dialogue.ask("Enter a name for this certificate profile:")
    file = await dialogue.ask("Enter the name of the file in configuration/:") if name else ""
    if not file:
        return
    key = await dialogue.ask("Enter the name of the file with the key; empty if it is in the same file:")
    passphrase = await dialogue.secret("Passphrase of the key, if it has one")
    arguments = {"name": name, "file": file, "key": key, "passphrase": passphrase}
    await dialogue.perform("certconfig import", arguments)


async def _ask_new(call: Call, dialogue: Dialogue) -> None:
    name = await dialogue.ask("Enter a name for this certificate profile:")
    if not name:
        return
    names = await dialogue.ask("Enter the host names, separated by commas:", call.appliance.hostname)
    organization = await dialogue.ask("Enter Organization:")
    country = await dialogue.ask("Enter Country (2 letter code):")
    days = await dialogue.number("Duration before expiration (in days):", 3652, 36500)
    kinds = ["ecdsa", "rsa"]
    kind = kinds[await dialogue.choose("Which key?", ["ECDSA P-256", "RSA, 3072 bits"])]
    arguments = {"name": name, "names": names, "organization": organization, "country": country}
    await dialogue.perform("certconfig generate", {**arguments, "days": max(1, days), "key": kind})


async def _which(call: Call, dialogue: Dialogue, question: str, *, own: bool = False) -> str:
    names = [row["name"] for row in rows_of(call) if row["name"] and (own or row["name"] != OWN)]
    for place, name in enumerate(names, 1):
        dialogue.say(f"{place}. {name}")
    return pick(names, await dialogue.ask(question))


async def _ask_setup(call: Call, dialogue: Dialogue) -> None:
    rows = rows_of(call)
    chosen: Document = {}
    for side in SIDES:
        names = [row["name"] for row in rows if row["name"] and (side != "delivery" or row["name"] != OWN)]
        names = ["none", *names] if side == "delivery" else names
        used = next((row["name"] for row in rows if side in row["used_for"]), "none")
        place = await dialogue.choose(f"Which certificate is for {side}?", names, names.index(used) + 1)
        chosen[side] = "own" if names[place] == OWN else names[place]
    await dialogue.perform("certconfig setup", chosen)


async def _ask_print(call: Call, dialogue: Dialogue) -> None:
    name = await _which(call, dialogue, "Which certificate do you want to see?", own=True)
    if name:
        await dialogue.perform("certconfig print", {"name": name})


async def _ask_delete(call: Call, dialogue: Dialogue) -> None:
    name = await _which(call, dialogue, "Which certificate do you want to remove?")
    if name:
        await dialogue.perform("certconfig delete", {"name": name})


async def _ask_authorities(dialogue: Dialogue) -> None:
    file = await dialogue.ask("Enter the file in configuration/ with the authorities, or system:")
    if file:
        await dialogue.perform("certconfig authorities", {"file": file})


async def _menu(call: Call, dialogue: Dialogue) -> Document | None:
    operations: Operations = {
        "PASTE": ("Take a certificate and its key as text.", lambda: _ask_paste(dialogue)),
        "IMPORT": ("Take a certificate and its key from a file.", lambda: _ask_import(dialogue)),
        "NEW": ("Make a key, a self-signed certificate and a request.", lambda: _ask_new(call, dialogue)),
        "PRINT": ("View a certificate.", lambda: _ask_print(call, dialogue)),
        "DELETE": ("Remove a certificate.", lambda: _ask_delete(call, dialogue)),
        "SETUP": ("Say which certificate serves what.", lambda: _ask_setup(call, dialogue)),
        "CERTAUTHORITY": ("Set the authorities that delivery trusts.", lambda: _ask_authorities(dialogue)),
    }
    await menu_of(call, dialogue, _LIST, operations)
    return None


COMMANDS = (Command("certconfig", "Configure certificates and what they serve.", run=None, dialogue=_menu),)
