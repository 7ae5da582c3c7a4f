"""The form of `Recorder` that the bastion's engineer side uses until it fills in a `Subject` by itself."""

from collections.abc import Callable, Mapping
from typing import Any

from tunnel.recording.recorder import Recorder as Opener
from tunnel.recording.recording import Recording
from tunnel.recording.subject import Policy, RecordingRefused, Subject

__all__ = ["Recorder", "Recording"]


class Recorder(Opener):
    """Opens strict recordings from a header."""

    def start(self, session: str, serial: str, header: Mapping[str, Any], failed: Callable[[str], None]) -> Recording:
        """Open the recording of one session. Raises OSError if there is no place for it."""
        facts = dict(header.get("gatepost", {}))
        subject = Subject(
            session=session,
            serial=serial,
            case=str(header.get("title", "")),
            command=header.get("command"),
            term_type=header.get("env", {}).get("TERM") if facts.pop("pty", False) else None,
            term_size=(header.get("width", 0), header.get("height", 0)),
            engineer=facts.pop("engineer", ""),
            key_id=facts.pop("key_id", ""),
            source=facts.pop("source", ""),
            mode=facts.pop("mode", ""),
            facts=facts,
        )
        try:
            return self.open(subject, Policy.STRICT, failed=failed)
        except RecordingRefused as refused:
            raise OSError(str(refused)) from refused
