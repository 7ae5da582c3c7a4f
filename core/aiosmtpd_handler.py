"""Attach an unmodified aiosmtpd handler to a listener, alone or in front of another session.

    sessions = handler_sessions(MyHandler(), "mx.example.test")
    SmtpListener(ListenerSettings(..., server=ServerSettings(..., consulted_verbs=CONSULTED)), sessions)

The handler's `handle_*` methods, plain or async, get aiosmtpd's own `Session` and `Envelope`. Alone, its reply is
the reply. In front of another session the handler decides first; what it accepts goes on to the inner session,
whose reply counts, so that a 250 waits for the journal. The handler sees content up to a cap; a larger message is
refused with 552. The inner session gets the content as it came: what a handler makes of its copy is its own.

The one module that knows aiosmtpd. An async hook that fails is answered 451 with an incident id (logged); a plain
one raises to the machine, which does the same.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from aiosmtpd.smtp import Envelope
from aiosmtpd.smtp import Session as View

from core.diagnostic import incident
from core.runtime import spawn
from core.smtp.session import (
    Answer,
    Challenge,
    Later,
    LoginSession,
    Peer,
    Session,
    SessionFactory,
    TlsInfo,
)
from protocol.address import Path
from protocol.errors import MailError, PermanentFailure
from protocol.reply import Reply, parse_reply

CONSULTED: Final = frozenset({"NOOP", "RSET", "VRFY", "HELP", "QUIT"})
"""Give these to `ServerSettings.consulted_verbs`, so that the handler hears of them."""

DEFAULT_CAP: Final = 32 * 1024 * 1024
OK: Final = Reply(250, "2.0.0", "Ok")
TOO_LARGE: Final = Reply(552, "5.3.4", "#5.3.4 message size exceeds limit")
NOT_SECURE: Final = Reply(554, "5.7.0", "Refused after the handshake")

Next = Callable[[Reply], Reply | Later]


def handler_sessions(
    handler: Any, hostname: str, *, cap: int = DEFAULT_CAP, inner: SessionFactory | None = None
) -> SessionFactory:
    """Make the session factory that puts `handler` on a listener; `cap` in octets of content that it may see."""
    hooks = {name: getattr(handler, name) for name in dir(handler) if name.startswith(("handle_", "process_message"))}

    def make() -> Session[Any]:
        return HandlerSession(hooks, hostname, cap, inner() if inner is not None else None)

    return make


class HandlerServer:
    """What a hook gets as `server`: the names of aiosmtpd's server object that handlers use."""

    def __init__(self, hostname: str, session: View) -> None:
        self.hostname = hostname
        self.session = session
        self.loop = session.loop
        self.envelope = Envelope()


class TeeContent:
    """Content that is kept for the handler, up to the cap, and passed on to the inner session's sink."""

    def __init__(self, cap: int, inner: Any) -> None:
        self.inner = inner
        self.on_drained: Callable[[], None] | None = None
        self._cap = cap
        self._kept: list[bytes] = []
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Take the next octets. Raises `PermanentFailure` over the cap."""
        self._size += len(chunk)
        if self._size > self._cap:
            raise PermanentFailure(TOO_LARGE, "over the cap for handlers")
        self._kept.append(chunk)
        if self.inner is not None:
            self.inner.write(chunk)

    @property
    def congested(self) -> bool:
        """Whether the inner sink lags behind."""
        if not getattr(self.inner, "congested", False):
            return False
        self.inner.on_drained = self._drained
        return True

    def _drained(self) -> None:
        if self.on_drained is not None:
            self.on_drained()

    def octets(self) -> bytes:
        """Give all that was written."""
        return b"".join(self._kept)

    def discard(self) -> None:
        """Forget it all."""
        self._kept = []
        if self.inner is not None:
            self.inner.discard()


class _Hooks:
    """The handler's methods, called with aiosmtpd's arguments and answered in ours."""

    def __init__(self, hooks: Mapping[str, Callable[..., Any]], hostname: str, view: View) -> None:
        self._hooks = hooks
        self.view = view
        self.server = HandlerServer(hostname, view)
        self.envelope = self.server.envelope

    def renew(self) -> None:
        """Start a new envelope."""
        self.envelope = self.server.envelope = Envelope()

    def has(self, name: str) -> bool:
        """Say whether the handler has this method."""
        return name in self._hooks

    def call(self, name: str, arguments: tuple[Any, ...], then: Next) -> Reply | Later:
        """Call a hook and go on with its status, now or, if it is async, when it has one."""
        status = self._hooks[name](self.server, self.view, self.envelope, *arguments)
        return self.settle(status, then)

    def settle(self, status: Any, then: Next) -> Reply | Later:
        """Go on with a status or with the coroutine that will give it."""
        if not inspect.isawaitable(status):
            return then(_as_reply(status))
        later = Later()
        spawn(_wait(status, then, later), "aiosmtpd handler")
        return later

    def greet(self, name: str, hostname: str, then: Next) -> Reply | Later:
        """Call `handle_EHLO`, in its older form or with the list of responses, or `handle_HELO`."""
        hook = self._hooks[name]
        listed = len(inspect.signature(hook).parameters) == 5
        return self.call(name, (hostname, ["250 HELP"]) if listed else (hostname,), then)

    def accepts_tls(self) -> bool:
        """Ask `handle_STARTTLS`, which is never async."""
        hook = self._hooks.get("handle_STARTTLS")
        return hook is None or bool(hook(self.server, self.view, self.envelope))

    def process_message(self) -> Any:
        """Call the method of old handlers."""
        envelope = self.envelope
        arguments = (self.view.peer, envelope.mail_from, envelope.rcpt_tos, envelope.content)
        status = self._hooks["process_message"](*arguments)
        return "250 OK" if status is None else status


class _Inner:
    """What only the inner session has a say in: who may log in, and what is offered."""

    _inner: Session[Any] | None

    @property
    def withheld(self) -> frozenset[str]:
        """Keep from the peer what the inner session does."""
        return getattr(self._inner, "withheld", frozenset())

    def login(self, mechanism: str, initial: bytes | None) -> Reply | Later | Challenge:
        """Let the inner session do the log-in; the machine asks only where there is one that can."""
        return cast(LoginSession[Any], self._inner).login(mechanism, initial)

    def login_response(self, response: bytes | None) -> Reply | Later | Challenge:
        """Pass the response on."""
        return cast(LoginSession[Any], self._inner).login_response(response)


class HandlerSession(_Inner):
    """One connection of a handler."""

    def __init__(
        self,
        hooks: Mapping[str, Callable[..., Any]],
        hostname: str,
        cap: int,
        inner: Session[Any] | None,
    ) -> None:
        self._hooks = _Hooks(hooks, hostname, View(asyncio.get_running_loop()))
        self._hostname = hostname
        self._cap = cap
        self._inner = inner
        self._judging: TeeContent | None = None

    def connected(self, peer: Peer) -> Reply:
        """Greet as the inner session does, or with the host name."""
        self._hooks.view.peer = (peer.host, peer.port)  # type: ignore[assignment]  # aiosmtpd gives a tuple too
        if self._inner is not None:
            return self._inner.connected(peer)
        return Reply(220, "", f"{self._hostname} ESMTP")

    def greeted(self, name: str, extended: bool) -> Reply | Later | None:
        """Ask `handle_EHLO` or `handle_HELO`; what they add to the answer is not announced."""
        self._hooks.renew()
        self._hooks.view.host_name = name
        self._hooks.view.extended_smtp = extended
        hook = "handle_EHLO" if extended else "handle_HELO"

        def go_on(reply: Reply) -> Reply | Later:
            if reply.code >= 400 or self._inner is None:
                return reply
            return self._inner.greeted(name, extended) or reply

        return self._hooks.greet(hook, name, go_on) if self._hooks.has(hook) else go_on(OK)

    def secured(self, tls: TlsInfo) -> Reply | None:
        """Ask `handle_STARTTLS`, which answers true or false."""
        self._hooks.renew()
        self._hooks.view.ssl = {"version": tls.version, "cipher": tls.cipher}
        if not self._hooks.accepts_tls():
            return NOT_SECURE
        return self._inner.secured(tls) if self._inner is not None else None

    def mail(self, sender: Path, parameters: Mapping[str, str | None]) -> Reply | Later:
        """Ask `handle_MAIL`, then the inner session."""
        self._hooks.renew()
        envelope = self._hooks.envelope
        address, options = sender.text or "<>", _options(parameters)
        if not self._hooks.has("handle_MAIL"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self._decide("handle_MAIL", (address, options), lambda inner: inner.mail(sender, parameters))

    def rcpt(self, recipient: Path, parameters: Mapping[str, str | None]) -> Reply | Later:
        """Ask `handle_RCPT`, then the inner session; whom that refuses, the handler's envelope loses again."""
        envelope = self._hooks.envelope
        before, options = len(envelope.rcpt_tos), _options(parameters)
        if not self._hooks.has("handle_RCPT"):
            envelope.rcpt_tos.append(recipient.text)
            envelope.rcpt_options.extend(options)

        def judge(inner: Session[Any]) -> Reply | Later:
            reply = inner.rcpt(recipient, parameters)
            if isinstance(reply, Reply) and reply.code >= 400:
                del envelope.rcpt_tos[before:]
            return reply

        return self._decide("handle_RCPT", (recipient.text, options), judge)

    def _decide(
        self, hook: str, arguments: tuple[Any, ...], judge: Callable[[Session[Any]], Reply | Later]
    ) -> Reply | Later:
        def go_on(reply: Reply) -> Reply | Later:
            return reply if reply.code >= 400 or self._inner is None else judge(self._inner)

        return self._hooks.call(hook, arguments, go_on) if self._hooks.has(hook) else go_on(OK)

    def command(self, verb: str, argument: str) -> Reply | Later | None:
        """Ask the hook of NOOP, RSET, VRFY, HELP or QUIT, if there is one."""
        hook = f"handle_{verb}"
        if not self._hooks.has(hook):
            return None
        arguments = () if verb in ("RSET", "QUIT") else (argument,)
        return self._hooks.call(hook, arguments, lambda reply: reply)

    def message(self, size_hint: int | None) -> TeeContent | None:
        """Give a sink that keeps a copy. Raises `PermanentFailure` for a declared size over the cap."""
        if size_hint is not None and size_hint > self._cap:
            raise PermanentFailure(TOO_LARGE, "over the cap for handlers")
        if self._inner is None:
            return TeeContent(self._cap, None)
        sink = self._inner.message(size_hint)
        return None if sink is None else TeeContent(self._cap, sink)

    def finished(self, content: TeeContent, answer: Answer) -> None:
        """Ask `handle_DATA` (or `process_message`), then hand the content to the inner session."""
        hooks = self._hooks
        hooks.envelope.content = hooks.envelope.original_content = content.octets()
        self._judging = content
        if hooks.has("handle_DATA"):
            reply = hooks.call("handle_DATA", (), lambda reply: reply)
        elif hooks.has("process_message"):
            reply = hooks.settle(hooks.process_message(), lambda reply: reply)
        else:
            reply = OK
        if isinstance(reply, Later):
            reply.attach(lambda judged: self._judged(content, judged, answer))
        else:
            self._judged(content, reply, answer)

    def _judged(self, content: TeeContent, reply: Reply, answer: Answer) -> None:
        if self._judging is not content:
            return  # the peer left while the handler was thinking
        self._judging = None
        self._hooks.renew()
        inner = self._inner
        if inner is not None and reply.code < 400:
            inner.finished(content.inner, answer)
            return
        content.discard()
        if inner is not None:
            inner.aborted()
        answer(reply)

    def aborted(self) -> None:
        """Start a new envelope."""
        self._hooks.renew()
        if self._inner is not None:
            self._inner.aborted()

    def closed(self, reason: str) -> None:
        """Drop what the handler still judges."""
        judging, self._judging = self._judging, None
        if judging is not None:
            judging.discard()
            self.aborted()
        if self._inner is not None:
            self._inner.closed(reason)


def _options(parameters: Mapping[str, str | None]) -> list[str]:
    """Write parameters as aiosmtpd gives them: upper case, `KEY=VALUE`."""
    return [key if value is None else f"{key}={value}".upper() for key, value in parameters.items()]


def _as_reply(status: Any) -> Reply:
    """Read a hook's status: a line, a list of lines of which the first refusal counts, or nothing for consent."""
    if isinstance(status, list):
        replies = [parse_reply(line) for line in status]
        return next((reply for reply in replies if reply.code >= 400), OK)
    if status is None or not isinstance(status, str):
        raise TypeError(f"the handler gave no SMTP status but {status!r}")
    return parse_reply(status)


async def _wait(status: Awaitable[Any], then: Next, later: Later) -> None:
    try:
        reply = then(_as_reply(await status))
    except MailError as error:
        reply = error.reply
    except Exception as error:  # the session boundary of what runs outside the machine
        reply = Reply(451, "4.3.0", f"Internal error, incident {incident('aiosmtpd handler', error)}")
    if isinstance(reply, Later):
        reply.attach(later.answer)
    else:
        later.answer(reply)
