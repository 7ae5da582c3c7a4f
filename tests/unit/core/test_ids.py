import threading
from pathlib import Path

import pytest

from core.disk import Disk
from core.errors import GatepostError
from core.ids import IdBlocks


def test_numbers_go_up_and_blocks_are_reserved_before_use(tmp_path: Path) -> None:
    ids = IdBlocks(tmp_path / "mid")
    assert [ids.next() for _ in range(3)] == [1, 2, 3]
    assert (tmp_path / "mid").read_text() == "1001\n"


def test_several_processes_never_share_a_number(tmp_path: Path) -> None:
    sources = [IdBlocks(tmp_path / "mid") for _ in range(4)]
    taken: list[list[int]] = [[] for _ in sources]

    def work(number: int) -> None:
        taken[number] = [sources[number].next() for _ in range(2500)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [number for part in taken for number in part]
    assert len(set(numbers)) == len(numbers) == 10_000


def test_a_restart_loses_the_rest_of_the_block_and_repeats_nothing(tmp_path: Path) -> None:
    assert IdBlocks(tmp_path / "mid").next() == 1
    assert IdBlocks(tmp_path / "mid").next() == 1001


def test_the_floor_is_kept_when_the_counter_is_lost(tmp_path: Path) -> None:
    assert IdBlocks(tmp_path / "generation", block=16, floor=77).next() == 77


@pytest.mark.parametrize("harm", ["emptied", "removed"])
def test_a_counter_that_somebody_emptied_or_removed_does_not_begin_again(tmp_path: Path, harm: str) -> None:
    """It began again from 1: new mail got the numbers of waiting mail, and the done log took the old away."""
    assert IdBlocks(tmp_path / "mid").next() == 1
    (tmp_path / "mid").write_text("") if harm == "emptied" else (tmp_path / "mid").unlink()
    assert IdBlocks(tmp_path / "mid").next() == 1001


def test_an_empty_counter_without_a_copy_is_no_counter(tmp_path: Path) -> None:
    (tmp_path / "mid").write_text("")
    with pytest.raises(GatepostError, match="not a counter"):
        IdBlocks(tmp_path / "mid").next()


def test_a_foreign_file_is_not_taken_for_a_counter(tmp_path: Path) -> None:
    (tmp_path / "mid").write_text("twelve")
    with pytest.raises(GatepostError, match="not a counter"):
        IdBlocks(tmp_path / "mid").next()


def test_a_block_that_cannot_be_reserved_is_an_error_and_the_next_try_works(tmp_path: Path) -> None:
    class BrokenOnce(Disk):
        broken = True

        def fdatasync(self, fd: int) -> None:
            if self.broken:
                self.broken = False
                raise OSError("broken")
            super().fdatasync(fd)

    ids = IdBlocks(tmp_path / "mid", disk=BrokenOnce())
    with pytest.raises(OSError, match="broken"):
        ids.next()
    assert ids.next() == 1


def test_a_thread_that_could_not_start_once_ended_the_numbers_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ids = IdBlocks(tmp_path / "mid")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        given = [ids.next() for _ in range(900)]
    given += [ids.next() for _ in range(1200)]
    assert given == list(range(1, 2101))
