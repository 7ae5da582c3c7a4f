"""The SMTP session of a gateway listener: host access, recipients, limits, ids, and the mail log lines of receiving.

The listener makes one `GatewaySession` per connection; all of a process share a `Gateway` (mail/gateway.py).
Everything here is synchronous and table-driven; scanning and storing are the intake's (mail/intake.py). Replies carry
the enhanced code first (RFC 2034) and the wording that operators know. What a peer sent is cleaned before it is logged.
"""

from collections.abc import Mapping
from typing import Final

from core.content import Content
from core.maillog import clean
from core.record import Accepted
from core.smtp.session import Answer, Peer, TlsInfo
from mail import reply
from mail.access import Access
from mail.bounce.verify import Verification
from mail.decide import admission
from mail.envelope import NO_ENVELOPE, envelope_of, tls_demand
from mail.gateway import Gateway
from mail.hat import Match, Policy, Rule
from mail.inspect import TOO_LARGE, refuse_content
from mail.intake import NOT_STORED, Taken
from mail.login.side import LOG_IN_FIRST, LoginSide
from mail.mime import Headers
from mail.noted import cut_off, note_headers
from mail.recipient import judge
from mail.rewrite.session import add_recipient, map_domain, masquerade_sender
from mail.rewrite.tables import NOTHING
from mail.sinkhole import Hole
from mail.trace import Origin, protocol_keyword, received_line
from mail.verb import NoFurtherVerbs
from protocol.address import Path
from protocol.reply import Reply

NOBODY: Final = Peer("", 0, "", 0)


class GatewaySession(LoginSide, NoFurtherVerbs):
    """One connection."""

    __slots__ = (
        "_access",
        "_counted",
        "_envelope",
        "_extended",
        "_gateway",
        "_icid",
        "_ip",
        "_log",
        "_match",
        "_messages",
        "_origin",
        "_said",
        "_tls",
    )

    def __init__(self, gateway: Gateway, access: Access) -> None:
        super().__init__()
        self._gateway = gateway
        self._access = access
        self._log = gateway.log
        self._icid = 0
        self._ip = ""
        self._counted = False
        self._match: Match | None = None
        self._origin = Origin("", "", "", "SMTP", "")
        self._said = NOBODY
        self._extended = False
        self._tls = ""
        self._messages = 0
        self._envelope = NO_ENVELOPE

    # The connection.

    @property
    def icid(self) -> int:
        """The number of this connection, 0 before the greeting."""
        return self._icid

    def connected(self, peer: Peer) -> Reply:
        """Decide by the host access table, and greet (behaviour 2.14)."""
        gateway, access = self._gateway, self._access
        self._ip = peer.host
        name = peer.name if peer.verified else ""
        match = self._match = access.hosts.lookup(peer.host, name)
        if gateway.decide is not None:
            gateway.decide(admission(peer.host, name, match))
        greeting = match.greeting(peer.host, gateway.hostname)
        if match.rule in (Rule.TCPREFUSE, Rule.REJECT):
            gateway.count_refused(match.rule)
        if match.rule is Rule.TCPREFUSE:
            self._log.info(f"ICID 0 TCPREFUSE SG {match.group} match {match.entry} SBRS None")
            return greeting
        icid = self._icid = gateway.icids.next()
        self._origin = Origin("", name, peer.host, "SMTP", "")
        self._said = peer
        self._log.info(
            f"New SMTP ICID {icid} interface {access.name} ({peer.local_host}) address {peer.host} "
            f"reverse dns host {clean(peer.name) or 'unknown'} verified {'yes' if name else 'no'}"
        )
        self._log.info(f"ICID {icid} {match.rule} SG {match.group} match {match.entry} SBRS None")
        if match.rule is Rule.REJECT:
            return greeting
        self._offer_login(gateway.logins, match.policy, icid, peer.host)
        gateway.connections[peer.host] += 1
        self._counted = True
        limit = match.policy.max_connections_per_address
        if limit and gateway.connections[peer.host] > limit:
            self._failed("Connection limit exceeded")
            return reply.TOO_MANY_CONNECTIONS
        return greeting

    def greeted(self, name: str, extended: bool) -> Reply | None:
        """Keep what the trace line needs; what XCLIENT said of the client stands in the place of its proxy's words."""
        said = self._said
        self._extended = said.protocol == "ESMTP" if said.protocol else extended
        self._set_origin(said.helo or name)
        return None

    def _set_origin(self, helo: str, utf8: bool = False) -> None:
        keyword = protocol_keyword(
            extended=self._extended, tls=bool(self._tls), utf8=utf8, authenticated=bool(self._user)
        )
        self._origin = Origin(helo, self._origin.host, self._ip, keyword, self._tls)

    def secured(self, tls: TlsInfo) -> Reply | None:
        """Log the handshake."""
        self._tls = f"{tls.version} {tls.cipher}"
        self._log.info(f"ICID {self._icid} TLS success protocol {tls.version} cipher {tls.cipher}")
        return None

    def closed(self, reason: str) -> None:
        """Log the end of the connection; its last line."""
        if self._counted:
            self._counted = False
            left = self._gateway.connections
            left[self._ip] -= 1
            if left[self._ip] <= 0:
                del left[self._ip]
        if not self._icid:
            return
        if reason.startswith("TLS"):
            self._gateway.count_refused("TLS failed")
            self._log.info(f"ICID {self._icid} TLS failed: {clean(reason)}")
        elif reason == "connection lost":
            self._log.info(f"ICID {self._icid} lost")
        elif words := cut_off(reason):
            self._log.info(f"ICID {self._icid} disconnected address {self._ip}, {words}")
        self._log.info(f"ICID {self._icid} close")

    # The envelope.

    def mail(self, sender: Path, parameters: Mapping[str, str | None]) -> Reply:
        """Judge the sender and give the message its MID (behaviour 6.1)."""
        refusal = self._refuse_mail(parameters)
        if refusal is not None:
            return refusal
        envelope = self._envelope = envelope_of(self._gateway.mids.next(), sender.text, parameters)
        if self._login is not None or envelope.utf8 != self._origin.protocol.startswith("UTF8"):
            self._set_origin(self._origin.helo, envelope.utf8)
        self._log.info(f"Start MID {envelope.mid} ICID {self._icid}")
        self._log.info(f"MID {envelope.mid} ICID {self._icid} From: <{clean(sender.text)}>")
        if (tables := self._gateway.intake.rewriting) is not NOTHING:
            masquerade_sender(envelope, tables, self._access.name, self._log.info, self._gateway.decide)
        return reply.OK_SENDER

    def _refuse_mail(self, parameters: Mapping[str, str | None]) -> Reply | None:
        policy = self._policy
        if self._gateway.brake.refusing:
            self._failed("Resource conservation")
            return reply.CONSERVING
        if policy.tls == "required" and not self._tls:
            self._gateway.count_refused("TLS required")
            self._log.info(f"ICID {self._icid} TLS was required but remote host did not initiate it")
            return reply.TLS_FIRST
        if policy.auth == "required" and not self._user:
            self._gateway.count_refused("Log-in required")
            self._log.info(f"SMTP Auth (ICID {self._icid}) was required but remote host did not initiate it")
            return LOG_IN_FIRST
        if policy.max_messages_per_session and self._messages >= policy.max_messages_per_session:
            self._failed("Too Many Messages")
            return reply.TOO_MANY_MESSAGES
        size = parameters.get("SIZE") if parameters else None
        return self._refuse_size(int(size)) if size else None

    def _refuse_size(self, size: int) -> Reply | None:
        """RFC 1870 6.1: a declared size over the limit is refused, and one for which there is no room now."""
        if 0 < self._policy.max_message_size < size:
            self._failed("Message size exceeds limit")
            return TOO_LARGE
        if size > self._gateway.intake.store.room:
            self._failed("No room for a message of this size")
            return reply.NO_ROOM
        return None

    @property
    def _user(self) -> str:
        """Who the peer has logged in as here, or at the proxy that speaks for it; '' for nobody."""
        return (self._login.user if self._login is not None else "") or self._said.login

    @property
    def _policy(self) -> Policy:
        assert self._match is not None
        return self._match.policy

    def rcpt(self, recipient: Path, parameters: Mapping[str, str | None]) -> Reply:
        """Judge one recipient: limits, then the recipient access table unless the peer may relay."""
        policy, envelope = self._policy, self._envelope
        if policy.max_recipients_per_message and envelope.asked >= policy.max_recipients_per_message:
            return reply.TOO_MANY_RECIPIENTS
        assert self._match is not None
        relay = self._match.rule is Rule.RELAY or bool(self._user)
        verification = self._access.verification
        if verification is not None:
            recipient, genuine = verification.judge(recipient, bounce=not (envelope.sender or relay))
            if not genuine and not self._take_invalid_bounce(recipient, verification):
                return reply.INVALID_BOUNCE
        given, tables, decide = recipient, self._gateway.intake.rewriting, self._gateway.decide
        if tables is not NOTHING:
            recipient = map_domain(
                recipient, tables, self._access.name, envelope.mid, say=self._log.info, decide=decide
            )
        refusal, bypass = judge(recipient, self._access, self._gateway.hostname, relay=relay, decide=decide)
        if refusal is not None:
            return self._refuse_recipient(recipient, refusal)
        if policy.max_recipients_per_hour and not bypass:
            if self._gateway.received.get(self._ip) >= policy.max_recipients_per_hour:
                self._log_rejected(recipient, "Receiving Control")
                return self._match.over_limit(self._ip, self._gateway.hostname)
            self._gateway.received.add(self._ip)
        address = recipient.text if recipient.domain else f"{recipient.local}@{self._gateway.hostname}"
        original = given.text if recipient is not given else ""
        taken = add_recipient(
            envelope, address, parameters, tables, given=original, icid=self._icid, say=self._log.info, decide=decide
        )
        return reply.OK_RECIPIENT if taken else reply.TOO_MANY_RECIPIENTS

    def _take_invalid_bounce(self, recipient: Path, verification: Verification) -> bool:
        """Mark or refuse, as the listener says; true if the recipient is taken."""
        self._envelope.invalid_bounce = taken = verification.mode == "header"
        if not taken:
            self._gateway.intake.counters.add("rejected_recips")
            self._gateway.count_refused("Invalid bounce")
        self._log.info(
            f"MID {self._envelope.mid} ICID {self._icid} invalid bounce, rcpt address <{clean(recipient.text)}> "
            f"{'marked' if taken else 'rejected'} by bounce verification."
        )
        return taken

    def _refuse_recipient(self, recipient: Path, refusal: Reply) -> Reply:
        gateway = self._gateway
        self._log_rejected(recipient, "RAT")
        assert self._match is not None
        limit = self._match.policy.max_invalid_recipients_per_hour
        if not limit:
            return refusal
        gateway.refused.add(self._ip)
        if gateway.refused.get(self._ip) <= limit:
            return refusal
        facts = f"dhap_limit={limit}, listener={self._access.name}, rcpt={clean(recipient.text)}"
        gateway.harvest(self._ip, f"Potential Directory Harvest Attack from host={self._ip}, {facts}")
        return self._match.harvesting(self._ip, gateway.hostname)

    def _log_rejected(self, recipient: Path, by: str) -> None:
        self._gateway.intake.counters.add("rejected_recips")
        self._gateway.count_refused(by)
        self._log.info(f"MID {self._envelope.mid} ICID {self._icid} To: <{clean(recipient.text)}> Rejected by {by}")

    # The content.

    def message(self, size_hint: int | None) -> Content | Hole | None:
        """Give the sink for the content. Raises nothing; None and 452 only where nothing can be taken."""
        if self._access.kind == "sinkhole":
            return Hole()
        if self._gateway.brake.refusing:
            self._failed("Resource conservation")
            return None
        store = self._gateway.intake.store
        refusal = store.refusal
        if refusal is not None:
            self._gateway.count_refused("Message not stored")
            self._log.warning(f"MID {self._envelope.mid} refused: {clean(str(refusal))}")
            return None
        return store.content()

    def finished(self, content: Content | Hole, answer: Answer) -> None:
        """Take the whole content: check it, make the record, hand it to the intake."""
        head = content.head
        headers = Headers(head)
        refusal, reason = self._refusal(content, headers)
        if refusal is not None:
            content.discard()
            self._failed(reason)
            self.aborted()
            answer(refusal)
            return
        if self._envelope.seven_bit and not head.isascii():  # RFC 6152 3: labelled wrongly, and taken all the same
            self._log.info(f"MID {self._envelope.mid} BODY=7BIT was declared for content with 8-bit octets")
        accepted, discarded = self._accepted(content.size, headers), self._envelope.discarded
        self._messages += 1
        self._envelope = NO_ENVELOPE
        if isinstance(content, Hole):
            self._gateway.intake.note_ready(accepted)
            self._log.info(f"Message finished MID {accepted.mid} aborted")
            answer(Reply(250, "2.0.0", f"Ok:  Message {accepted.mid} accepted"))
            return
        drop = "Dropped by sinkhole listener" if self._access.kind == "sinkhole-queuing" else ""
        if not accepted.recipients:
            drop, discarded = "Dropped by the alias table", discarded - 1
        self._gateway.intake.take(Taken(accepted, content, headers, answer, drop, discarded=discarded))

    def _refusal(self, content: Content | Hole, headers: Headers) -> tuple[Reply | None, str]:
        failure = None if isinstance(content, Hole) else content.failure
        if failure is not None:  # nothing of it is kept: its header says nothing about the message
            self._log.warning(f"MID {self._envelope.mid} not stored: {clean(str(failure))}")
            return NOT_STORED, "Message not stored"
        return refuse_content(
            content.size,
            content.head,
            headers,
            self._access,
            self._policy,
            hostname=self._gateway.hostname,
            utf8=self._envelope.utf8,
        )

    @property
    def _mark(self) -> bytes:
        """The header line of a message that failed bounce verification."""
        verification = self._access.verification
        return verification.mark if verification is not None and self._envelope.invalid_bounce else b""

    def _accepted(self, size: int, headers: Headers) -> Accepted:
        """Make the record of the message and log what its header says."""
        gateway, origin, envelope = self._gateway, self._origin, self._envelope
        mid = envelope.mid
        assert self._match is not None
        subject, noted = note_headers(self._log, mid, headers)
        received_at = gateway.now()
        return Accepted(
            mid=mid,
            icid=self._icid,
            received_at=received_at,
            sender=envelope.sender,
            recipients=envelope.recipients,
            size=size,
            listener=self._access.name,
            remote_ip=self._ip,
            remote_host=origin.host,
            helo=origin.helo,
            protocol=origin.protocol,
            tls=self._tls,
            sender_group=self._match.group,
            policy=self._match.policy.name,
            body=envelope.body,
            smtputf8=envelope.utf8,
            trace=received_line(origin, gateway.hostname, mid, received_at) + self._mark,
            subject=subject,
            ret=envelope.ret,
            envid=envelope.envid,
            authenticated=self._user,
            require_tls=tls_demand(envelope, headers),
            bounce_profile=self._access.bounce_profile,
            original_sender=envelope.original_sender,
            noted=noted,
        )

    def aborted(self) -> None:
        """Forget the transaction."""
        mid = self._envelope.mid
        if mid:
            self._envelope = NO_ENVELOPE
            self._log.info(f"Message aborted MID {mid} Receiving aborted")

    def _failed(self, reason: str) -> None:
        self._gateway.count_refused(reason)
        self._log.info(f"ICID {self._icid} Receiving Failed: {reason}")
