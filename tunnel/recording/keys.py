"""Which keystrokes the far terminal showed, where nobody says whether it echoes.

The SSH protocol does not tell the bastion when a program turns echo off for a password. So a typed character counts
as shown only when output begins with it soon after; what has not been shown after `PATIENCE_S` is hidden. It errs
towards hiding. Control characters and keys that send escape sequences hold no secret and pass.
"""

import re

PATIENCE_S = 2.0
TYPED = 4096
"""A paste that is longer than this is hidden beyond it."""
_PLAIN = re.compile(rb"(?:[\x00-\x1a\x1c-\x1f\x7f]|\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])?)+")


class EchoedKeys:
    """Keeps what was typed until it is known whether it was shown."""

    def __init__(self) -> None:
        self._typed = bytearray()
        self._since_s = 0.0

    def typed(self, data: bytes, at_s: float) -> tuple[bytes, int]:
        """Take keystrokes; give what is certainly no secret now, and how many octets are hidden for good."""
        hidden = self.tick(at_s)
        if not self._typed:
            self._since_s = at_s
        self._typed += data
        hidden += max(0, len(self._typed) - TYPED)
        del self._typed[TYPED:]
        return self._plain(), hidden

    def shown(self, data: bytes, at_s: float) -> tuple[bytes, int]:
        """Take output; the same."""
        hidden = self.tick(at_s)
        count = 0
        while count < min(len(data), len(self._typed)) and data[count] == self._typed[count]:
            count += 1
        passed = bytes(self._typed[:count])
        del self._typed[:count]
        if count:
            self._since_s = at_s
        return passed + self._plain(), hidden

    def tick(self, at_s: float, *, final: bool = False) -> int:
        """Give up on what was typed too long ago; gives how many octets that were."""
        if not self._typed or (at_s - self._since_s < PATIENCE_S and not final):
            return 0
        hidden = len(self._typed)
        self._typed.clear()
        return hidden

    def _plain(self) -> bytes:
        found = _PLAIN.match(bytes(self._typed))
        if found is None:
            return b""
        del self._typed[: found.end()]
        return found[0]
