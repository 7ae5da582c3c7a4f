"""Between the records of core/record.py and the frame of the quarantine channel, both ways.

Used by the courier (record to frame) and by both receiving sides (frame to record). Pure.
"""

from collections.abc import Sequence

from core.record import Accepted, Decision, Edit, Hold, Outcome, Recipient, Transfer
from protocol.quarantine.frame import Frame, FrameDecision, FrameEdit, FrameHold, FrameRecipient


def frame_of(
    accepted: Accepted, outcome: Outcome, recipients: Sequence[Recipient], *, direction: str, serial: str, sha256: bytes
) -> Frame:
    """Describe a message on its way; `recipients` are those that still have to go, `serial` is this machine's."""
    state = "held" if direction == "hold" else "released"
    return Frame(
        direction=direction,
        transfer_id=outcome.transfer_id,
        sender_serial=serial,
        sender_mid=accepted.mid,
        origin_serial=accepted.origin_serial or serial,
        origin_mid=accepted.origin_mid or accepted.mid,
        icid=accepted.icid,
        received_at=accepted.received_at,
        sender=accepted.sender,
        recipients=tuple(_recipient_out(one, state) for one in recipients),
        size=accepted.size,
        sha256=sha256,
        listener=accepted.listener,
        remote_ip=accepted.remote_ip,
        remote_host=accepted.remote_host,
        helo=accepted.helo,
        protocol=accepted.protocol,
        tls=accepted.tls,
        sender_group=accepted.sender_group,
        policy=accepted.policy,
        body=accepted.body,
        smtputf8=accepted.smtputf8,
        trace=accepted.trace,
        subject=accepted.subject,
        bounce_of=accepted.bounce_of,
        finished=tuple(outcome.finished),
        edits=tuple(FrameEdit(one.action, one.name, one.value) for one in outcome.edits),
        decisions=tuple(
            FrameDecision(one.stage, one.rule, one.input, one.verdict, one.microseconds, one.at)
            for one in outcome.decisions
        ),
        holds=tuple(FrameHold(one.quarantine, one.reason, one.matched, one.expires_at) for one in outcome.holds),
        hold_count=outcome.hold_count,
        ret=accepted.ret,
        envid=accepted.envid,
        authenticated=accepted.authenticated,
        require_tls=accepted.require_tls,
        bounce_profile=accepted.bounce_profile,
        original_sender=accepted.original_sender,
    )


def _recipient_out(one: Recipient, state: str) -> FrameRecipient:
    return FrameRecipient(one.rid, one.address, one.original, state, one.notify, one.orcpt)


def _recipient_in(one: FrameRecipient) -> Recipient:
    return Recipient(one.rid, one.address, one.original, one.notify, one.orcpt)


def accepted_of(frame: Frame, *, mid: int, icid: int, peer: str, at: float) -> Accepted:
    """Give the message that a frame describes as newly accepted here under `mid`, its first facts unchanged."""
    return Accepted(
        mid=mid,
        icid=icid,
        received_at=at,
        sender=frame.sender,
        recipients=[_recipient_in(one) for one in frame.recipients],
        size=frame.size,
        listener=frame.listener,
        remote_ip=frame.remote_ip,
        remote_host=frame.remote_host,
        helo=frame.helo,
        protocol=frame.protocol,
        tls=frame.tls,
        sender_group=frame.sender_group,
        policy=frame.policy,
        body=frame.body,
        smtputf8=frame.smtputf8,
        trace=frame.trace,
        subject=frame.subject,
        transfer=Transfer(frame.transfer_id, peer, frame.sender_mid, frame.sha256),
        bounce_of=frame.bounce_of,
        origin_serial=frame.origin_serial,
        origin_mid=frame.origin_mid,
        ret=frame.ret,
        envid=frame.envid,
        authenticated=frame.authenticated,
        require_tls=frame.require_tls,
        bounce_profile=frame.bounce_profile,
        original_sender=frame.original_sender,
    )


def outcome_of(
    frame: Frame, *, mid: int, verdict: str, destination: str = "", target: str = "", transfer_id: bytes = b""
) -> Outcome:
    """Give what the pipeline had decided when the message left it, for the stages that are still to come."""
    return Outcome(
        mid=mid,
        verdict=verdict,
        destination=destination,
        target=target,
        finished=list(frame.finished),
        recipients=[_recipient_in(one) for one in frame.recipients],
        edits=[Edit(one.action, one.name, one.value) for one in frame.edits],
        decisions=[
            Decision(one.stage, one.rule, one.input, one.verdict, one.microseconds, one.at) for one in frame.decisions
        ],
        holds=[Hold(one.quarantine, one.reason, one.matched, one.expires_at) for one in frame.holds],
        transfer_id=transfer_id,
        hold_count=frame.hold_count,
    )
