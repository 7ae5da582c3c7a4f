"""`quarantineconfig`: the quarantines of a management host, edited as all tables are (docs/quarantine.md)."""

from ops.cli.editing import Question, Rights, Table
from ops.formats.ini import Sections

QUARANTINES = Table(
    command="quarantineconfig",
    path=("quarantine",),
    key="name",
    one="quarantine",
    many="configured quarantines",
    summary="Quarantines: how long they keep mail, and what becomes of it then.",
    places=("name", "retention"),
    format=Sections("Quarantines: retention in seconds or '8 hours', default_action delete|release", "name"),
    columns=(
        ("name", "Quarantine name"),
        ("retention", "Retention"),
        ("default_action", "Default action"),
        ("makes_room", "Makes room"),
    ),
    questions=(
        Question("name", "Enter the name of the quarantine"),
        Question("retention", "Enter how long a message is kept, such as 90 minutes, 8 hours or 10 days"),
        Question("default_action", "Choose what becomes of a message then:"),
        Question("makes_room", "Apply the default action early when all room is used?"),
    ),
    rights=Rights(machines=frozenset({"sma"})),
)

EDITED = (QUARANTINES,)
