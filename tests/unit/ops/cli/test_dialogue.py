"""Questions in the form of the model appliances, with their defaults and their patience."""

from collections.abc import Sequence
from typing import Any

from ops.cli.dialogue import Dialogue


class Script:
    """A screen on which the answers are already written."""

    width = 80

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.shown = ""

    def write(self, text: str) -> None:
        self.shown += text

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        self.shown += prompt
        answer = self.answers.pop(0)
        self.shown += answer + "\n"
        return answer


async def _nothing(name: str, arguments: dict[str, Any]) -> None:
    return None


def dialogue(*answers: str) -> tuple[Dialogue, Script]:
    script = Script(*answers)
    return Dialogue(script, _nothing), script


async def test_empty_input_takes_the_default() -> None:
    talk, script = dialogue("", " other ")
    assert await talk.ask("Port:", "25") == "25"
    assert await talk.ask("Host:") == "other"
    assert script.shown == "Port: [25]> \nHost: []>  other \n"


async def test_a_choice_is_numbered_and_asked_again_until_it_fits() -> None:
    talk, script = dialogue("7", "x", "2")
    assert await talk.choose("Sort by:", ["A", "B"]) == 1
    assert script.shown.startswith("Sort by:\n1. A\n2. B\n[1]> 7\nPlease answer with a number from 1 to 2.\n")


async def test_several_can_be_chosen_with_commas() -> None:
    talk, _ = dialogue("3, 1,1")
    assert await talk.choose_several("Which:", ["A", "B", "C"]) == [0, 2]


async def test_a_menu_takes_names_in_any_case_and_empty_input_leaves() -> None:
    talk, script = dialogue("bogus", "tunnel", "")
    operations = {"TUNNEL": "Open it.", "STATUS": "Look."}
    assert await talk.menu(operations) == "TUNNEL"
    assert await talk.menu(operations) == ""
    assert "\nChoose the operation you want to perform:\n- TUNNEL - Open it.\n- STATUS - Look.\n[]> " in script.shown


async def test_yes_and_no_in_any_form() -> None:
    talk, script = dialogue("YES", "maybe", "n", "")
    assert await talk.confirm("Sure?") is True
    assert await talk.confirm("Sure?", default=True) is False
    assert await talk.confirm("Sure?") is False
    assert "Sure? [N]> YES\nSure? [Y]> maybe\nPlease answer y or n.\n" in script.shown


async def test_questions_are_cleaned_too() -> None:
    talk, script = dialogue("")
    await talk.ask("Host\x1b[2J:", "d\x07")
    assert script.shown == "Host\\x1b[2J: [d\\x07]> \n"


async def test_a_question_that_a_terminal_has_no_room_for_breaks_at_a_blank() -> None:
    talk, script = dialogue("y")
    question = "The domain you entered has MX records. Would you like to select an MX host to test?"
    assert await talk.confirm(question, default=True)
    assert script.shown == question.removesuffix(" test?") + "\ntest? [Y]> y\n"
