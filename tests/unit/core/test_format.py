from pathlib import Path

import pytest

from core.errors import EX_CONFIG
from core.format import COPY, NAME, FormatRefused, Layout, Written, check_layouts, read_written, stamp, too_new

OLD = {"machine": Layout(1), "queue": Layout(4, 4)}
NEW = {"machine": Layout(2, 1), "queue": Layout(5, 4), "tape": Layout(1, 0)}
"""Of a release that an older one can follow: additions only, and a store that it may leave alone."""


@pytest.mark.parametrize(
    ("found", "known", "refused"),
    [(Layout(1), 1, False), (Layout(9, 2), 2, False), (Layout(3, 3), 2, True), (Layout(1, 0), 0, False)],
)
def test_a_store_is_refused_by_what_it_asks_for_not_by_what_wrote_it(found: Layout, known: int, refused: bool) -> None:
    text = too_new("spool/queue.db", found, known)
    assert bool(text) is refused
    if refused:
        assert f"layout {found.version}" in text
        assert f"knows {known}" in text
        assert "install the newer release again" in text


def test_the_record_names_the_release_and_is_written_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert read_written(state) == Written()
    stamp(state, OLD, "1.0")
    assert read_written(state) == Written("1.0", OLD)
    before = (state / NAME).stat().st_mtime_ns
    stamp(state, OLD, "1.0")
    assert (state / NAME).stat().st_mtime_ns == before


def test_an_older_release_that_may_follow_leaves_the_newer_layouts_in_the_record(tmp_path: Path) -> None:
    stamp(tmp_path, OLD, "1.0")
    stamp(tmp_path, NEW, "2.0")
    check_layouts(read_written(tmp_path), OLD, tmp_path, "1.0")
    stamp(tmp_path, OLD, "1.0")
    assert read_written(tmp_path) == Written("1.0", NEW)


def test_a_machine_with_one_store_too_new_is_refused_with_both_versions_and_the_remedy(tmp_path: Path) -> None:
    stamp(tmp_path, NEW | {"queue": Layout(6, 5), "vault": Layout(1, 1)}, "3.0")
    with pytest.raises(FormatRefused) as refused:
        check_layouts(read_written(tmp_path), OLD, Path("/machine"), "1.0")
    assert refused.value.status == EX_CONFIG
    assert refused.value.text.startswith(
        "/machine: was used by release 3.0 with layouts that release 1.0 does not know:"
        " queue 6 (here 4), vault 1 (here 0); install the newer release again"
    )
    assert "\n" not in refused.value.text


@pytest.mark.parametrize(
    "damage", [b"", b'{"release": "2.0", "layouts"', b"[]", b'{"layouts": {"queue": ["x"]}}', b"\xff"]
)
def test_a_damaged_record_is_read_from_its_copy_and_never_taken_for_none(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(damage)  # one from before there was a copy
    with pytest.raises(FormatRefused, match="damaged") as refused:
        read_written(tmp_path)
    assert "remove both" in refused.value.text
    (tmp_path / NAME).unlink()
    stamp(tmp_path, NEW, "2.0")
    (tmp_path / NAME).write_bytes(damage)
    assert read_written(tmp_path) == Written("2.0", NEW)
    stamp(tmp_path, NEW, "2.0")
    (tmp_path / COPY).write_bytes(damage)
    assert read_written(tmp_path) == Written("2.0", NEW)
    stamp(tmp_path, NEW, "2.0")
    (tmp_path / NAME).unlink()
    assert read_written(tmp_path) == Written("2.0", NEW)
