"""Which slot a client means, and where its provider takes an operation."""

from collections.abc import Callable, Mapping

from providers.base import Route
from providers.capabilities import NEEDED_CAPABILITY, Capability, Operation
from providers.registry import provider
from providers.spec import SlotSpec
from serve_app.errors import BadRequest

Infer = Callable[[SlotSpec, Operation], Route | None]


def by_provider(slot: SlotSpec, operation: Operation) -> Route | None:
    return provider(slot.provider).infer(operation)


class SlotDirectory:
    """Built once from the configuration. `infer`: where a slot's engine takes an operation."""

    def __init__(self, slots: tuple[SlotSpec, ...], infer: Infer = by_provider) -> None:
        self.slots: Mapping[str, SlotSpec] = {slot.name: slot for slot in slots}
        self._by_name = {slot.model: slot for slot in reversed(slots)}
        self._by_name |= {name: slot for slot in slots for name in slot.names}
        self._roles = {alias: role for slot in slots for alias, role in slot.role_aliases.items()}
        self._routes = {(slot.name, operation): infer(slot, operation) for slot in slots for operation in Operation}

    def find(self, name: object, operation: Operation) -> SlotSpec:
        """The slot that the request's `model` names. Raises 400 without a name, or for the alias of a role that is not
        the operation's, 404 for an unknown name."""
        if name is None:
            raise BadRequest(400, f"The field 'model' is required. {self._choice()}", "missing_model", "model")
        if not isinstance(name, str):
            raise BadRequest(400, "Invalid type for 'model': expected a string.", "invalid_type", "model")
        slot = self._by_name.get(name)
        if slot is None:
            raise BadRequest(
                404, f"The model '{name[:200]}' does not exist. {self._choice()}", "model_not_found", "model"
            )
        role, needed = self._roles.get(name), NEEDED_CAPABILITY[operation]
        if role is not None and needed not in (role, None) and slot.offers(needed):
            message = f"The model '{name}' is the {role} of slot '{slot.name}'; name the slot itself for {needed}."
            raise BadRequest(400, message, "unsupported_capability", "model")
        return slot

    def route(self, slot: SlotSpec, operation: Operation) -> Route:
        """Raises 400 if the slot has not the capability, 501 if its engine has no such route."""
        needed = NEEDED_CAPABILITY[operation]
        if needed is not None and not slot.offers(needed):
            raise self._incapable(slot, needed)
        route = self._routes[slot.name, operation]
        if route is None:
            message = f"Slot '{slot.name}' ({slot.provider}) has no operation '{operation}'."
            raise BadRequest(501, message, "unsupported_operation", "model")
        return route

    def _incapable(self, slot: SlotSpec, needed: Capability) -> BadRequest:
        able = [one.name for one in self.slots.values() if one.offers(needed)]
        others = f"Slots that can: {', '.join(able)}." if able else "No slot of this server can."
        message = f"Slot '{slot.name}' cannot do {needed} (it can do {', '.join(slot.capabilities)}). {others}"
        return BadRequest(400, message, "unsupported_capability", "model")

    def _choice(self) -> str:
        names = [name for slot in self.slots.values() for name in (slot.name, *slot.role_aliases, *slot.adapters)]
        return f"Models here: {', '.join(names)}."
