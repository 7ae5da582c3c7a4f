"""What did not change stays as somebody wrote it; whatever is written reads as what was meant."""

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ops.configuration.difference import filled
from ops.configuration.place import copy_of
from ops.configuration.rewrite import rewrite
from tests.support.long import either

TEXT = """\
# The machine of the second floor.
[appliance]
role = "esa"  # never changes
serial = "A-B"

# Names.
[dns]
# seconds
#timeout_s = 5.0
servers = [
    "192.0.2.1:53",  # the near one
    "192.0.2.2:53",
]

[[listener]]
name = "In"  # the world
port = 25

[listener.hat]
policy = "ACCEPT"  # for now

# the company
[[listener]]
name = "Out"
port = 26

#[[route]]
#domain = "x"

[filters]
text = '''
[not a table]
'''
"""


def changed(**sections: Any) -> str:
    old = tomllib.loads(TEXT)
    new = copy_of(old)
    for name, value in sections.items():
        if value is None:
            del new[name]
        else:
            new[name] = value
    text = rewrite(TEXT, old, new)
    assert filled(tomllib.loads(text)) == filled(new)
    return text


def test_nothing_changes_nothing() -> None:
    assert changed() == TEXT


def test_a_new_section_is_added_at_the_end() -> None:
    assert changed(route=[{"domain": "a", "hosts": ["b"]}]) == TEXT + '\n[[route]]\ndomain = "a"\nhosts = ["b"]\n'


def test_a_key_is_put_below_its_commented_default() -> None:
    text = changed(delivery={"port": 25})
    assert text == TEXT + "\n[delivery]\nport = 25\n"
    plain = "[dns]\n# seconds\n#timeout_s = 5.0\n\n# next\n[log]\nlevel = 3 # much\nkeep = 1\n"
    old = tomllib.loads(plain)
    new = {"dns": {"timeout_s": 9}, "log": {"level": 4, "keep": 1}}
    assert rewrite(plain, old, new) == (
        "[dns]\n# seconds\n#timeout_s = 5.0\ntimeout_s = 9\n\n# next\n[log]\nlevel = 4\nkeep = 1\n"
    )


def test_rows_that_stay_keep_their_text() -> None:
    rows = tomllib.loads(TEXT)["listener"]
    text = changed(listener=[rows[1], {"name": "New", "port": 27}, {**rows[0], "port": 225}])
    assert '# the company\n[[listener]]\nname = "Out"\nport = 26\n' in text
    assert text.index('"Out"') < text.index('"New"') < text.index('"In"')
    assert "# The machine of the second floor." in text
    assert "# the near one" in text


def test_a_section_that_is_gone_takes_only_its_own_with_it() -> None:
    text = changed(filters=None)
    assert "[filters]" not in text
    assert '#[[route]]\n#domain = "x"\n' in text


def test_what_looks_like_a_header_in_a_text_is_none() -> None:
    assert "[not a table]" in changed(dns={"timeout_s": 1})


def test_sections_written_inline_are_written_anew() -> None:
    text = "dns = { timeout_s = 5 }\n[log]\nlevel = 3\n"
    new = {"dns": {"timeout_s": 6}, "log": {"level": 3}}
    assert tomllib.loads(rewrite(text, tomllib.loads(text), new)) == new


KEYS = st.text(min_size=1, max_size=6) | st.sampled_from(["name", "domain", "port", "a-b"])
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**31), 2**31), st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
TABLES = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=2), max_size=4)
DOCUMENTS = st.dictionaries(KEYS, TABLES | st.lists(TABLES, min_size=1, max_size=4), max_size=4)


@given(DOCUMENTS, DOCUMENTS)
@settings(max_examples=either(100, 1000), deadline=None)
def test_any_document_becomes_any_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    written = rewrite("", {}, old)
    assert filled(tomllib.loads(written)) == filled(old)
    assert filled(tomllib.loads(rewrite(written, tomllib.loads(written), new))) == filled(new)
