"""The text fields of a form, as OpenAI's clients write them: `name`, `name[]` for lists, `name[key]` for objects."""

from collections.abc import Mapping, Sequence

from serve_app.errors import BadRequest


class Fields:
    """An empty value is none: clients send fields that their users left blank."""

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        self._items = [(name, value) for name, value in items if value.strip()]

    def one(self, name: str) -> str | None:
        """Raises 400 for a field that is given twice."""
        values = [value for key, value in self._items if key == name]
        if len(values) > 1:
            raise BadRequest(400, f"The field '{name}' is given twice.", "duplicate_field", name)
        return values[0] if values else None

    def many(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self._items if key in (name, f"{name}[]"))

    def nested(self, name: str) -> Mapping[str, str]:
        prefix = f"{name}["
        return {
            key.removeprefix(prefix)[:-1]: value
            for key, value in self._items
            if key.startswith(prefix) and key.endswith("]")
        }
