"""Changes as a tree: rows are called by what they are known by, and a row's own tables are drawn, not written out."""

from ops.configuration.place import Tables
from ops.configuration.show import changes, tree


def test_a_new_row_with_tables_of_its_own_is_drawn_key_by_key() -> None:
    policies = [{"name": "BLOCKED", "rule": "REJECT"}, {"name": "ACCEPTED", "rule": "ACCEPT"}]
    old: Tables = {"listener": [{"name": "In", "port": 25}]}
    new: Tables = {"listener": [{"name": "In", "port": 26}, {"name": "Two", "port": 27, "mail_flow_policy": policies}]}
    assert tree(changes(old, new)) == [
        "listener",
        "  In",
        "    ~ port: 25 -> 26",
        "  + Two",
        '      name: "Two"',
        "      port: 27",
        "      mail_flow_policy",
        "        BLOCKED",
        '          rule: "REJECT"',
        "        ACCEPTED",
        '          rule: "ACCEPT"',
    ]


def test_aliases_and_recipients_are_called_by_their_names_not_by_their_place() -> None:
    new = {"alias": [{"alias": "staff", "to": ["a@example.test"]}]}
    assert tree(changes({}, new))[:2] == ["alias", "  + staff"]
    held = {"listener": [{"name": "In", "rat": [{"recipient": "a.example", "rule": "ACCEPT"}]}]}
    refused = {"listener": [{"name": "In", "rat": [{"recipient": "a.example", "rule": "REJECT"}]}]}
    assert tree(changes(held, refused)) == [
        "listener",
        "  In",
        "    rat",
        "      a.example",
        '        ~ rule: "ACCEPT" -> "REJECT"',
    ]
