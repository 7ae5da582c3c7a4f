"""`certconfig`: certificates with their keys, which of them serves what, and the authorities that delivery trusts.

The files are written at once, under names of their own (keys/certificates/NAME.FINGERPRINT.crt and .key, 0600), the
configuration that names them with commit: a roll-back finds the files that it names. A private key is never shown.
"""

import asyncio
import hashlib
import os
from dataclasses import asdict
from typing import Annotated, Literal

from core.credential import Credential, Facts, Wanted, authorities_in, describe, make_credential, read_credential
from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, GatepostError
from ops.cli.account import ADMINISTRATORS
from ops.cli.argument import Help, UsageProblem
from ops.cli.commands.staged import put, render_staged, section, stage, words_of
from ops.cli.display import day, folded, moment
from ops.cli.editing.file import read_text, write_text
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table
from ops.configuration.place import Tables

FOLDER = "keys/certificates"
OWN = "(keys/tls.crt)"
SIDES = ("receiving", "delivery", "https")
_SHOWN_NAMES = 3
Name = Annotated[str, Help("name of the certificate")]
File = Annotated[str, Help("file in configuration/, - for standard input", "FILE")]


def _described(call: Call, name: str, file: str) -> Document:
    row: Document = {"name": name, "certificate": file, "used_for": [], "warnings": [], "error": ""}
    try:
        facts = describe((call.appliance.dir / file).read_bytes())
    except (OSError, ValueError) as error:
        return row | {"error": str(getattr(error, "strerror", "") or error)}
    return row | {**asdict(facts), "names": list(facts.names), "warnings": facts.warnings(call.appliance.now())}


def rows_of(call: Call) -> list[Document]:
    """Describe every certificate of the pending configuration, the machine's own one first."""
    tables = call.editing.tables()
    found = [_described(call, OWN, "keys/tls.crt")]
    found += [
        _described(call, str(row.get("name", "")), str(row["certificate"])) for row in tables.get("certificate", ())
    ]
    tls = section(tables, "tls")
    for side in SIDES:
        name = tls.get(f"{side}_certificate") or ("" if side == "delivery" else OWN)
        for row in found:
            if name and row["name"] == name:
                row["used_for"].append(side)
    return found


def render_list(document: Document, width: int) -> str:
    """Show one certificate a line, then what is wrong with any, then the authorities."""
    rows = document["certificates"]
    heads = [
        Column("Name"),
        Column("For", least=20),
        Column("Issued by", least=16),
        Column("Expires"),
        Column("Used for"),
    ]
    cells = []
    for row in rows:
        names = row.get("names", [])
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        shown = ", ".join(names[:_SHOWN_NAMES]) + more
        issuer = "itself" if row.get("self_signed") else str(row.get("issuer", ""))
        until, used = row["error"] or day(row["expires_at"]), ", ".join(row["used_for"])
        cells.append([row["name"] or "-", shown, issuer, until, used or "-"])
    lines = [table(heads, cells, width)]
    lines += [f"{row['name']}: {warning}." for row in rows for warning in row["warnings"]]
    own = document["authorities"]
    lines += ["", f"Authorities of delivery: {own['file'] or 'those of the system'}"]
    lines += [f"  {one['subject']} until {moment(one['expires_at'])}" for one in own["authorities"]]
    return "\n".join([*lines, *([own["error"]] if own["error"] else [])])


def _authorities(call: Call) -> Document:
    file = str(section(call.editing.tables(), "delivery_tls").get("authorities", ""))
    found: list[Facts] = []
    error = ""
    if file:
        try:
            found = authorities_in((call.appliance.dir / file).read_bytes())
        except (OSError, ValueError) as problem:
            error = str(problem)
    rows = [{"subject": one.subject, "expires_at": one.expires_at, "fingerprint": one.fingerprint} for one in found]
    return {"file": file, "authorities": rows, "error": error}


@command("certconfig list", "Show certificates, until when they hold and what they serve.", render=render_list)
async def certconfig_list(call: Call) -> Document:
    """As the pending configuration has them. Listeners also show every named one to clients that ask for its names."""
    return await asyncio.to_thread(lambda: {"certificates": rows_of(call), "authorities": _authorities(call)})


def _halved(fingerprint: str, width: int) -> str:
    """Put the second half of a fingerprint into a second line where the terminal has no room for both."""
    middle = len(fingerprint) // 2 + 1
    if not 0 < width < 12 + len(fingerprint):
        return fingerprint
    return f"{fingerprint[:middle]}\n{' ' * 12}{fingerprint[middle:]}"


def render_one(document: Document, width: int) -> str:
    """Show one fact a line, then the certificate itself."""
    labels = {"subject": "Subject", "issuer": "Issuer", "key": "Key", "fingerprint": "SHA-256"}
    shown = {**document, "fingerprint": _halved(str(document["fingerprint"]), width)}
    lines = [f"{label + ':':<12}{shown[key]}" for key, label in labels.items()]
    lines.insert(1, folded(f"{'Names:':<12}", ", ".join(document["names"]), width))
    lines += [
        f"{'Valid from:':<12}{moment(document['begins_at'])}",
        f"{'Expires:':<12}{moment(document['expires_at'])}",
    ]
    lines += [f"{'Used for:':<12}{', '.join(document['used_for']) or '-'}"]
    return "\n".join([*lines, *(f"{one}." for one in document["warnings"]), document["pem"].rstrip()])


@command("certconfig print", "Show one certificate.", render=render_one, multiline={"pem"})
async def certconfig_print(call: Call, name: Name = OWN) -> Document:
    """With its chain in PEM form; never its key."""
    row = next((one for one in await asyncio.to_thread(rows_of, call) if one["name"] == name), None)
    if row is None:
        raise GatepostError(_nobody(call, name), EX_NOINPUT)
    if row["error"]:
        raise GatepostError(f"{row['certificate']}: {row['error']}", EX_NOINPUT)
    text = await asyncio.to_thread((call.appliance.dir / row["certificate"]).read_text)
    return row | {"pem": text}


def _nobody(call: Call, name: str) -> str:
    known = ", ".join(str(row.get("name", "")) for row in call.editing.tables().get("certificate", ())) or "none"
    return f"no certificate is called {name!r}; there are: {known}"


def _save(call: Call, name: str, credential: Credential) -> tuple[str, str]:
    """Write both files, the key for nobody else; gives their paths as the configuration has them."""
    stem = f"{FOLDER}/{name}.{credential.facts.fingerprint.replace(':', '')[:16].lower()}"
    folder, disk = call.appliance.dir, Disk()
    try:
        facts = folder.stat()
        owner = (facts.st_uid, facts.st_gid) if os.geteuid() == 0 else None
        disk.make_directory(folder / FOLDER)
        if owner is not None:
            os.chown(folder / FOLDER, *owner)
        replace_file(disk, folder / f"{stem}.key", credential.key, mode=0o600, owner=owner)
        replace_file(disk, folder / f"{stem}.crt", credential.chain, mode=0o640, owner=owner)
    except OSError as error:
        raise GatepostError(f"{folder / stem}.*: cannot be written: {error.strerror}", EX_CANTCREAT) from None
    return f"{stem}.crt", f"{stem}.key"


async def _install(call: Call, name: str, credential: Credential, what: str) -> Document:
    files = await asyncio.to_thread(_save, call, name, credential)
    row = {"name": name, "certificate": files[0], "key": files[1]}

    def edit(tables: Tables) -> None:
        rows = [one for one in tables.get("certificate", []) if one.get("name") != name]
        tables["certificate"] = [*rows, row]

    facts = credential.facts
    warnings = [*credential.warnings, *facts.warnings(call.appliance.now(), call.appliance.hostname)]
    notes = [f"For {', '.join(facts.names)}; {facts.key}; until {moment(facts.expires_at)}."]
    notes += [f"Warning: {one}." for one in warnings]
    return await stage(call, f"certificate {name} was {what}", edit, **row, notes=notes, expires_at=facts.expires_at)


def _read(pem: str, key: str, passphrase: str) -> Credential:
    try:
        return read_credential(pem.encode(), key.encode(), passphrase)
    except ValueError as error:
        raise GatepostError(f"it cannot be used: {error}", EX_DATAERR) from None


@command("certconfig paste", "Take a certificate and its key as text.", render=render_staged, roles=ADMINISTRATORS)
async def certconfig_paste(
    call: Call,
    name: Name,
    pem: Annotated[str, Help("certificate, chain and key in PEM form", secret=True)] = "",
    passphrase: Annotated[str, Help("of the key", secret=True)] = "",
) -> Document:
    """Batch form: certificate, chain and key come on standard input, in any order. A key that does not belong to the
    certificate is refused; dates, gaps in the chain and names are warned of. The name may be one that there is."""
    _checked_name(name)
    text = pem or (await call.stdin()).decode("utf-8", "replace")
    if not text.strip():
        raise GatepostError("nothing came on standard input; nothing was changed", EX_NOINPUT)
    return await _install(call, name, _read(text, "", passphrase), "taken")


@command("certconfig import", "Take a certificate and its key from files.", render=render_staged, roles=ADMINISTRATORS)
async def certconfig_import(
    call: Call,
    name: Name,
    file: File,
    passphrase: Annotated[str, Help("of the key", secret=True)] = "",
    *,
    key: Annotated[str, Help("file of the key, where it is another one; `own`: the key that NAME has", "FILE")] = "",
) -> Document:
    """`--key own` takes what an authority made of the request of certconfig generate."""
    _checked_name(name)
    pem = await read_text(call, file)
    other = await _own_key(call, name) if key == "own" else (await read_text(call, key) if key else "")
    return await _install(call, name, _read(pem, other, passphrase), "imported")


async def _own_key(call: Call, name: str) -> str:
    row = next((one for one in call.editing.tables().get("certificate", ()) if one.get("name") == name), None)
    if row is None:
        raise GatepostError(_nobody(call, name), EX_NOINPUT)
    return await asyncio.to_thread((call.appliance.dir / str(row["key"])).read_text)


@command(
    "certconfig generate",
    "Make a key, a self-signed certificate and a request.",
    render=render_staged,
    roles=ADMINISTRATORS,
)
async def certconfig_generate(
    call: Call,
    name: Name,
    *,
    names: Annotated[str, Help("DNS names separated by commas; none = this host's", "NAMES")] = "",
    organization: Annotated[str, Help("organization", "TEXT")] = "",
    country: Annotated[str, Help("country, two letters", "CODE")] = "",
    days: Annotated[int, Help("how long it holds", "DAYS", 1, 36500)] = 3652,
    key: Annotated[Literal["ecdsa", "rsa"], Help("ECDSA P-256, or RSA of 3072 bits")] = "ecdsa",
) -> Document:
    """The request (PKCS #10) is written to configuration/NAME.csr for an authority to sign; what comes back is taken
    with `certconfig import NAME FILE --key own`."""
    _checked_name(name)
    wanted = tuple(words_of(names)) or (call.appliance.hostname,)
    try:
        asked = Wanted(wanted, organization, country.upper(), days, key == "rsa")
        credential, request = await asyncio.to_thread(make_credential, asked, call.appliance.now())
    except ValueError as error:
        raise GatepostError(f"a certificate cannot say that: {error}", EX_DATAERR) from None
    path = await write_text(call, f"{name}.csr", request.decode())
    document = await _install(call, name, credential, "made")
    return document | {"request": str(path), "notes": [*document["notes"], f"The request for an authority is {path}."]}


@command(
    "certconfig export",
    "Write a certificate with its chain to a file.",
    roles=ADMINISTRATORS,
    render=lambda d, _: f"Written to {d['file']}.",
)
async def certconfig_export(call: Call, name: Name, file: File) -> Document:
    """Never the key."""
    row = await certconfig_print.run(call, name)  # type: ignore[misc]
    if file == "-":
        call.show(row["pem"].rstrip())
        return {"file": "standard output", "pem": row["pem"]}
    return {"file": str(await write_text(call, file, row["pem"]))}


@command(
    "certconfig delete", "Take a certificate out of the configuration.", render=render_staged, roles=ADMINISTRATORS
)
async def certconfig_delete(call: Call, name: Name) -> Document:
    """Its files stay: a roll-back may want them. One that serves something is refused."""

    def edit(tables: Tables) -> None:
        rows = [one for one in tables.get("certificate", []) if one.get("name") != name]
        if len(rows) == len(tables.get("certificate", [])):
            raise GatepostError(_nobody(call, name), EX_NOINPUT)
        used = [side for side in SIDES if section(tables, "tls").get(f"{side}_certificate") == name]
        if used:
            raise GatepostError(f"{name} serves {', '.join(used)}; see certconfig setup", EX_DATAERR)
        tables["certificate"] = rows
        if not rows:
            del tables["certificate"]

    return await stage(call, f"certificate {name} was deleted", edit)


@command("certconfig setup", "Say which certificate serves what.", render=render_staged, roles=ADMINISTRATORS)
async def certconfig_setup(
    call: Call,
    *,
    receiving: Annotated[str, Help("shown by listeners; `own` = keys/tls.crt", "NAME")] = "",
    delivery: Annotated[str, Help("shown to hosts that ask for one; `none` = none", "NAME")] = "",
    https: Annotated[str, Help("shown by the web side; `own` = keys/tls.crt", "NAME")] = "",
) -> Document:
    """What is not given stays."""
    given = {"receiving": receiving, "delivery": delivery, "https": https}
    chosen = {f"{side}_certificate": name for side, name in given.items() if name}
    if not chosen:
        raise UsageProblem("certconfig setup: say --receiving, --delivery or --https")
    values = {key: None if name.lower() in ("own", "none", OWN) else name for key, name in chosen.items()}

    def edit(tables: Tables) -> None:
        known = [one.get("name") for one in tables.get("certificate", ())]
        if wrong := [name for name in values.values() if name and name not in known]:
            raise GatepostError(_nobody(call, wrong[0]), EX_NOINPUT)
        put(tables, "tls", **values)

    shown = ", ".join(f"{side} {name}" for side, name in given.items() if name)
    return await stage(call, f"certificates in use were changed: {shown}", edit)


@command(
    "certconfig authorities", "Set the authorities that delivery trusts.", render=render_staged, roles=ADMINISTRATORS
)
async def certconfig_authorities(
    call: Call, file: Annotated[str, Help("PEM file in configuration/, `system` for those of the system", "FILE")]
) -> Document:
    """For destinations whose TLS must be verified, and for policy hosts. Counts after a restart of delivery-queue."""
    if file.lower() == "system":
        return await stage(
            call, "the system's authorities are trusted", lambda t: put(t, "delivery_tls", authorities=None)
        )
    pem = await read_text(call, file)
    try:
        found = authorities_in(pem.encode())
    except ValueError as error:
        raise GatepostError(f"{file}: {error}", EX_DATAERR) from None
    where = f"{FOLDER}/authorities.{hashlib.sha256(pem.encode()).hexdigest()[:16]}.pem"
    await asyncio.to_thread(_save_authorities, call, where, pem)
    trusted = f"{len(found)} authorities are trusted"
    return await stage(call, trusted, lambda t: put(t, "delivery_tls", authorities=where), authorities=where)


def _save_authorities(call: Call, where: str, pem: str) -> None:
    disk, path = Disk(), call.appliance.dir / where
    try:
        disk.make_directory(path.parent)
        replace_file(disk, path, pem.encode(), mode=0o644)
    except OSError as error:
        raise GatepostError(f"{path}: cannot be written: {error.strerror}", EX_CANTCREAT) from None


def _checked_name(name: str) -> None:
    if not name or len(name) > 64 or not all(one.isascii() and (one.isalnum() or one in "_.-") for one in name):
        raise UsageProblem(f"{name!r}: a name is letters, digits, _ . and -")
    if name.startswith((".", "-")):
        raise UsageProblem(f"{name!r}: a name begins with a letter or digit")


COMMANDS = (
    certconfig_list,
    certconfig_print,
    certconfig_paste,
    certconfig_import,
    certconfig_generate,
    certconfig_export,
    certconfig_delete,
    certconfig_setup,
    certconfig_authorities,
)
