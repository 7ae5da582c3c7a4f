from pathlib import Path

from ops.configuration.place import Place
from ops.configuration.version import Versions, version_of


def test_a_version_that_a_newer_release_wrote_is_not_lost(tmp_path: Path) -> None:
    """One more key in its head made it none: its number was given again, and what had begun was removed."""
    (tmp_path / "gatepost.toml").write_text("a = 1\n")
    versions = Versions(Place(tmp_path / "gatepost.toml"))
    version = version_of(7, "a = 1\n", at=1.5, user="admin", comment="why")
    versions.begin(version, "a = 1\n")
    [begun] = (tmp_path / "state" / "configuration" / "versions").iterdir()
    text = begun.read_text()
    begun.write_text(text.replace('"comment"', '"reviewed_by": ["a", "b"], "comment"', 1))
    versions.settle(version.digest)
    assert versions.all() == [version]
    assert versions.text(7) == "a = 1\n"
