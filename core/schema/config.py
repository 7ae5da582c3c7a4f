"""Describing configuration models in plain terms: the one way from pydantic's models to `core.schema`.

The composition roots call `describe` once for each kind of document. Checks are made when they are first used, so
that a description costs little. Raises nothing.
"""

import types
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, PydanticUndefined

from core.config import Section, Size, is_secret
from core.config.document import problems_of
from core.schema import Fault, Key, Refused, Schema, Shape

_SIZE = next(item.func for item in get_args(Size) if isinstance(item, BeforeValidator))
_SIMPLE: dict[Any, Any] = {bool: "yes-no", int: "whole", float: "number", str: "text"}


@cache
def describe(model: type[BaseModel]) -> Shape:
    """Describe a section, or a whole document."""
    text = (model.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return Shape(text, tuple(_of_field(name, field) for name, field in model.model_fields.items()))


def top_keys(*documents: type[BaseModel]) -> Schema:
    """Describe the top-level keys of several kinds of documents together; the first that has a key describes it."""
    keys: dict[str, Key] = {}
    for document in documents:
        for key in describe(document).keys:
            keys.setdefault(key.name, key)
    return keys


def _of_field(name: str, field: FieldInfo) -> Key:
    metadata = [*field.metadata]
    found = _described(name, field.annotation, metadata)
    whole = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    optional = found["kind"] not in {"section", "table"} and type(None) in _members(field.annotation)
    return Key(
        name=name,
        description=field.description or "",
        default=_plain(None if field.default is PydanticUndefined else field.default),
        required=field.is_required(),
        optional=optional,
        secret=is_secret(name),
        check=_checker(whole, name),
        **found,
    )


def _described(name: str, annotation: Any, metadata: list[Any]) -> dict[str, Any]:
    """Give kind, choices, bounds, item and shape of a type."""
    annotation = _bare(annotation, metadata)
    bounds = _bounds(metadata)
    if get_origin(annotation) in {tuple, list}:
        return {**bounds, **_several(name, get_args(annotation)[0])}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {"kind": "section", "shape": describe(annotation)}
    if get_origin(annotation) is Literal:
        return {"kind": "choice", "choices": tuple(str(word) for word in get_args(annotation) if word != "")}
    sized = any(isinstance(item, BeforeValidator) and item.func is _SIZE for item in metadata)
    return {"kind": "size" if sized else _SIMPLE.get(annotation, "text"), **bounds}


def _several(name: str, item: Any) -> dict[str, Any]:
    metadata: list[Any] = []
    bare = _bare(item, metadata)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return {"kind": "table", "shape": describe(bare), "check_row": _row_checker(item)}
    described = _described(name, bare, metadata)
    return {"kind": "list", "item": Key(name=name, check=_checker(item, name), **described)}


def _bare(annotation: Any, metadata: list[Any]) -> Any:
    """Take `Annotated` and `| None` off a type; what was said there goes to `metadata`."""
    if get_origin(annotation) is Annotated:
        inner, *said = get_args(annotation)
        for item in said:
            metadata.extend(item.metadata if isinstance(item, FieldInfo) else [item])
        return _bare(inner, metadata)
    if get_origin(annotation) in {Union, types.UnionType}:
        members = [item for item in get_args(annotation) if item is not type(None)]
        return _bare(members[0], metadata)
    return annotation


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, types.UnionType} else ()


def _bounds(metadata: list[Any]) -> dict[str, Any]:
    least, most = None, None
    for item in metadata:
        for name in ("ge", "gt", "min_length"):
            least = getattr(item, name, None) if getattr(item, name, None) is not None else least
        for name in ("le", "lt", "max_length"):
            most = getattr(item, name, None) if getattr(item, name, None) is not None else most
    return {"least": least, "most": most}


def _plain(value: Any) -> Any:
    """Give a default as TOML would hold it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _checker(annotation: Any, name: str) -> Callable[[Any], Any]:
    @cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(annotation)

    def check(value: Any) -> Any:
        try:
            return adapter().validate_python(value)
        except ValidationError as error:
            reasons = dict.fromkeys(problem.reason for problem in problems_of(_at(error, name), ""))
            raise Refused("; ".join(reasons)) from None

    return check


def _at(error: ValidationError, name: str) -> ValidationError:
    """Put an error under its key, so that the value of a secret one is not told."""
    details: Iterator[Any] = ({**item, "loc": (name, *item["loc"])} for item in error.errors(include_url=False))
    return ValidationError.from_exception_data(error.title, [_worded(item) for item in details])


def _worded(item: Any) -> Any:
    kind = PydanticCustomError(item["type"], "{text}", {"text": item["msg"]})
    return {"type": kind, "loc": item["loc"], "input": item["input"]}


def _row_checker(annotation: Any) -> Callable[[Any], list[Fault]]:
    @cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(annotation)

    return partial(_row_faults, adapter)


def _row_faults(adapter: Callable[[], TypeAdapter[Any]], row: Any) -> list[Fault]:
    try:
        adapter().validate_python(row)
    except ValidationError as error:
        return [Fault(problem.key, problem.reason) for problem in problems_of(error, "")]
    return []


def faults_in(model: type[Section], row: Any) -> list[Fault]:
    """Look at one section as a whole."""
    return _row_faults(lambda: TypeAdapter(model), row)
