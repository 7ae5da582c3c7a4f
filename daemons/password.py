"""`gatepost password`: make the stored form of a password for a [[smtp_user]]. Asks twice on a terminal, reads one
line otherwise; the password never stands on a command line, where others could see it.
"""

import argparse
import getpass
import sys

from core.errors import EX_DATAERR, EX_OK, GatepostError
from core.password import SCHEMES, make_hash


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument(
        "--scheme",
        choices=SCHEMES,
        default=SCHEMES[0],
        help="argon2id (the default; log-in by PLAIN and LOGIN), or scram-sha-256 (by SCRAM-SHA-256 as well)",
    )
    parser.set_defaults(action=_print_hash)


def _print_hash(args: argparse.Namespace) -> int:
    try:
        print(make_hash(_typed(), args.scheme))
    except ValueError as error:
        raise GatepostError(f"password: {error}", EX_DATAERR) from None
    return EX_OK


def _typed() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise ValueError("the two differ; nothing was made")
    return password


def asked() -> str:
    """Ask for a new password twice on a terminal, read one line otherwise. Raises status 65 if the two differ."""
    try:
        return _typed()
    except ValueError as error:
        raise GatepostError(f"password: {error}", EX_DATAERR) from None
