import msgspec

from core.record import Recipient
from cpq.metadata import accepted_of, frame_of, outcome_of
from protocol.quarantine.frame import decode_frame, encode_frame
from tests.support.quarantine import job


def test_records_survive_the_frame_with_their_first_facts() -> None:
    one = job(7)
    frame = frame_of(one.accepted, one.outcome, one.recipients, direction="hold", serial="ESA-1", sha256=b"h" * 32)
    frame = decode_frame(encode_frame(frame))
    accepted = accepted_of(frame, mid=99, icid=3, peer="ESA-1", at=one.accepted.received_at)
    assert accepted.transfer is not None
    assert (accepted.transfer.transfer_id, accepted.transfer.peer_mid) == (one.outcome.transfer_id, 7)
    assert (accepted.origin_serial, accepted.origin_mid) == ("ESA-1", 7)
    own = {"mid": 7, "transfer": None, "origin_serial": "", "origin_mid": 0}
    assert msgspec.structs.replace(accepted, **own) == one.accepted
    outcome = outcome_of(frame, mid=7, verdict="quarantine", destination="the.cpq.host")
    assert msgspec.structs.replace(outcome, recipients=[], transfer_id=one.outcome.transfer_id) == one.outcome


def test_a_message_that_comes_round_again_keeps_its_origin() -> None:
    one = job(7)
    frame = frame_of(one.accepted, one.outcome, one.recipients, direction="hold", serial="ESA-1", sha256=b"h" * 32)
    back = accepted_of(frame, mid=500, icid=1, peer="SMA-1", at=9.0)
    again = frame_of(back, one.outcome, back.recipients, direction="hold", serial="ESA-2", sha256=b"h" * 32)
    assert (again.origin_serial, again.origin_mid) == ("ESA-1", 7)
    assert (again.sender_serial, again.sender_mid) == ("ESA-2", 500)


def test_only_the_recipients_that_still_have_to_go_are_carried() -> None:
    one = job(7, recipients=["a@x.test", "b@x.test", "c@x.test"])
    left = [Recipient(2, "c@x.test")]
    frame = frame_of(one.accepted, one.outcome, left, direction="release", serial="S", sha256=b"h" * 32)
    assert [(r.rid, r.address, r.state) for r in frame.recipients] == [(2, "c@x.test", "released")]


def test_what_the_sender_asked_for_is_still_known_behind_a_quarantine_and_after_it() -> None:
    one = job(7)
    asked = [Recipient(0, "b@x.test", "c@x.test", "SUCCESS,DELAY", "rfc822;c+2B1@x.test"), Recipient(1, "d@x.test")]
    facts = {
        "ret": "HDRS",
        "envid": "QQ+3D1",
        "authenticated": "joe",
        "require_tls": "yes",
        "bounce_profile": "short",
        "recipients": asked,
    }
    start = msgspec.structs.replace(one.accepted, **facts)
    frame = frame_of(start, one.outcome, asked, direction="hold", serial="ESA-1", sha256=b"h" * 32)
    held = accepted_of(decode_frame(encode_frame(frame)), mid=99, icid=3, peer="ESA-1", at=9.0)
    frame = frame_of(held, one.outcome, held.recipients, direction="release", serial="SMA-1", sha256=b"h" * 32)
    back = accepted_of(decode_frame(encode_frame(frame)), mid=100, icid=4, peer="SMA-1", at=10.0)
    assert {name: getattr(back, name) for name in facts} == facts
    assert outcome_of(frame, mid=100, verdict="deliver").recipients == asked


def test_a_frame_of_an_older_release_is_read() -> None:
    one = job(7)
    frame = frame_of(one.accepted, one.outcome, one.recipients, direction="hold", serial="ESA-1", sha256=b"h" * 32)
    document = encode_frame(frame)
    assert b'"ret"' not in document
    assert b'"notify"' not in document
    assert decode_frame(document).envid == ""
