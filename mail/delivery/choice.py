"""The words that a destination's row of the configuration chooses between.

Shared by the document (`mail/delivery/config.py`), which every command and daemon reads, and by what acts on them,
which only the delivering daemon loads.
"""

from typing import Literal

Level = Literal["off", "preferred", "required", "preferred-verify", "required-verify"]
"""How much TLS is asked of a host."""
EightBit = Literal["convert", "pass", "bounce"]
"""What becomes of 8-bit text for a peer without 8BITMIME."""
