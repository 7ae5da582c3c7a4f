"""Secrets never leave in a configuration that is shown; a mask that comes back is found."""

from ops.configuration.mask import mask, masked_keys


def test_secrets_are_masked_wherever_they_stand() -> None:
    found = mask(
        {
            "a": [{"client_secret": "x", "tokens": 5}],
            "text": "-----BEGIN PRIVATE KEY-----",
            "keys": ["ssh-ed25519 AAAA"],
            "api-token": "t",
            "password": "",
        }
    )
    assert found == {
        "a": [{"client_secret": "*****", "tokens": 5}],
        "text": "*****",
        "keys": ["ssh-ed25519 AAAA"],
        "api-token": "*****",
        "password": "",
    }


def test_a_mask_that_comes_back_is_named() -> None:
    tables = mask({"user": [{"name": "a", "password": "x"}], "dns": {"timeout_s": 5}})
    assert list(masked_keys(tables)) == ["user[1].password"]
