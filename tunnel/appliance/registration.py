"""The appliance's end of the control channel: register, make the new generation durable, confirm.

What is on disk is one generation and its nonce, in `state/generation.json`; `tunnel/control_message.py` says what each
crash leaves. A clone or a restored snapshot comes with an old generation and is told so by the bastion. Used by
`link.py`. Raises `LinkFailed` with the verdict and the wait that the bastion asked for.
"""

import asyncio
from pathlib import Path

import asyncssh
import msgspec

from core.disk import Disk, replace_file
from core.errors import EX_CONFIG, GatepostError
from core.killpoint import killpoint
from tunnel.appliance.verdict import FROZEN, NO_CONTROL, UNREGISTERED, Verdict
from tunnel.control_message import (
    SUBSYSTEM,
    Bye,
    Confirm,
    Frames,
    FromAppliance,
    FromBastion,
    Granted,
    MessageError,
    Refused,
    Register,
    Withdraw,
    decode_from_bastion,
    encode,
)

FILE_NAME = "generation.json"
"""In the machine's state directory."""
_WAITING = 8
"""Messages that may wait to be read; a bastion that sends more is not ours."""


class LinkFailed(Exception):
    """The handshake, the registration or taking the name failed; carries what to tell the administrator."""

    def __init__(self, verdict: Verdict, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.verdict = verdict
        self.detail = detail
        self.retry_after_s = retry_after_s
        """The wait that the bastion asked for, or 0."""


class Generation(msgspec.Struct, frozen=True):
    """Which state of this machine the bastion knows."""

    generation: int = 0
    nonce: str = ""


class GenerationFile:
    """Keeps the generation; one process, one writer."""

    def __init__(self, path: Path) -> None:
        """Read the file; none means never registered. Raises status 78 for one that cannot be understood."""
        self._path = path
        try:
            self.current = msgspec.json.decode(path.read_bytes(), type=Generation)
        except FileNotFoundError:
            self.current = Generation()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GatepostError(f"{path}: the generation cannot be read: {error}", EX_CONFIG) from error

    def save(self, new: Generation) -> None:
        """Replace the file; returns when it is on disk. Raises OSError."""
        replace_file(Disk(), self._path, msgspec.json.encode(new) + b"\n", mode=0o600)
        self.current = new


class _Session(asyncssh.SSHClientSession[bytes]):
    """Puts what the bastion says into a queue, a bounded number of messages; None stands for the end."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[FromBastion | None] = asyncio.Queue()
        self.bye_s = 0.0
        self.fault = ""
        self._frames = Frames()
        self._over = False

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        try:
            messages = [decode_from_bastion(frame) for frame in self._frames.receive(data)]
        except MessageError as error:
            self.fault, messages = str(error), []
        self.fault = self.fault or self._frames.fault
        for message in messages:
            if isinstance(message, Bye):
                self.bye_s = message.retry_after_s
            elif self.news.qsize() < _WAITING:
                self.news.put_nowait(message)
        if self.fault:
            self._end()

    def eof_received(self) -> bool:
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self.news.put_nowait(None)


class Control:
    """The control channel of one outer connection."""

    def __init__(self, channel: asyncssh.SSHClientChannel[bytes], session: _Session, timeout_s: float) -> None:
        self._channel = channel
        self._session = session
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, connection: asyncssh.SSHClientConnection, timeout_s: float) -> "Control":
        """Open the channel. Raises LinkFailed if the bastion has no such subsystem."""
        session = _Session()
        try:
            async with asyncio.timeout(timeout_s):
                channel, _ = await connection.create_session(lambda: session, subsystem=SUBSYSTEM, encoding=None)
        except (OSError, asyncssh.Error) as error:
            raise LinkFailed(NO_CONTROL, getattr(error, "reason", "") or str(error)) from error
        return cls(channel, session, timeout_s)

    @property
    def bye_s(self) -> float:
        """The wait that the bastion asked for when it said good-bye, or 0."""
        return self._session.bye_s

    async def register(self, register: Register, file: GenerationFile) -> Granted:
        """Register under the generation of the file and bring the next one to disk. Raises LinkFailed."""
        now = file.current
        answer = await self._ask(msgspec.structs.replace(register, generation=now.generation, nonce=now.nonce))
        if isinstance(answer, Refused):
            raise LinkFailed(FROZEN if answer.frozen else UNREGISTERED, answer.why, answer.retry_after_s)
        killpoint("generation.granted")
        try:
            await asyncio.to_thread(file.save, Generation(answer.generation, answer.nonce))
        except OSError as error:
            raise LinkFailed(UNREGISTERED, f"the new generation cannot be written: {error}") from error
        killpoint("generation.durable")
        self._say(Confirm(generation=answer.generation))
        return answer

    def withdraw(self) -> None:
        """Tell the bastion that access was disabled."""
        self._say(Withdraw())

    async def _ask(self, message: FromAppliance) -> Granted | Refused:
        try:
            async with asyncio.timeout(self._timeout_s):
                self._say(message)
                answer = await self._session.news.get()
        except TimeoutError as error:
            raise LinkFailed(UNREGISTERED, "no answer in time") from error
        if isinstance(answer, Granted | Refused):
            return answer
        detail = self._session.fault or "the control channel was closed"
        raise LinkFailed(UNREGISTERED, detail, self._session.bye_s)

    def _say(self, message: FromAppliance) -> None:
        try:
            self._channel.write(encode(message))
        except OSError as error:  # BrokenPipeError: closed from the other side
            raise LinkFailed(UNREGISTERED, "the control channel was closed") from error
