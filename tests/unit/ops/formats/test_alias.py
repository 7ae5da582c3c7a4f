from hypothesis import given
from hypothesis import strategies as st

from ops.formats.alias import Aliases

FILE = """# comment
admin: administrator@example.com            # global
[ example.com, .sub.example.com ]
customercare, help: bob@example.com, frank@example.com,
    team2
team2: eve@example.com
devnull: /dev/null
joe@full.example: joe@[IPv6:2001:db8::1]
[ ]
late: "a #b, c:d"@example.com
"""


def rows_of(text: str) -> list[tuple[str, list[str]]]:
    parsed = Aliases().parse(text)
    assert parsed.faults == ()
    return [(str(entry.values["alias"]), list(entry.values["to"])) for entry in parsed.entries]


def test_the_file_of_the_model_is_read() -> None:
    team = ["bob@example.com", "frank@example.com", "team2"]
    assert rows_of(FILE) == [
        ("admin", ["administrator@example.com"]),
        ("customercare@example.com", team),
        ("help@example.com", team),
        ("team2@example.com", ["eve@example.com"]),
        ("devnull@example.com", ["/dev/null"]),
        ("joe@full.example", ["joe@[IPv6:2001:db8::1]"]),
        ("customercare@.sub.example.com", team),
        ("help@.sub.example.com", team),
        ("team2@.sub.example.com", ["eve@example.com"]),
        ("devnull@.sub.example.com", ["/dev/null"]),
        ("late", ['"a #b, c:d"@example.com']),
    ]


def test_rows_stand_under_their_context_where_they_need_one() -> None:
    rows = [
        {"alias": "admin", "to": ["a@example.com"]},
        {"alias": "x@example.com", "to": ["a@example.com"]},
        {"alias": "y@example.com", "to": ["a@example.com"]},
        {"alias": "z@example.com", "to": ["x"]},
        {"alias": "x@.example.com", "to": ["a@example.com"]},
        {"alias": "@catch.example", "to": ["/dev/null"]},
    ]
    assert Aliases().format(rows).splitlines()[2:] == [
        "admin, x@example.com, y@example.com: a@example.com",
        "[ example.com ]",
        "z: x",
        "[ .example.com ]",
        "x: a@example.com",
        "[ ]",
        "@catch.example: /dev/null",
    ]


def test_every_fault_has_its_line() -> None:
    assert [one.partition(":")[0] for one in Aliases().parse("a: b\nnothing\nc:\nd: e f\n: g\n").faults] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
    ]


def test_a_name_that_would_begin_a_comment_is_quoted() -> None:
    text = Aliases().format([{"alias": "#x@a.example", "to": ["#y", "#z@b.example"]}])
    assert rows_of(text) == [('"#x"@a.example', ['"#y"', '"#z"@b.example'])]


USERS = st.sampled_from(["joe", "help", '"a, b"', "x+y", "ha#sh", "per/cent"])
DOMAINS = st.sampled_from(["a.example", ".a.example", "b.example", "[192.0.2.1]"])
NAMES = st.one_of(
    USERS, st.builds(lambda user, domain: f"{user}@{domain}", USERS, DOMAINS), st.sampled_from(["@a.example", "@.x.y"])
)
TARGETS = st.one_of(USERS, st.just("/dev/null"), st.builds(lambda user: f"{user}@c.example", USERS))


@given(st.lists(st.tuples(NAMES, st.lists(TARGETS, min_size=1, max_size=4)), max_size=12))
def test_what_is_written_is_read_again(rows: list[tuple[str, list[str]]]) -> None:
    text = Aliases().format([{"alias": name, "to": to} for name, to in rows])
    assert rows_of(text) == rows
