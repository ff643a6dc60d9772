"""Fields of a request, with the exceptions of the JSON library that the real program uses."""

from typing import TypeVar

from tests.emulators.flm.catalogue import Record

Field = TypeVar("Field", str, bool, int, float, list)  # type: ignore[type-arg]


class WrongType(Exception):
    """The message goes to the client."""


def need(record: Record, name: str, kind: type[Field]) -> Field:
    """Raises `WrongType`, for a field that is missing as for one that is null."""
    return _checked(record.get(name), kind)


def get(record: Record, name: str, default: Field, kind: type[Field]) -> Field:
    """The default only if the field is missing: null is a wrong type. Raises `WrongType`."""
    return _checked(record[name], kind) if name in record else default


def _checked(value: object, kind: type[Field]) -> Field:
    name = _name(type(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Whole numbers are cut out of others in silence.
        value = float(value) if kind is float else int(value)
    if isinstance(value, kind):
        return value
    raise WrongType(f"[json.exception.type_error.302] type must be {_name(kind)}, but is {name}")


def _name(kind: type) -> str:
    names = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}
    return names.get(kind, "null")
