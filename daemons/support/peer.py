"""`gatepost bastion peer`: the certificate by which one bastion knows another.

The first call makes the authority (keys/peer_ca.key, .crt) beside the machine's other keys; it stays on that machine.
For another node, its three files are carried there: peer_ca.crt, peer.crt and peer.key.
"""

import argparse
from pathlib import Path
from typing import Any

from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_DATAERR, EX_OK, EX_USAGE, GatepostError


def add_arguments(verbs: Any) -> None:
    """Describe the command."""
    from daemons.support.command_line import add_common

    peer = verbs.add_parser("peer", help="make the certificate of one of several bastions that share a database")
    peer.add_argument("node", metavar="NODE", help="its name: `node` in its configuration")
    peer.add_argument("--out", type=Path, metavar="DIR", help="where its files are put (default: this machine's keys)")
    add_common([peer], _peer)


def _peer(args: argparse.Namespace) -> int:
    from core.config import is_host
    from core.pki import issue_certificate
    from daemons.machine import machine_for

    machine = machine_for("gatepost bastion peer", args.config, ("bastion",))
    if not is_host(args.node):
        raise GatepostError(f"{args.node!r}: a node's name is like a host's", EX_USAGE)
    try:
        authority_key, authority = _authority(machine.keys)
        key, certificate = issue_certificate(authority_key, authority, args.node.lower())
        out = args.out or machine.keys
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content, mode in (
            ("peer_ca.crt", authority, 0o644),
            ("peer.crt", certificate, 0o644),
            ("peer.key", key, 0o600),
        ):
            replace_file(Disk(), out / name, content, mode=mode)
    except OSError as error:
        raise GatepostError(
            f"{error.filename}: {error.strerror}; choose another place with --out", EX_CANTCREAT
        ) from error
    except ValueError as error:
        raise GatepostError(f"{machine.keys / 'peer_ca.crt'}: {error}", EX_DATAERR) from error
    print(
        f"{out}: peer_ca.crt, peer.crt and peer.key of {args.node.lower()}; set node, peer_address and peer_port there"
    )
    return EX_OK


def _authority(keys: Path) -> tuple[bytes, bytes]:
    """Give the authority's key and certificate; made if there are none."""
    from core.pki import make_authority

    key, certificate = keys / "peer_ca.key", keys / "peer_ca.crt"
    if not key.exists():
        if certificate.exists():
            raise GatepostError(
                f"{keys}: the authority's key is on the bastion that made peer_ca.crt; run it there", EX_USAGE
            )
        made = make_authority("gatepost bastions")
        replace_file(Disk(), key, made[0], mode=0o600)
        replace_file(Disk(), certificate, made[1], mode=0o644)
    return key.read_bytes(), certificate.read_bytes()
