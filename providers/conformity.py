"""Whether a slot asks of its provider only what that has. Pure."""

from collections.abc import Iterable
from typing import Any

from providers.base import Provider
from providers.devices import AUTO
from providers.spec import SlotSpec


def complaints(provider: Provider[Any], slot: SlotSpec) -> list[tuple[str, str]]:
    """Key path and message of everything that the provider cannot do."""
    problems = []
    if slot.device != AUTO and slot.device not in provider.devices:
        problems.append(("device", _refused(slot.device, (AUTO, *sorted(provider.devices)), provider)))
    problems += [
        ("capabilities", _refused(capability, sorted(provider.capabilities), provider))
        for capability in slot.capabilities
        if capability not in provider.capabilities
    ]
    problems += [
        (f"companions.{role}", _refused(role, sorted(provider.companions) or ["none"], provider))
        for role in slot.companions
        if not provider.names_companions and role not in provider.companions
    ]
    return problems


def _refused(value: str, allowed: Iterable[str], provider: Provider[Any]) -> str:
    return f"'{value}' is not allowed for {provider.name}; allowed: {', '.join(allowed)}"
