"""`gatepost bastion replay|verify`: look at recordings, prove that they are what was recorded.

They work on the bastion and, for the customer's own recordings, on an appliance. Exit status 0, or 65 when something
does not fit.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import EX_DATAERR, EX_OK, EX_USAGE, GatepostError

if TYPE_CHECKING:
    from daemons.machine import Machine
    from tunnel.recording.verify import Report


def add_arguments(verbs: Any) -> None:
    """Describe the commands."""
    from daemons.owner import add_config
    from daemons.support.command_line import add_json

    replay = verbs.add_parser("replay", help="play a recording on this terminal, or show it as text")
    replay.add_argument("file", type=Path, metavar="FILE")
    replay.add_argument("--speed", type=float, default=1.0, metavar="N", help="times as fast (default: 1)")
    replay.add_argument("--max-idle", type=float, default=0.0, metavar="S", help="longest silence in seconds")
    replay.add_argument("--text", action="store_true", help="as text without control characters, for a pager")
    replay.set_defaults(action=_replay)
    verify = verbs.add_parser("verify", help="prove recordings or the audit log by chain, hash and signature")
    verify.add_argument("files", type=Path, nargs="*", metavar="FILE")
    verify.add_argument("--all", action="store_true", help="all recordings of the machine")
    verify.add_argument("--audit", action="store_true", help="the machine's audit log, or those that are named")
    verify.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="who may sign (default: the machine's own key)"
    )
    add_config(verify)
    add_json(verify)
    verify.set_defaults(action=_verify)


def _replay(args: argparse.Namespace) -> int:
    from tunnel.recording.replay import play, transcript

    if args.text:
        for words in transcript(args.file):
            sys.stdout.write(words)
        return EX_OK
    if args.speed <= 0 or args.max_idle < 0:
        raise GatepostError("--speed is more than 0, --max-idle not less than 0", EX_USAGE)
    if not sys.stdout.isatty():
        raise GatepostError("a replay needs a terminal; --text shows the recording as text", EX_USAGE)

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    play(args.file, write, speed=args.speed, max_idle_s=args.max_idle)
    return EX_OK


def _verify(args: argparse.Namespace) -> int:
    if args.all + args.audit + bool(args.files and not args.audit) != 1:
        raise GatepostError("name recordings, or --all, or --audit", EX_USAGE)
    machine = _machine(args)
    allowed = _allowed(args.allowed_signers, machine)
    if not allowed:
        text = "note: signatures are not checked: the signing key is not known here; see --allowed-signers\n"
        sys.stderr.write(text)
    return _audit(args, machine, allowed) if args.audit else _recordings(args, machine, allowed)


def _machine(args: argparse.Namespace) -> "Machine | None":
    from daemons.machine import Machine
    from daemons.owner import standard_config

    needed = args.all or (args.audit and not args.files)
    if needed or args.config != standard_config() or os.access(args.config, os.R_OK):
        return Machine.open(args.config)
    return None


def _recordings(args: argparse.Namespace, machine: "Machine | None", allowed: str) -> int:
    from daemons.support.command_line import tell
    from tunnel.recording.archive import recordings
    from tunnel.recording.verify import logged_of, name_of, verify

    logged = None if machine is None else logged_of(_events(machine))
    files = list(args.files)
    missing: list[str] = []
    if args.all and machine is not None:
        files = recordings(machine.dir / "recordings")
        missing = sorted(set(logged or ()) - {name_of(one) for one in files})
    reports = [verify(one, allowed, logged) for one in files]
    document = {"recordings": [_document(one) for one in reports], "missing": missing}
    lines = [one.line for one in reports]
    lines += [f"{one}: is in the audit log and not on the disk" for one in missing]
    tell(args, document, "\n".join(lines or ["there are no recordings"]))
    return EX_OK if not missing and all(one.good for one in reports) else EX_DATAERR


def _events(machine: "Machine") -> Iterator[Mapping[str, Any]]:
    from tunnel.audit import events

    path = _audit_log(machine)
    return events(path) if path.exists() else iter(())


def _document(report: "Report") -> dict[str, Any]:
    import msgspec

    return {"good": report.good, **msgspec.to_builtins(report)}


def _audit(args: argparse.Namespace, machine: "Machine | None", allowed: str) -> int:
    from daemons.support.command_line import tell

    paths = list(args.files) if args.files or machine is None else [_audit_log(machine)]
    documents = [_checked(path, allowed) for path in paths]
    tell(args, {"logs": [document for document, _ in documents]}, "\n".join(text for _, text in documents))
    return EX_OK if all(document["good"] for document, _ in documents) else EX_DATAERR


def _checked(path: Path, allowed: str) -> tuple[dict[str, Any], str]:
    """Check one audit log; gives the document and the text."""
    import msgspec

    from tunnel.audit import check
    from tunnel.recording.signature import is_signed

    try:
        report = check(path, (lambda digest, signature: is_signed(digest, signature, allowed)) if allowed else None)
    except GatepostError as error:
        if error.status != EX_DATAERR:
            raise
        return {"file": str(path), "good": False, "problem": error.text}, error.text
    text = f"{path}: intact; lines: {report.lines}, files: {len(report.files)}"
    if allowed and report.heads:
        text += f"; good signatures: {report.heads}, the last covers the first {report.covered} lines"
    elif allowed:
        text += "; not signed yet"
    text += "".join(f"\nnote: {note}" for note in report.notes)
    return {"file": str(path), "good": True, **msgspec.to_builtins(report)}, text


def _audit_log(machine: "Machine") -> Path:
    return machine.dir / "log" / ("audit.jsonl" if machine.role == "bastion" else "service.jsonl")


def _allowed(file: Path | None, machine: "Machine | None") -> str:
    """Give the allowed signers: those of a file, or the key with which this machine signs."""
    from core.errors import EX_NOINPUT
    from tunnel.recording.signature import allowed_line

    if file is not None:
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise GatepostError(f"{file}: cannot be read: {error}", EX_NOINPUT) from error
    public = _own_key(machine) if machine is not None else ""
    return allowed_line(public) if public else ""


def _own_key(machine: "Machine") -> str:
    """Give the public key with which this machine signs recordings; '' if keyd has it and does not answer."""
    from core.ssh import public_text, read_key
    from tunnel.keyd.client import SOCKET, Keyd, asked

    if machine.role != "bastion":
        return public_text(read_key(machine.keys / "host_ed25519"))
    try:
        return asked(Keyd(machine.dir / "run" / SOCKET).public()).recording
    except GatepostError as error:
        sys.stderr.write(f"note: {error.text}\n")
        return ""
