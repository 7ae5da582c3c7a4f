"""Memory of processes, read from folders that look like /proc and /sys/fs/cgroup."""

import os
import platform
from pathlib import Path

import pytest

from core.memory import Memory, give_back

MIB = 1 << 20


def process(proc: Path, pid: int, anonymous_mib: int, cgroup: str) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    kib = anonymous_mib << 10
    sizes = {"VmRSS": kib * 9, "RssAnon": kib - 8, "RssFile": kib * 8, "RssShmem": 8, "VmSwap": 0}
    (folder / "status").write_text("Name:\tx\n" + "".join(f"{name}:\t{size} kB\n" for name, size in sizes.items()))
    (folder / "cgroup").write_text(cgroup)
    (proc / "meminfo").write_text("MemTotal: 1048576 kB\nMemFree: 1 kB\n")


def test_the_file_cache_does_not_count_and_without_a_group_the_machine_is_the_limit(tmp_path: Path) -> None:
    process(tmp_path, 1, 100, "0::/\n")
    process(tmp_path, 2, 156, "0::/\n")
    memory = Memory(proc=tmp_path, groups=tmp_path / "groups")
    assert memory.held(1) == 100 * MIB
    assert memory.utilization([1, 2, 77]) == 25.0


def test_a_control_group_above_the_process_is_the_limit(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    (groups / "mail/gateway").mkdir(parents=True)
    (groups / "mail/memory.max").write_text("209715200\n")
    (groups / "mail/gateway/memory.max").write_text("max\n")
    process(tmp_path, 1, 100, "0::/mail/gateway\n")
    process(tmp_path, 2, 300, "0::/other\n")
    assert Memory(proc=tmp_path, groups=groups).utilization([1, 2]) == 50.0


def test_a_group_of_version_1_and_its_way_of_saying_unlimited(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    (groups / "memory/box").mkdir(parents=True)
    (groups / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    (groups / "memory/box/memory.limit_in_bytes").write_text("134217728\n")
    process(tmp_path, 1, 64, "5:cpu:/\n4:memory:/box\n")
    assert Memory(proc=tmp_path, groups=groups).utilization([1]) == 50.0


def test_a_limit_that_was_set_counts_and_this_process_holds_something() -> None:
    memory = Memory(64 * MIB)
    assert memory.utilization([os.getpid()]) == 100 * memory.held(os.getpid()) / (64 * MIB) > 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_flood_took_and_left_is_given_back() -> None:
    memory, here = Memory(), os.getpid()
    flood = [bytearray(100_000) for _ in range(1000)]
    kept = flood[::50]  # the last in use keeps the library from giving back what lies before it
    before = memory.held(here)
    del flood
    give_back()
    assert memory.held(here) < before - 60 * MIB
    assert len(kept) == 20
