"""The destination table in the model's keys and words, both ways."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.schema import Key
from daemons.operator import document_keys
from ops.cli.editing.row import value_of
from ops.formats.destinations import Destinations

FORMAT = Destinations()
SHAPE = document_keys()["destination"].shape
assert SHAPE is not None
KEYS = {key.name: key for key in SHAPE.keys}
MODEL = """\
[DEFAULT]
ip_sort_pref = PREFER_V6
max_host_concurrency = 500
max_messages_per_connection = 50
recipient_minutes = 60
recipient_limit = 0
limit_type = 1
limit_apply = VG
bounce_validation = Off
table_tls = Require_Verify
send_tls_req_alert = 1

[example.com]
table_tls = 3
limit_type = MXIP
bounce_profile = Bulk
certificate = Cisco Demo
"""


def _some(key: Key) -> st.SearchStrategy[Any]:
    if key.kind == "yes-no":
        return st.booleans()
    if key.kind == "choice":
        return st.sampled_from(key.choices)
    if key.kind == "whole":
        return st.integers(int(key.least or 0), int(key.most or 10**9))
    return st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True)


ROW = st.fixed_dictionaries(
    {"domain": st.from_regex(r"[a-z]{1,10}\.example", fullmatch=True)},
    optional={name: _some(key) for name, key in KEYS.items() if name != "domain"},
)


@given(st.lists(ROW, max_size=5))
def test_rows_survive_the_file(rows: list[dict[str, Any]]) -> None:
    parsed = FORMAT.parse(FORMAT.format(rows))
    assert (parsed.faults, parsed.notes) == ((), ())
    read = [{name: value_of(KEYS[name], words) for name, words in entry.values.items()} for entry in parsed.entries]
    assert read == rows


def test_a_file_of_the_model_is_read_and_what_is_not_kept_is_named() -> None:
    parsed = FORMAT.parse(MODEL)
    assert parsed.faults == ()
    assert dict(parsed.entries[0].values) == {
        "domain": "DEFAULT",
        "ip_preference": "prefer-v6",
        "max_connections": "500",
        "max_messages_per_connection": "50",
        "recipient_minutes": "60",
        "recipient_limit": "0",
        "limit_type": "mxip",
        "limit_apply": "gateway",
        "bounce_verification": "Off",
        "tls": "required-verify",
    }
    assert dict(parsed.entries[1].values) == {
        "domain": "example.com",
        "tls": "required",
        "limit_type": "mxip",
        "bounce_profile": "Bulk",
    }
    assert [note.split(":")[0] for note in parsed.notes] == ["line 11", "line 17"]
    assert parsed.entries[0].at("tls") == 10


def test_ours_is_written_in_the_words_of_the_model_with_default_first() -> None:
    rows = [{"domain": "a.example", "tls": "required", "limit_type": "mxip"}, {"domain": "DEFAULT", "dane": False}]
    text = FORMAT.format(rows).splitlines()
    assert text[2:] == ["[DEFAULT]", "dane = no", "", "[a.example]", "table_tls = require", "limit_type = MXIP"]
