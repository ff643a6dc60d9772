"""Which slot a client means, and where its provider takes an operation."""

from collections.abc import Mapping

from providers.base import Route
from providers.capabilities import NEEDED_CAPABILITY, Capability, Operation
from providers.registry import provider
from providers.spec import SlotSpec
from serve_app.errors import BadRequest


class SlotDirectory:
    """Built once from the configuration."""

    def __init__(self, slots: tuple[SlotSpec, ...]) -> None:
        self.slots: Mapping[str, SlotSpec] = {slot.name: slot for slot in slots}
        self._by_name = {slot.model: slot for slot in reversed(slots)}
        self._by_name |= {name: slot for slot in slots for name in slot.names}
        self._routes = {
            (slot.name, operation): provider(slot.provider).infer(operation)
            for slot in slots
            for operation in Operation
        }

    def find(self, name: object) -> SlotSpec:
        """The slot that the request's `model` names. Raises 400 without a name, 404 for an unknown one."""
        if name is None:
            raise BadRequest(400, f"The field 'model' is required. {self._choice()}", "missing_model", "model")
        if not isinstance(name, str):
            raise BadRequest(400, "Invalid type for 'model': expected a string.", "invalid_type", "model")
        slot = self._by_name.get(name)
        if slot is None:
            raise BadRequest(
                404, f"The model '{name[:200]}' does not exist. {self._choice()}", "model_not_found", "model"
            )
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
        return f"Models here: {', '.join(self.slots)}."
