"""The actions of the filter language: what each takes, checked when a file is loaded, and what it does.

`compiler` calls `compile_action` for every action of a file. An action changes the `View`, nothing else: the
pipeline carries out what the view says in the end. An action gives True when no further action or filter runs.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mail.filter.rule import Faults, check_arguments
from mail.filter.syntax import Action, FilterFault, Value
from mail.filter.variable import Template
from mail.filter.view import Chosen, Raised, View

Step: TypeAlias = Callable[[View], bool]
_HEADER_NAME = re.compile(r"[!-9;-~]{1,100}")


@dataclass(frozen=True, slots=True)
class Around:
    """What actions may name or show of the machine."""

    hostname: str = ""
    interfaces: Collection[str] | None = None
    """Lower case names of the interfaces and groups; None = any name will do."""
    bounce_profiles: Collection[str] | None = None
    """Lower case names; None = any name will do."""
    texts: Collection[str] | None = None
    """Lower case names of disclaimers; None = any name will do."""


ANYWHERE = Around()


@dataclass(frozen=True, slots=True)
class _Spec:
    """How an action is written: a builder from its texts, and which argument is a header name."""

    build: Callable[[tuple[str, ...], str], Step]
    arguments: int = 0
    header: bool = False


def _final(name: str) -> Callable[[tuple[str, ...], str], Step]:
    def build(_texts: tuple[str, ...], _hostname: str) -> Step:
        def step(view: View) -> bool:
            view.actions.append(name)
            view.final = name
            view.final_by = view.filter
            return True

        return step

    return build


def _quarantine(texts: tuple[str, ...], _hostname: str) -> Step:
    name = texts[0]
    shown = f'quarantine "{name}"'

    def step(view: View) -> bool:
        view.actions.append(shown)
        view.holds[name] = Raised(view.filter, view.matched_text())
        return False

    return step


def _insert_header(texts: tuple[str, ...], hostname: str) -> Step:
    name, template = texts[0], Template(texts[1], hostname)
    shown = f"insert-header {name}"

    def step(view: View) -> bool:
        view.actions.append(shown)
        view.insert(name, template.expand(view))
        return False

    return step


def _strip_header(texts: tuple[str, ...], _hostname: str) -> Step:
    shown = f"strip-header {texts[0]}"

    def step(view: View) -> bool:
        view.actions.append(shown)
        view.strip(texts[0])
        return False

    return step


def _log_entry(texts: tuple[str, ...], hostname: str) -> Step:
    template = Template(texts[0], hostname)

    def step(view: View) -> bool:
        view.actions.append("log-entry")
        view.entries.append(template.expand(view))
        return False

    return step


def _no_op(_texts: tuple[str, ...], _hostname: str) -> Step:
    def step(view: View) -> bool:
        view.actions.append("no-op")
        return False

    return step


def _alt_src_host(texts: tuple[str, ...], _hostname: str) -> Step:
    shown = f"alt-src-host {texts[0]}"

    def step(view: View) -> bool:
        view.actions.append(shown)
        view.gateway = Chosen(texts[0], view.filter)
        return False

    return step


def _bounce_profile(texts: tuple[str, ...], _hostname: str) -> Step:
    shown = f"bounce-profile {texts[0]}"

    def step(view: View) -> bool:
        view.actions.append(shown)
        view.bounce_profile = Chosen(texts[0], view.filter)
        return False

    return step


def _stamped(where: Literal["heading", "footer"]) -> Callable[[tuple[str, ...], str], Step]:
    def build(texts: tuple[str, ...], _hostname: str) -> Step:
        shown = f"add-{where} {texts[0]}"

        def step(view: View) -> bool:
            view.actions.append(shown)
            view.stamps.append((where, texts[0].lower()))
            return False

        return step

    return build


_ACTIONS: dict[str, _Spec] = {
    "quarantine": _Spec(_quarantine, 1),
    "drop": _Spec(_final("drop")),
    "bounce": _Spec(_final("bounce")),
    "deliver": _Spec(_final("deliver")),
    "skip-filters": _Spec(_final("skip-filters")),
    "insert-header": _Spec(_insert_header, 2, header=True),
    "strip-header": _Spec(_strip_header, 1, header=True),
    "log-entry": _Spec(_log_entry, 1),
    "no-op": _Spec(_no_op),
    "alt-src-host": _Spec(_alt_src_host, 1),
    "bounce-profile": _Spec(_bounce_profile, 1),
    "add-heading": _Spec(_stamped("heading"), 1),
    "add-footer": _Spec(_stamped("footer"), 1),
}
ACTION_NAMES = frozenset(_ACTIONS)


def compile_action(action: Action, around: Around, faults: Faults) -> Step | None:
    """Check one action and make it ready; None after a fault."""
    spec = _ACTIONS.get(action.name)
    if spec is None:
        faults.append(FilterFault(action.position, f"there is no action '{action.name[:40]}'"))
        return None
    before = len(faults)
    kinds = ("text",) * spec.arguments
    check_arguments(action.name, action.position, action.arguments, kinds, spec.arguments, faults=faults)
    if len(faults) == before:
        for number, value in enumerate(action.arguments):
            _check_text(action, value, spec.header and number == 0, faults)
            _check_name(action, value, around, faults)
    if len(faults) > before:
        return None
    return spec.build(tuple(str(value.content) for value in action.arguments), around.hostname)


def _check_text(action: Action, value: Value, is_header: bool, faults: Faults) -> None:
    text = str(value.content)
    if is_header and not _HEADER_NAME.fullmatch(text):
        faults.append(FilterFault(value.position, f"{value.raw[:40]} is not a header name"))
    elif action.name == "quarantine" and (not text.strip() or not text.isprintable() or len(text) > 64):
        faults.append(FilterFault(value.position, f"{value.raw[:40]} cannot be the name of a quarantine"))


def _check_name(action: Action, value: Value, around: Around, faults: Faults) -> None:
    text = str(value.content).lower()
    what, known = {
        "alt-src-host": ("interface or group", around.interfaces),
        "bounce-profile": ("bounce profile", around.bounce_profiles),
        "add-heading": ("text of kind disclaimer", around.texts),
        "add-footer": ("text of kind disclaimer", around.texts),
    }.get(action.name, ("", None))
    if known is not None and text not in known:
        faults.append(FilterFault(value.position, f"there is no {what} {value.raw[:40]}"))
