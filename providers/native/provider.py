"""What all providers have in common whose engine is a Python library."""

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, TypeVar

from providers.base import Command, Endpoint, Health, ModelFiles, NativeEngine, Placement, Provider
from providers.native.command import native_command, native_environment
from providers.native.gpus import visible_gpus
from providers.native.health import probe
from providers.native.options import NativeOptions, NativeSlot

S = TypeVar("S", bound=NativeSlot)


class NativeProvider(Provider[S]):
    """Left of the contract are `engine` and `infer`."""

    child_env: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Of a process of its own; what the slot's own `env` says goes before."""

    @abstractmethod
    def engine(self, slot: S, model: ModelFiles, placement: Placement) -> NativeEngine:
        """Cheap: imports and loads nothing."""

    def native(self, slot: S, model: ModelFiles, placement: Placement) -> NativeEngine | None:
        return None if slot.options.is_child else self.engine(slot, model, placement)

    def build_env(self, slot: S, model: ModelFiles, placement: Placement) -> dict[str, str]:
        return native_environment(self._options_of_a_child(slot, placement), placement)

    def start_cmd(self, slot: S, model: ModelFiles, placement: Placement) -> Command:
        return native_command(slot, self._options_of_a_child(slot, placement), model, placement)

    async def health(self, endpoint: Endpoint) -> Health:
        return await probe(endpoint)

    def _options_of_a_child(self, slot: S, placement: Placement) -> NativeOptions:
        env = {**self.child_env, **visible_gpus(placement), **slot.options.env}
        return slot.options.model_copy(update={"env": env})
