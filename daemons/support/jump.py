"""Certificates for the appliances themselves, for engineers who go straight through the bastion (`ssh -J`).

Called by `ca sign --forwarding`. Each is signed with the key that keyd derived from the appliance's seed string.
Written beside the engineer's certificate, with known_hosts and an ssh configuration in which every appliance is a
host: `ssh -F CONFIG SERIAL`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import EX_UNAVAILABLE, GatepostError
from core.ssh import certificate_facts, known_hosts_line, public_text, read_certificate, read_key
from daemons.support.case import current_grant
from daemons.support.command_line import write_out
from daemons.support.opened_bastion import OpenedBastion
from tunnel.bastion.store import Case, CaseSerial
from tunnel.identity import SERVICE_PORT, SERVICE_USER

_JUMP = "gatepost-bastion"


@dataclass(frozen=True)
class Holder:
    """Whose certificates they are."""

    public: str
    key: Path
    """The file of the public key."""
    certificate: Path
    """The one for the bastion, which is there already."""
    life_s: float


async def certify_appliances(
    bastion: OpenedBastion, case: Case, serials: list[str], holder: Holder, document: dict[str, Any]
) -> None:
    """Write a certificate for every appliance that has a grant, and the configuration; completes the document."""
    certificate = holder.certificate
    key_id = certificate_facts(read_certificate(certificate)).key_id
    stem = certificate.name.removesuffix(".pub").removesuffix("-cert")
    private = holder.key.with_name(holder.key.name.removesuffix(".pub"))
    pins, blocks = [_bastion_pin(bastion)], []
    for serial in serials:
        try:
            grant = await current_grant(bastion, case, serial)
        except GatepostError as error:
            if error.status != EX_UNAVAILABLE:
                raise
            document["notes"].append(error.text)
            continue
        # The appliance in front of another one forwards to it.
        leads_on = any(row.via == serial for row in case.serials)
        text = await bastion.keyd.certify(
            grant.grant_id, holder.public, key_id, life_s=holder.life_s, forwarding=leads_on
        )
        file = certificate.with_name(f"{stem}-{serial}-cert.pub")
        write_out(file, text + "\n")
        # keyd gives less than was asked for where certify_minutes or the grant's own end say so.
        until_at = certificate_facts(read_certificate(file)).valid_before_at
        appliance = await bastion.store.appliances.get(serial)
        if appliance is None:
            continue
        pins.append(known_hosts_line(serial, appliance.host_key))
        row = case.row(serial) or CaseSerial(serial=serial)
        blocks.append(_block(row, bastion.section.hop_port if row.via else SERVICE_PORT, file))
        document["appliances"].append({"serial": serial, "certificate": str(file), "until": until_at})
    if not blocks:
        return
    hosts = certificate.with_name(f"{stem}-known_hosts")
    write_out(hosts, "".join(f"{pin}\n" for pin in pins))
    config = certificate.with_name(f"{stem}-ssh_config")
    rest = _rest(private, hosts)
    write_out(config, "".join(block + rest for block in (_jump(bastion, serials[0], certificate), *blocks)))
    document["ssh_config"] = str(config)


def _bastion_pin(bastion: OpenedBastion) -> str:
    """Pin the bastion's host key under the name of the jump."""
    return known_hosts_line(_JUMP, public_text(read_key(bastion.machine.keys / "bastion_host_ed25519")))


def _jump(bastion: OpenedBastion, user: str, certificate: Path) -> str:
    """Give the host that is the bastion; any serial of the certificate is a user there."""
    return (
        f"Host {_JUMP}\n"
        f"    HostName {bastion.section.engineer_address}\n"
        f"    Port {bastion.section.engineer_port}\n"
        f"    User {user}\n"
        f"    HostKeyAlias {_JUMP}\n"
        f"    CertificateFile {certificate}\n"
    )


def _block(row: CaseSerial, port: int, certificate: Path) -> str:
    """Give the host of one appliance: behind the bastion, or behind another appliance."""
    return (
        f"Host {row.serial} {row.serial.upper()}\n"
        f"    HostName {row.address or row.serial}\n"
        f"    Port {port}\n"
        f"    User {SERVICE_USER}\n"
        f"    HostKeyAlias {row.serial}\n"
        f"    CertificateFile {certificate}\n"
        f"    ProxyJump {row.via or _JUMP}\n"
    )


def _rest(private: Path, hosts: Path) -> str:
    """Give what every host has."""
    return (
        f"    IdentityFile {private}\n"
        f"    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {hosts}\n"
        f"    StrictHostKeyChecking yes\n"
        f"    ServerAliveInterval 15\n"
        f"    ServerAliveCountMax 3\n"
    )
