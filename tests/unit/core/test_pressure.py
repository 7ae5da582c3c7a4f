"""The grading of pressed resources."""

from core.pressure import REFUSE, Cause, Pressure

MEMORY, DISK = Cause("memory", 45, 60), Cause("disk", 90, 95)


def test_the_grade_rises_from_start_to_halt() -> None:
    assert [MEMORY.grade(value, 0) for value in (0, 45, 45.1, 52.5, 59.9, 60, 90)] == [0, 0, 1, 30, 60, REFUSE, REFUSE]


def test_what_has_begun_ends_a_fifth_of_the_range_lower() -> None:
    assert [MEMORY.grade(value, 4) for value in (44.9, 42.1, 42)] == [4, 4, 0]
    assert MEMORY.grade(44.9, 0) == 0
    assert [MEMORY.grade(value, REFUSE) for value in (59, 57.1, 57)] == [REFUSE, REFUSE, 48]


def test_a_value_that_trembles_does_not_move_the_grade() -> None:
    grade = MEMORY.grade(50, 0)
    for value in (50.3, 49.5, 50.9):
        assert MEMORY.grade(value, grade) == grade
    assert MEMORY.grade(52, grade) == 28


def test_a_cause_that_is_off_never_grades() -> None:
    assert Cause("sync", 0, 0).grade(1e9, 0) == 0


def test_the_hardest_pressed_counts_and_is_named() -> None:
    pressure = Pressure([MEMORY, DISK])
    assert pressure.judge({"memory": 10, "disk": 50}) is None
    change = pressure.judge({"memory": 46, "disk": 94})
    assert change is not None
    assert str(change) == "off -> 48 s of delay: disk 94.0 % (from 90 to 95)"
    change = pressure.judge({"memory": 61})
    assert change is not None
    assert str(change) == "48 s of delay -> refusing mail: memory 61.0 % (from 45 to 60)", (
        "a missing value keeps its grade"
    )
    change = pressure.judge({"memory": 10, "disk": 50})
    assert change is not None
    assert (change.grade, change.cause) == (0, MEMORY)
    assert str(change).startswith("refusing mail -> off: memory 10.0")
