"""SSH: the one adapter of asyncssh.

Everything else takes its SSH from here; `tunnel/` and the console may also subclass asyncssh's `SSHServer`,
`SSHServerSession`, `SSHListener` and use its exceptions. Keys and certificates in `key`, hardened options in
`option`, dialling and commands in `client`, accepting in `server` (who may come in: `admission`, how a connection
begins: `entrance`, what it may do at most: `accepted`), what can go wrong in `error`.
"""

import core.ssh.loading  # noqa: F401 - before the modules that import asyncssh
from core.ssh.accepted import Bucket, ConnectionLimits, ServerConnection, certificate_of, handshake, unsent
from core.ssh.admission import AcceptLimits, PenaltyTerms, Refusal
from core.ssh.client import (
    CommandResult,
    HostKey,
    KeyOrFile,
    connection_over,
    dial,
    host_key_fingerprint,
    run_command,
    translate,
    translated,
)
from core.ssh.entrance import ALPN, Entrance
from core.ssh.error import SshAuthFailed, SshBroken, SshError, SshHostKeyChanged, SshRefused, SshTimeout
from core.ssh.key import (
    CertificateFacts,
    certificate_facts,
    certificate_text,
    ensure_key,
    fingerprint,
    host_certificate,
    known_hosts_authority,
    known_hosts_line,
    make_key,
    parse_public,
    public_text,
    read_certificate,
    read_key,
    same_key,
    signed_by,
    user_certificate,
    write_key,
)
from core.ssh.option import client_options, server_options
from core.ssh.server import Endpoint, SshListener
from core.ssh.splice import Half, splice_to_address, splice_to_channel, splice_to_unix

__all__ = [
    "ALPN",
    "AcceptLimits",
    "Bucket",
    "CertificateFacts",
    "CommandResult",
    "ConnectionLimits",
    "Endpoint",
    "Entrance",
    "Half",
    "HostKey",
    "KeyOrFile",
    "PenaltyTerms",
    "Refusal",
    "ServerConnection",
    "SshAuthFailed",
    "SshBroken",
    "SshError",
    "SshHostKeyChanged",
    "SshListener",
    "SshRefused",
    "SshTimeout",
    "certificate_facts",
    "certificate_of",
    "certificate_text",
    "client_options",
    "connection_over",
    "dial",
    "ensure_key",
    "fingerprint",
    "handshake",
    "host_certificate",
    "host_key_fingerprint",
    "known_hosts_authority",
    "known_hosts_line",
    "make_key",
    "parse_public",
    "public_text",
    "read_certificate",
    "read_key",
    "run_command",
    "same_key",
    "server_options",
    "signed_by",
    "splice_to_address",
    "splice_to_channel",
    "splice_to_unix",
    "translate",
    "translated",
    "unsent",
    "user_certificate",
    "write_key",
]
