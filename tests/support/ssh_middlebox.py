"""A firewall that decrypts SSH: the bastion's banner, a host key of its own; notes what it is told.

python -m tests.support.ssh_middlebox PORT KEYFILE NOTES
"""

import asyncio
import sys
from pathlib import Path

import asyncssh


class Listening(asyncssh.SSHServer):
    """Writes down every user name and key that a client gives away."""

    notes: Path

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._note("connection")

    def begin_auth(self, username: str) -> bool:
        self._note(f"user {username}")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._note(f"key {key.get_fingerprint()}")
        return True

    def _note(self, line: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{line}\n")


async def _serve(port: int, key: str, notes: str) -> None:
    Listening.notes = Path(notes)
    await asyncssh.listen(
        "", port, server_factory=Listening, server_host_keys=[key], server_version="Gatepost_1.0 GatepostTunnels1"
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
