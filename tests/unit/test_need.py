"""What a test needs: skipped elsewhere, an error on CI."""

import pytest

from tests.support.need import allowed, needs, not_allowed


def test_what_is_missing_skips_here_and_fails_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "false")
    assert needs("no-such-program").args == allowed(False, "flying").args == (True,)
    assert needs("sh").args == allowed(True, "walking").args == (False,)
    with pytest.raises(pytest.skip.Exception, match="flying"):
        not_allowed("flying")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(RuntimeError, match="no-such-program"):
        needs("no-such-program")
    with pytest.raises(RuntimeError, match="flying"):
        allowed(False, "flying")
    with pytest.raises(pytest.fail.Exception, match="flying"):
        not_allowed("flying")
    assert needs("sh").args == allowed(True, "walking").args == (False,)
