"""The commands of a section: show it, and set it up by options or by one question for each key."""

from typing import Any

from core.schema import Row, Shape, complete, get
from ops.cli.dialogue import Dialogue
from ops.cli.editing.asking import Asking
from ops.cli.editing.changing import PENDING, reset_parameter, with_warnings
from ops.cli.editing.reading import masked, shown_values
from ops.cli.editing.row import section_of
from ops.cli.editing.table import Settings
from ops.cli.editing.words import RESET, filled, key_parameters, place_parameters, reset, row_from, take_places
from ops.cli.registry import Call, Command, Document, is_place


def settings_commands(settings: Settings, shape: Shape) -> list[Command]:
    """Make the command that changes a section and the one that shows it."""
    return [_setup(settings, shape), _shown(settings, shape)]


def _noun(settings: Settings) -> str:
    """What documents call the section: the last part of its path that is no name of a row."""
    return next(part for part in reversed(settings.path) if not is_place(part))


def _shown(settings: Settings, shape: Shape) -> Command:
    noun, keys, rights = _noun(settings), shape.keys, settings.rights

    async def run(call: Call, **given: Any) -> Document:
        section = section_of(call.editing.tables(), settings.path, take_places(settings.shown_by, given))
        written = [key.name for key in keys if get(section, key.name) is not None]
        return {noun: masked(keys, complete(shape, section)), "written": written}

    def render(document: Document, width: int) -> str:
        return shown_values(keys, document[noun], document["written"], width)

    return Command(
        settings.shown_by,
        f"Show {settings.title}.",
        run,
        tuple(place_parameters(settings.shown_by)),
        render,
        roles=rights.readers,
        machines=rights.machines,
        details="Every key with the value that counts; `written` names those that the document has.",
    )


def _setup(settings: Settings, shape: Shape) -> Command:
    command, noun, keys, rights = settings.command, _noun(settings), shape.keys, settings.rights

    async def run(call: Call, **given: Any) -> Document:
        places = take_places(command, given)
        names = given.pop(RESET, None)
        document: Document = {}

        def edit(tables: dict[str, Any]) -> None:
            section = section_of(tables, settings.path, places, create=True)
            row_from(keys, section, given)
            reset(keys, section, names)
            document[noun] = {key.name: get(section, key.name) for key in keys if get(section, key.name) is not None}

        changed = " ".join(name for name, words in given.items() if words)
        warnings = await call.editing.change(f"{filled(command, places)} {changed}".strip(), edit)
        return {**document, "warnings": warnings}

    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        tables = call.editing.tables()
        section: Row = section_of(tables, settings.path, call.places)
        effective = complete(shape, section)
        asking = Asking(
            call, talk, keys, dict(section), tables=tables, refers=settings.refers, effective=effective, new=False
        )
        await asking.ask_all(settings.questions)
        if not asking.answers and not asking.away:
            talk.say("Nothing was changed.")
            return None
        return {**asking.answers, **({RESET: ",".join(asking.away)} if asking.away else {})}

    def render(document: Document, width: int) -> str:
        title = settings.title[:1].upper() + settings.title[1:]
        return with_warnings(f"{title} was changed; {PENDING}.", document, width)

    return Command(
        command,
        settings.summary,
        run,
        (*place_parameters(command), *key_parameters(keys, (), required=True), reset_parameter()),
        render,
        dialogue,
        roles=rights.writers,
        machines=rights.machines,
        details="The pending configuration is changed; `commit` puts it in force.",
    )
