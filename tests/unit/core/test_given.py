"""Keys that the service manager gives."""

from pathlib import Path

import pytest

from core.given import given_or


def test_a_credential_comes_before_the_machines_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "keys" / "host_ed25519"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert given_or(own) == own
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "given"))
    assert given_or(own) == own, "the unit gives other keys, or none: the file counts"
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "host_ed25519").write_text("missing")
    assert given_or(own) == own, "what the unit sets for a key that is missing is no key"
    (tmp_path / "given" / "host_ed25519").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert given_or(own) == tmp_path / "given" / "host_ed25519"
    assert given_or(own.with_name("tunnel_ed25519")) == own.with_name("tunnel_ed25519")
