"""`mail.queue.line`: whose turn it is, measured by counts."""

from itertools import count
from pathlib import Path

import pytest

from core.journal import ContentRef
from core.record import Accepted, Outcome, Recipient
from mail.queue.line import QUANTUM, Line, flow_of
from mail.queue.message import Message, Parcel, divide

NOWHERE = ContentRef("journal", Path("x"), 0, 0, 0, 1)
MIDS = count(1)


def parcels(sender: str, recipients: int = 1, most: int = 1000) -> list[Parcel]:
    mid = next(MIDS)
    rows = [Recipient(rid, f"r{rid}@there.test") for rid in range(recipients)]
    message = Message(Accepted(mid, 1, 0.0, sender, rows, 0), Outcome(mid, "deliver"), NOWHERE, ("g", 1), stored=False)
    return divide(message, rows, most)


def filled(*groups: list[Parcel]) -> Line:
    line = Line()
    for group in groups:
        for parcel in group:
            line.append(parcel)
    return line


def before(line: Line, wanted: Parcel) -> int:
    """Count the recipients that are handed out before a parcel."""
    passed = 0
    while (parcel := line.popleft()) is not wanted:
        passed += len(parcel.recipients)
    return passed


def test_one_sender_is_served_in_order() -> None:
    mail = [parcels("a@here.test")[0] for _ in range(5)]
    line = filled(mail)
    assert [line.popleft() for _ in mail] == mail
    assert len(line) == 0
    with pytest.raises(IndexError):
        line.popleft()


def test_a_sender_with_many_messages_delays_another_by_one_quantum() -> None:
    line = filled(*(parcels("hog@here.test") for _ in range(100_000)))
    for _ in range(777):
        line.popleft()
    other = parcels("b@here.test")
    line.append(other[0])
    assert before(line, other[0]) <= QUANTUM


def test_a_message_with_100000_recipients_delays_another_sender_by_a_quantum_and_one_parcel() -> None:
    line = filled(parcels("hog@here.test", 100_000))
    line.popleft()
    other = parcels("b@here.test")
    line.append(other[0])
    assert before(line, other[0]) <= QUANTUM + 1000


def test_a_message_with_100000_recipients_delays_another_message_of_its_sender_by_one_parcel() -> None:
    line = filled(parcels("a@here.test", 100_000), parcels("a@here.test"))
    small = next(one for one in line if len(one.recipients) == 1)
    assert before(line, small) <= 1000


def test_senders_with_much_get_equal_shares_of_recipients_whatever_their_messages_cost() -> None:
    line = filled(*(parcels("big@here.test", 40) for _ in range(500)), *(parcels("small@x.test") for _ in range(9000)))
    sent = {"big@here.test": 0, "small@x.test": 0}
    for _ in range(5000):
        parcel = line.popleft()
        sent[parcel.sender] += len(parcel.recipients)
    assert abs(sent["big@here.test"] - sent["small@x.test"]) <= 2 * QUANTUM


def test_a_parcel_that_is_given_back_is_the_next_one() -> None:
    line = filled(parcels("a@here.test"), parcels("a@here.test"), parcels("b@here.test"))
    first = line.popleft()
    line.appendleft(first)
    assert line.popleft() is first
    assert len(line) == 2


def test_any_parcel_can_be_taken_out() -> None:
    many = parcels("a@here.test", 5000)
    line = filled(many, parcels("b@here.test"))
    for parcel in (many[3], many[0]):
        line.remove(parcel)
    assert len(line) == 4
    assert sorted(one.recipients[0].rid for one in line if one.sender == "a@here.test") == [1000, 2000, 4000]
    with pytest.raises(ValueError, match="not in"):
        line.remove(parcels("c@here.test")[0])
    assert sum(len(line.popleft().recipients) for _ in range(4)) == 3001


def test_a_line_that_is_cut_keeps_a_share_of_each_sender() -> None:
    line = filled(*(parcels("a@here.test") for _ in range(300)), *(parcels("b@here.test") for _ in range(300)))
    assert len(line.cut(200)) == 400
    assert sum(one.sender == "b@here.test" for one in line) == 100


def test_senders_that_a_list_makes_up_for_each_recipient_count_as_one() -> None:
    assert flow_of("list-bounces+user=there.test@lists.test") == flow_of("list-bounces+else=x.test@Lists.test")
    assert flow_of("prvs=1234abcd=ann@here.test") == "prvs@here.test"
    assert flow_of("ann@here-and-there.test") == "ann@here-and-there.test"
    assert flow_of("+x@here.test") == "+x@here.test"
    assert flow_of("") == ""
