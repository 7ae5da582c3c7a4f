"""What others of this machine hold of its processors: that is no fault of the one that is measured."""

from pathlib import Path


def queued_s(pid: int) -> float:
    """Give how long the first thread of a process, which runs its loop, has been ready to run and got no processor."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9
