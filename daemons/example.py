"""The commented configuration: every key of a document with its default and what it means, made from the model.

`gatepost init` writes it for a new machine and `etc/` holds one per role; a test keeps those true.
"""

import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_WIDTH = 110


def render(model: type[BaseModel], values: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a document as TOML: `values` are set, all else stands as a comment with its default."""
    parts = []
    for name, field in model.model_fields.items():
        section, repeated = _section(field)
        given = values.get(name, {})
        if section is not None:
            parts.append("\n".join(_table(name, section, given, repeated=repeated, off=repeated and not given)))
    return "\n\n".join(parts) + "\n"


def _section(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """Give the section class of a field, and whether it is repeated."""
    found = list(_classes(field.annotation))
    repeated = any(origin is tuple for origin in _origins(field.annotation))
    return (found[0] if found else None), repeated


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _classes(argument)


def _origins(annotation: Any) -> Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin is not None:
        yield origin
        for argument in typing.get_args(annotation):
            if origin in (typing.Union, types.UnionType, typing.Annotated):
                yield from _origins(argument)


def _table(
    name: str, section: type[BaseModel], given: Mapping[str, Any], *, repeated: bool, off: bool
) -> Iterator[str]:
    mark = "#" if off else ""
    for line in textwrap.wrap(_first_paragraph(section), _WIDTH):
        yield f"# {line}"
    yield f"{mark}[[{name}]]" if repeated else f"{mark}[{name}]"
    nested = []
    for key, field in section.model_fields.items():
        inner, inner_repeated = _section(field)
        if inner is not None and key not in given:
            nested.append((key, inner, inner_repeated))
            continue
        for line in textwrap.wrap(field.description or "", _WIDTH):
            yield f"# {line}"
        yield _line(key, field, given)
    for key, inner, inner_repeated in nested:
        yield ""
        yield from _table(f"{name}.{key}", inner, {}, repeated=inner_repeated, off=True)


def _first_paragraph(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _line(key: str, field: FieldInfo, given: Mapping[str, Any]) -> str:
    if key in given:
        return f"{key} = {literal(given[key])}"
    if field.default is PydanticUndefined:
        return f"#{key} = (needed)"
    if field.default is None:
        return f"#{key} = (inherited)"
    return f"#{key} = {literal(field.default)}"


def literal(value: Any) -> str:
    """Write a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, BaseModel):
        pairs = value.model_dump(exclude_none=True, exclude_defaults=True)
        return "{ " + ", ".join(f"{key} = {literal(item)}" for key, item in pairs.items()) + " }"
    # A JSON string is a TOML basic string.
    return msgspec.json.encode(value).decode()


def examples(models: Mapping[str, type[BaseModel]]) -> dict[str, str]:
    """Give the example document of each role, as `etc/ROLE.toml` holds it."""
    values = {
        role: {"appliance": {"role": role, "serial": "(made by gatepost init)", "hostname": f"{role}.example.org"}}
        for role in models
    }
    return {role: render(model, values[role]) for role, model in models.items()}


if __name__ == "__main__":
    from pathlib import Path

    from daemons.config import DOCUMENTS

    for role, text in examples(DOCUMENTS).items():
        (Path(__file__).parents[1] / "etc" / f"{role}.toml").write_text(text)
