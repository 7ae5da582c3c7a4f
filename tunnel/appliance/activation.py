"""What an administrator has allowed, on disk: mode, since when, until when, over which port.

Written by `tunnel-client`, read by it at start and by the console's service endpoint at each login. One JSON
file, replaced atomically and synced before the change takes effect, so a restart neither forgets a DISABLE nor
prolongs a tunnel. The wall clock decides; a clock that was set back does not buy time (`latest_at`).
What can log in is kept in a form from which it cannot be made: a public key and verifiers of passwords.
"""

import secrets
from pathlib import Path

import msgspec

from core.disk import Disk, replace_file
from core.errors import EX_CONFIG, GatepostError

FILE_NAME = "tunnel.json"
"""In the machine's state directory."""
DISABLED, TUNNEL, SSHACCESS = "disabled", "tunnel", "sshaccess"
MODES = (TUNNEL, SSHACCESS)


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """One activation of remote access, or none (`mode` disabled)."""

    mode: str = DISABLED
    activation_id: str = ""
    """128 random bits in hex; a new one each time access is enabled anew."""
    enabled_at: float = 0.0
    tunnel_until_at: float = 0.0
    """From then on no new connection through the tunnel; 0 without a tunnel."""
    port: int = 0
    last_good_port: int = 0
    last_good_way: str = ""
    """How SSH was carried on that port: ssh, tls, proxy or proxy-tls."""
    proved: bool = False
    """Whether the tunnel of this activation has been open: then the last good port is tried first."""
    warned_at: float = 0.0
    """When the administrator was last reminded that access is on."""
    latest_at: float = 0.0
    """The latest time that was ever seen, so that the clock cannot be turned back."""
    seed_fingerprint: str = ""
    service_key: str = ""
    """Public key line of the key that support derives from seed and serial."""
    passwords: tuple[str, ...] = ()
    """Verifiers of the one-time passwords, the first unused first."""
    key_id: int = 0
    """Which of the support organisation's keys the seed was made for."""
    day: int = 0
    """The expiry day that is bound into the derivation, in days since 2020-01-01."""
    hops: tuple[str, ...] = ()
    """Addresses of further appliances that support may reach through this one, on port 22."""
    ask: bool = False
    """Whether each session waits for the administrator's yes."""
    shell: bool = False
    """Whether support may have a login shell besides the console."""
    account_until_at: float = 0.0
    """From then on the service account is closed; 0: it stays open until disabled."""

    def account_open(self, now: float) -> bool:
        """Whether the service account may log in at all: until disabled, whatever the tunnel, or its own limit."""
        limit = self.account_until_at
        return self.mode != DISABLED and (not limit or max(now, self.latest_at) < limit)

    def tunnel_open(self, now: float) -> bool:
        """Whether new connections through the tunnel are allowed at this time."""
        return self.mode == TUNNEL and max(now, self.latest_at) < self.tunnel_until_at


def enabled(mode: str, now: float, life_s: float, port: int, before: Activation) -> Activation:
    """Give the activation that follows when access is enabled; a mode change keeps `before`'s clock memory."""
    return Activation(
        mode=mode,
        activation_id=secrets.token_hex(16),
        enabled_at=now,
        tunnel_until_at=max(now, before.latest_at) + life_s if mode == TUNNEL else 0.0,
        port=port if mode == TUNNEL else 0,
        last_good_port=before.last_good_port,
        last_good_way=before.last_good_way,
        latest_at=max(now, before.latest_at),
    )


def disabled(before: Activation) -> Activation:
    """Give what is left when access is disabled: what helps the next dialling, and the clock memory."""
    return Activation(
        last_good_port=before.last_good_port, last_good_way=before.last_good_way, latest_at=before.latest_at
    )


def changed(before: Activation, **changes: object) -> Activation:
    """Give a copy with some fields changed."""
    return msgspec.structs.replace(before, **changes)


def load(path: Path) -> Activation:
    """Read the file; no file means disabled. A file that cannot be understood is an error, never `enabled`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Activation)
    except FileNotFoundError:
        return Activation()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatepostError(
            f"{path}: the state of remote access cannot be read: {error}; remove it, access is disabled then", EX_CONFIG
        ) from error


def save(path: Path, activation: Activation) -> None:
    """Replace the file; returns when it is on disk."""
    replace_file(Disk(), path, msgspec.json.format(msgspec.json.encode(activation)) + b"\n", mode=0o600)


def end(path: Path, before: Activation) -> Activation:
    """Bring to disk that access is disabled. Raises OSError if that cannot be done at all.

    A disk that takes nothing more still lets a file be removed, and no file means disabled.
    """
    after = disabled(before)
    try:
        save(path, after)
    except OSError:
        Disk().unlink(path)
        Disk().fsync_directory(path.parent)
    return after
