from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from core.content import ContentStore
from core.journal.record import ACCEPTED, OUTCOME, PAGE, Item, Room, decode, encode_batch, needed, stored_bytes

TAG = b"8 octets"
STORE = ContentStore(Path("/nowhere"))


def item(mid: int, accepted: bytes, outcome: bytes, pieces: list[bytes] | None) -> Item:
    content = None
    if pieces is not None:
        content = STORE.new()
        for piece in pieces:
            content.write(piece)
    return Item(mid, accepted, outcome, content, lambda _failure: None)


messages = st.builds(
    item,
    st.integers(1, 2**64 - 1),
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.none() | st.lists(st.binary(max_size=3000), max_size=4),
)


@given(st.lists(messages, min_size=1, max_size=8), st.integers(1, 2**64 - 1))
def test_what_is_encoded_is_read_back(items: list[Item], generation: int) -> None:
    batch = encode_batch(items, 0, Room(generation, TAG, PAGE, 10**6))
    data = b"".join(batch.buffers)
    assert batch.taken == len(items)
    assert len(data) == batch.length
    assert batch.length % PAGE == 0
    at = 0
    for each in items:
        record = decode(data, at, TAG, generation, PAGE + at)
        assert record is not None
        assert (record.mid, record.accepted, record.outcome) == (each.mid, each.accepted, each.outcome)
        assert record.stored == (each.content.inline if each.content else b"")
        assert record.kind == (ACCEPTED if each.content else 0) | (OUTCOME if each.outcome else 0)
        assert record.length == stored_bytes(each)
        at += record.length


@given(messages, st.data())
def test_one_changed_bit_is_noticed(each: Item, data: st.DataObject) -> None:
    octets = bytearray(b"".join(encode_batch([each], 0, Room(7, TAG, PAGE, 10**6)).buffers))
    bit = data.draw(st.integers(0, stored_bytes(each) * 8 - 1))
    octets[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(octets), 0, TAG, 7, PAGE) is None


def test_a_record_of_another_use_or_place_is_no_record() -> None:
    data = b"".join(encode_batch([item(1, b"a", b"o", [b"c"])], 0, Room(7, TAG, PAGE, 10**6)).buffers)
    assert decode(data, 0, TAG, 7, PAGE) is not None
    assert decode(data, 0, TAG, 8, PAGE) is None
    assert decode(data, 0, TAG, 7, PAGE * 2) is None
    assert decode(data, 0, b"other888", 7, PAGE) is None
    assert decode(data[:66], 0, TAG, 7, PAGE) is None
    assert needed(data, 0, TAG) > 0


def test_a_batch_takes_no_more_than_there_is_room_for() -> None:
    items = [item(mid, b"", b"", [bytes(1500)]) for mid in range(1, 6)]
    batch = encode_batch(items, 1, Room(7, TAG, PAGE, PAGE * 2))
    assert (batch.taken, batch.length) == (2, PAGE)
    assert encode_batch(items, 0, Room(7, TAG, PAGE, PAGE + 100)).taken == 0
