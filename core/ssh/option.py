"""Connection options with every default of asyncssh that is unsafe or depends on the user's home set here.

Off: agents, user configuration, `~/.ssh/known_hosts`, `~/.ssh/id_*`, GSS, host-based and X.509 login, agent and
X11 forwarding, compression, SHA-1, NIST curves, finite-field Diffie-Hellman. AES-GCM only, so Terrapin has no
target even with a peer that lacks strict key exchange. Text is bytes (`encoding=None`): one invalid UTF-8
byte would otherwise close the whole connection.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncssh
from asyncssh import (
    SSHCertificate,
    SSHClientConnectionOptions,
    SSHKey,
    SSHServer,
    SSHServerConnectionOptions,
    import_known_hosts,
)

KEX = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")
CIPHERS = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
OLD_CIPHERS = ("aes256-ctr",)
OLD_MACS = ("hmac-sha2-256",)
"""What clients without AES-GCM have, dropbear's for one; only where a configuration asks for them."""
SIGNATURES = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "rsa-sha2-512", "rsa-sha2-256")
HOST_KEYS = ("ssh-ed25519",)
HOST_CERTIFICATES = ("ssh-ed25519-cert-v01@openssh.com",)

WINDOW = 1024 * 1024
"""Receive window of a channel: the bound of what one channel can make us hold."""

_ALGORITHMS: dict[str, Any] = {
    "kex_algs": list(KEX),
    "encryption_algs": list(CIPHERS),
    "mac_algs": list(MACS),
    "compression_algs": None,
    "signature_algs": list(SIGNATURES),
}
_OLD: dict[str, Any] = {
    "encryption_algs": [*CIPHERS, *OLD_CIPHERS],
    "mac_algs": [*MACS, *OLD_MACS],
}


def server_options(
    server_factory: Callable[[], SSHServer],
    host_keys: Sequence[SSHKey | tuple[SSHKey, SSHCertificate]],
    *,
    version: str = "Gatepost_1.0",
    login_timeout_s: float = 20,
    keepalive_s: float = 15,
    interactive: bool = False,
    passwords: bool = False,
    old_clients: bool = False,
    algorithms: Mapping[str, Sequence[str]] | None = None,
) -> SSHServerConnectionOptions:
    """Build the options of a hardened server.

    Authentication is by public key, and by questions (keyboard-interactive) or passwords only on request; the
    `SSHServer` decides whom they are offered. `algorithms` names others than ours: `kex_algs`, `encryption_algs`,
    `mac_algs`. What is allowed is
    decided by the `SSHServer` that server_factory makes; everything is refused unless it says otherwise. `version` is
    what follows `SSH-2.0-`. `old_clients` also lets in those that know no AES-GCM.
    """
    return SSHServerConnectionOptions(
        config=None,
        server_factory=server_factory,
        server_version=version,
        server_host_keys=list(host_keys),
        authorized_client_keys=None,
        public_key_auth=True,
        password_auth=passwords,
        kbdint_auth=interactive,
        host_based_auth=False,
        gss_host=None,
        gss_kex=False,
        gss_auth=False,
        x509_trusted_certs=None,
        allow_pty=True,
        line_editor=False,
        rdns_lookup=False,
        x11_forwarding=False,
        agent_forwarding=False,
        process_factory=None,
        session_factory=None,
        encoding=None,
        sftp_factory=None,
        allow_scp=False,
        window=WINDOW,
        login_timeout=login_timeout_s,
        keepalive_interval=keepalive_s,
        keepalive_count_max=3,
        tcp_keepalive=True,
        utf8_decode_errors="replace",
        **(_ALGORITHMS | (_OLD if old_clients else {}) | {name: list(one) for name, one in (algorithms or {}).items()}),
    )


def client_options(
    username: str,
    known_hosts: str,
    *,
    host_key_alias: str,
    keys: Sequence[SSHKey | tuple[SSHKey, SSHCertificate]] = (),
    password: str | None = None,
    client_factory: Callable[[], asyncssh.SSHClient] | None = None,
    version: str = "Gatepost_1.0",
    connect_timeout_s: float = 15,
    login_timeout_s: float = 20,
    keepalive_s: float = 15,
    diagnosed: Sequence[str] = (),
) -> SSHClientConnectionOptions:
    """Build the options of a client that trusts exactly the known_hosts text and uses exactly these keys.

    host_key_alias is the name that known_hosts is searched for; we often connect by socket or address. `diagnosed`
    are further host key algorithms that are let come so far that client_factory's object sees the key it refuses.
    """
    return SSHClientConnectionOptions(
        config=None,
        username=username,
        client_factory=client_factory,
        known_hosts=import_known_hosts(known_hosts),
        host_key_alias=host_key_alias,
        server_host_key_algs=list(dict.fromkeys([*_host_key_algorithms(known_hosts), *diagnosed])),
        client_keys=list(keys) or None,
        password=password,
        preferred_auth="password" if password is not None and not keys else "publickey,password",
        public_key_auth=bool(keys),
        password_auth=password is not None,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        gss_kex=False,
        gss_auth=False,
        x509_trusted_certs=None,
        disable_trivial_auth=True,
        agent_path=None,
        agent_forwarding=False,
        x11_forwarding=False,
        pkcs11_provider=None,
        send_env=None,
        encoding=None,
        client_version=version,
        connect_timeout=connect_timeout_s,
        login_timeout=login_timeout_s,
        keepalive_interval=keepalive_s,
        keepalive_count_max=3,
        tcp_keepalive=True,
        utf8_decode_errors="replace",
        window=WINDOW,
        **_ALGORITHMS,
    )


def _host_key_algorithms(known_hosts: str) -> list[str]:
    """Ask for what can be checked: a certificate only where an authority is trusted, a key where one is pinned."""
    lines = [line for line in known_hosts.splitlines() if line.strip()]
    authorities = [line for line in lines if line.startswith("@cert-authority")]
    algorithms = list(HOST_CERTIFICATES) if authorities else []
    return algorithms + (list(HOST_KEYS) if len(lines) > len(authorities) else [])
