"""Which keys a user name stands for."""

from ops.cli.account import Account, Caller, Role, account_book


def test_configured_users_and_paired_clients_are_found_anew_at_every_login() -> None:
    keys = ["ssh-ed25519 AAAA1"]
    users = [Account("ann", Role.OPERATOR, ("ssh-ed25519 AAAA2",)), Account("ann", Role.GUEST, ())]
    book = account_book(users, "cpq-command", lambda: keys, {"cpq listener"})
    assert list(book("ann")) == users
    assert book("nobody") == []
    keys.append("ssh-ed25519 AAAA3")
    (client,) = book("cpq-command")
    assert (client.keys, client.role) == (("ssh-ed25519 AAAA1", "ssh-ed25519 AAAA3"), Role.GUEST)
    assert client.commands == {"cpq listener"}


def test_a_caller_is_named_with_the_certificate_it_came_with() -> None:
    assert str(Caller("service", Role.SUPPORT, "the tunnel", "ana@SR1")) == "service (ana@SR1) from the tunnel"
    assert Caller("service", Role.SUPPORT).service
