"""Host access tables as files: the model's own text, what we write, every fault with its line."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops.formats.hat import RULES, format_table, parse

MODEL = """# comment
$BLOCKED REJECT
$THROTTLED
    ACCEPT {
        max_rcpts_per_msg = 20
        max_rcpts_per_hour = -1
        dhap_limit = 0
        virus_check = "on"
        spam_check = "off"
        max_message_size = 104857600
        max_msgs_per_session = 10      max_concurrency = 5
        use_sb = "off"   tls = "off"  smtp_auth = "preferred"
    }
SUSPECTLIST:
    10.1.2.
    .example.com (a (noisy) one)
    SBRS[-3.0:-1.0]
        $THROTTLED (slow them down)
singlehost.example.com
    REJECT (had enough)
OWN:
    RELAY {
        tls = "required"
    }
ALL
    $THROTTLED
"""


def test_the_models_file_is_read_and_what_is_not_there_is_named() -> None:
    found = parse(MODEL)
    assert found.faults == []
    assert [dict(entry.values) for entry in found.policies] == [
        {"name": "BLOCKED", "rule": "REJECT"},
        {
            "name": "THROTTLED",
            "rule": "ACCEPT",
            "max_recipients_per_message": "20",
            "max_recipients_per_hour": "0",
            "max_invalid_recipients_per_hour": "0",
            "max_message_size": "104857600",
            "max_messages_per_session": "10",
            "max_connections_per_address": "5",
            "tls": "off",
            "auth": "offered",
        },
    ]
    assert [dict(entry.values) for entry in found.groups] == [
        {
            "name": "SUSPECTLIST",
            "entries": ["10.1.2.", ".example.com (a (noisy) one)"],
            "mail_flow_policy": "THROTTLED",
            "comment": "slow them down",
        },
        {
            "name": "singlehost.example.com",
            "entries": ["singlehost.example.com"],
            "rule": "REJECT",
            "comment": "had enough",
        },
        {"name": "OWN", "entries": [], "rule": "RELAY", "policy.tls": "required"},
    ]
    assert found.default is not None
    assert found.default.values == {"mail_flow_policy": "THROTTLED"}
    assert found.notes == [
        "line 8: virus_check: not kept: there is no virus engine",
        "line 17: SBRS[-3.0:-1.0]: not kept: there is no source of reputation or lists here, it would match nobody",
    ]


def test_every_fault_is_told_with_its_line() -> None:
    text = "\n".join(
        [
            "ACCEPT",
            "$A",
            "    NONSENSE",
            "$B ACCEPT { speed = 3",
            "    tls is off",
            '    tls = "off" tls = "on" }',
            "G:",
            "    10.0.0.1",
            "        $A and more",
            "ALL REJECT",
            "ALL ACCEPT { max_rcpts_per_msg = 3 }",
            "H:",
            "    10.0.0.2",
        ]
    )
    assert parse(text).faults == [
        "line 1: ACCEPT belongs to nothing; a $POLICY, a GROUP: or a host comes first",
        "line 3: a rule is needed: $POLICY or one of ACCEPT, RELAY, REJECT, TCPREFUSE, CONTINUE (found 'NONSENSE')",
        "line 4: speed: there is no such parameter; there are: max_message_size, max_concurrency, "
        "max_msgs_per_session, max_rcpts_per_msg, max_rcpts_per_hour, dhap_limit, tls, smtp_auth, "
        "max_rcpts_per_hour_code, max_rcpts_per_hour_text, dhap_limit_code, dhap_limit_text, banner_text, reject_code, "
        "reject_text",
        "line 5: KEY = VALUE is needed (found 'tls is off')",
        "line 6: tls stands in line 6 already",
        "line 9: braces or a (comment) may stand here, not 'and more'",
        "line 11: ALL takes a rule or a $POLICY; parameters for it go into a policy",
        "line 11: ALL stands in line 10 already",
        "line 12: H has no rule: $POLICY or one of ACCEPT, RELAY, REJECT, TCPREFUSE, CONTINUE is needed",
    ]
    assert parse('$A ACCEPT {\n tls = "off"\n').faults == ["line 1: the braces that begin here are not closed"]


def test_a_host_alone_whose_name_cannot_name_a_group_gets_one_that_can() -> None:
    (group,) = parse("2001:db8::/32 REJECT").groups
    assert group.values == {"name": "2001_db8___32", "entries": ["2001:db8::/32"], "rule": "REJECT"}


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True).filter(lambda name: name not in RULES)
COMMENTS = st.text(st.characters(min_codepoint=32, exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20).map(
    str.strip
)
NUMBERS = st.integers(0, 2**40)
ENTRIES = st.sampled_from(
    ["10.1.2.3", "10.1.2.", "10.1-3", "10.0.0.0/8", "2001:db8::", "::1", "a.test", ".a.test", "ALL"]
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "max_message_size": NUMBERS,
        "max_recipients_per_hour": NUMBERS,
        "max_invalid_recipients_per_hour": NUMBERS,
        "tls": st.sampled_from(["off", "preferred", "required"]),
        "auth": st.sampled_from(["off", "offered", "required"]),
        "limit_code": st.integers(400, 599),
        "limit_text": COMMENTS,
        "harvest_code": st.integers(400, 599),
        "harvest_text": COMMENTS,
        "banner_text": COMMENTS,
        "reject_code": st.integers(400, 599),
        "reject_text": COMMENTS,
    },
)


def _with(comment: str, row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "comment": comment} if comment else row


POLICIES = st.builds(
    lambda name, rule, more, comment: _with(comment, {"name": name, "rule": rule, **more}),
    NAMES,
    st.sampled_from(RULES),
    PARAMETERS,
    COMMENTS,
)


def _entry(text: str, comment: str) -> str:
    return f"{text} ({comment})" if comment else text


def _group(name: str, entries: list[str], access: dict[str, str], more: dict[str, Any], comment: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "entries": entries, **access}
    return _with(comment, row | ({"policy": more} if more else {}))


ACCESS = st.one_of(
    st.sampled_from(RULES).map(lambda rule: {"rule": rule}), NAMES.map(lambda name: {"mail_flow_policy": name})
)
GROUPS = st.builds(
    _group, NAMES, st.lists(st.builds(_entry, ENTRIES, COMMENTS), max_size=4), ACCESS, PARAMETERS, COMMENTS
)


def _written(values: Any) -> dict[str, Any]:
    """Give a row as the configuration has it: numbers where the file has words."""
    row: dict[str, Any] = {}
    for key, words in values.items():
        number = key.rpartition(".")[2]
        value = int(words) if number.startswith("max_") or number.endswith("_code") else words
        if key.startswith("policy."):
            row.setdefault("policy", {})[number] = value
        else:
            row[key] = value
    return row


@given(st.lists(POLICIES, max_size=4), st.lists(GROUPS, max_size=4), ACCESS)
def test_what_is_written_is_read_again(
    policies: list[dict[str, Any]], groups: list[dict[str, Any]], default: dict[str, str]
) -> None:
    found = parse(format_table(policies, groups, default, title="In"))
    assert (found.faults, found.notes) == ([], [])
    assert [_written(entry.values) for entry in found.policies] == policies
    assert [_written(entry.values) for entry in found.groups] == groups
    assert found.default is not None
    assert found.default.values == default


def test_a_group_that_says_nothing_does_not_become_one_that_accepts() -> None:
    text = format_table([{"name": "P"}], [{"name": "G"}, {"name": "h", "entries": ["h"]}], {"rule": "REJECT"})
    assert [line.strip() for line in text.splitlines()[2:]] == [
        *["$P", "ACCEPT", "", "G:", "CONTINUE", "", "h", "CONTINUE", "", "ALL", "REJECT"]
    ]
