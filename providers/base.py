"""The contract between a slot and the inference engine behind it. Implementing it is all it takes to add one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from pydantic import JsonValue

from providers.capabilities import Capability, Operation
from providers.devices import Device
from providers.errors import EngineError
from providers.pulling import OwnModels
from providers.spec import SlotSpec
from providers.voices import Voice

JsonObject = dict[str, JsonValue]
Slot = TypeVar("Slot", bound=SlotSpec)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A slot's model on this node's disk: the main file or folder, and its companions by role."""

    main: Path
    companions: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """About how much memory an engine takes once its model is loaded, beside what its program takes itself."""

    weights_bytes: int
    cache_bytes: int
    """What it keeps of all its requests at their full length (a KV cache)."""
    device_share: float = 0.0
    """0..1: how much of it lies in the memory of a device that has its own; the rest lies in the node's."""

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes

    @property
    def device_bytes(self) -> int:
        return round(self.total_bytes * self.device_share)

    @property
    def node_bytes(self) -> int:
        return self.total_bytes - self.device_bytes


@dataclass(frozen=True, slots=True)
class Node:
    """What a provider may use of the machine that it is asked on."""

    programs: Mapping[str, Path]
    """Those of the provider's `programs` that are on its PATH."""
    base_env: Mapping[str, str]
    """Its own PATH, HOME, locale and the like."""
    cache_dir: Path


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and with what one engine process starts, decided by the slot's replica."""

    device: Device
    host: str
    port: int
    token: str
    cache_dir: Path
    accelerator_ids: tuple[str, ...] = ()
    """Devices that Ray assigned to the replica, as it names them; empty: all of the node's."""
    cpu_threads: int = 1
    programs: Mapping[str, Path] = field(default_factory=dict)
    """Those of the provider's `programs` that are on this node's PATH."""
    base_env: Mapping[str, str] = field(default_factory=dict)
    """The node's own PATH, HOME, locale and the like."""
    placement_group: str = ""
    """Id, in hexadecimal, of the Ray placement group whose bundles hold the slot's stages; empty: it has none."""
    cluster_address: str = ""
    """HOST:PORT by which a process of this node joins the Ray cluster; empty where `placement_group` is."""
    cluster_key: Mapping[str, str] = field(default_factory=dict)
    """Variables without which the cluster does not let such a process in."""


@dataclass(frozen=True, slots=True)
class Command:
    """An engine's argv, and the argv that removes what outlives its process (a container), if anything does."""

    argv: tuple[str, ...]
    cleanup: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine answers HTTP, and the bearer token that it demands."""

    url: str
    token: str


class HealthState(StrEnum):
    DEAD = "dead"
    STARTING = "starting"
    WARMING = "warming"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Health:
    """`progress` is 0..1 where the engine tells how much of its model is loaded."""

    state: HealthState
    progress: float | None = None
    detail: str = ""


class StreamTranslator(Protocol):
    """Rewrites one streamed answer; keeps what it needs from one chunk to the next."""

    def feed(self, chunk: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Translation:
    """How one request differs from what the client sees. A field left None passes bytes through untouched."""

    request: JsonObject | None = None
    response: Callable[[JsonValue], JsonValue] | None = None
    stream: StreamTranslator | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where an operation's requests go, and how the engine's dialect differs from OpenAI's.

    `translate` checks the parsed body (raising `InvalidRequest`) and says what to rewrite;
    `error` turns the engine's error status and body into the client's terms. `queued`: the engine orders such requests
    by itself, so that they need no place of their own.
    """

    path: str
    error: Callable[[int, bytes], EngineError]
    method: str = "POST"
    translate: Callable[[JsonObject, SlotSpec], Translation] | None = None
    queued: bool = False


class NativeEngine(Protocol):
    """An engine that computes inside its slot's actor, in threads, and answers HTTP where its placement says, just as a
    child process would. It lives on the event loop that starts it."""

    async def start(self) -> None:
        """Listen, and load in the background: `Provider.health` asks how that goes. Raises OSError if the port is
        taken."""

    async def stop(self) -> None:
        """Close the port, end what is being answered, and free the model. May be called again."""


class EngineFront(NativeEngine, Protocol):
    """What stands in its slot's actor before a child process that strangers must not reach by themselves, since it
    checks no token or breaks when several ask at once. Its process is stopped after it."""

    async def broken(self) -> str:
        """The reason why the engine must be started anew, once there is one."""


class Provider(ABC, Generic[Slot]):
    """Knowledge of one engine. Stateless: one instance serves every slot of its kind."""

    name: ClassVar[str]
    spec: ClassVar[type[SlotSpec]]
    """The slot's configuration with this provider's options."""
    capabilities: ClassVar[frozenset[Capability]]
    devices: ClassVar[frozenset[Device]]
    companions: ClassVar[frozenset[str]] = frozenset()
    """Roles that a slot's `companions` may name."""
    names_companions: ClassVar[bool] = False
    """Whether a slot gives its companions names of its own choice, instead of roles."""
    programs: ClassVar[tuple[str, ...]] = ()
    """Programs that `start_cmd` uses when the node's PATH has them."""

    def devices_of(self, programs: Mapping[str, Path]) -> frozenset[Device]:
        """The devices beside the CPU that these programs find on this machine. Asks them, so it may take seconds."""
        return frozenset()

    def memory_needs(self, slot: Slot, model: ModelFiles, device: Device) -> MemoryNeeds | None:
        """An estimate from the head of the model's files; None where it is unknown. Takes milliseconds, never raises
        and changes nothing: files may be missing or broken."""
        return None

    def load_progress(self, output: str) -> float | None:
        """How much of the model is loaded, 0..1, by what the engine wrote of late, an unfinished last line included;
        None if that does not tell. Pure."""
        return None

    def voices(self, slot: Slot, model: ModelFiles | None) -> tuple[Voice, ...]:
        """Those that the slot speaks with, by its configuration and its model's files, if these are here. Never raises,
        and loads no model. Empty: it does not speak, or only with voices that clients bring."""
        return ()

    def native(self, slot: Slot, model: ModelFiles, placement: Placement) -> NativeEngine | None:
        """The engine as a part of the slot's actor; None: it is the child process that `start_cmd` says. Cheap: imports
        and loads nothing."""
        return None

    def front(self, slot: Slot, placement: Placement, engine: Endpoint) -> EngineFront | None:
        """What answers at `placement` for the child process that answers at `engine`, on loopback and without a token;
        None: the process answers itself. `health` asks the front. Cheap."""
        return None

    def own_models(self, slot: Slot, node: Node) -> OwnModels | None:
        """The slot's models, where the engine fetches them by itself; None: the model store does. Cheap."""
        return None

    async def preflight(self, slot: Slot, node: Node) -> None:
        """Look for what would make a load fail, before it begins; takes a second or two. Raises `ProviderError` that
        says what to do."""
        return None

    def advice(self, output: str) -> str | None:
        """What to do about a load that failed, by what the engine wrote last; None if that does not tell. Pure."""
        return None

    def may_sleep(self, slot: Slot) -> bool:
        """Whether the slot's engine can give up its device's memory while it is idle, without being unloaded. Pure."""
        return False

    async def sleep(self, slot: Slot, endpoint: Endpoint) -> None:
        """Give it up; nobody asks the engine anything until `wake` has returned. Raises `ProviderError`."""
        raise NotImplementedError

    async def wake(self, slot: Slot, endpoint: Endpoint) -> None:
        """Be able to answer again. Raises `ProviderError`."""
        raise NotImplementedError

    @abstractmethod
    def build_env(self, slot: Slot, model: ModelFiles, placement: Placement) -> dict[str, str]:
        """The engine's complete environment. Pure."""

    @abstractmethod
    def start_cmd(self, slot: Slot, model: ModelFiles, placement: Placement) -> Command:
        """The argv of the engine's process. Pure. Raises `ProviderError` if this placement cannot run it."""

    @abstractmethod
    async def health(self, endpoint: Endpoint) -> Health:
        """A probe of milliseconds: DEAD refuses to work, STARTING has no open port, WARMING is loading,
        READY answers requests with the model."""

    @abstractmethod
    def infer(self, operation: Operation) -> Route | None:
        """The request path for an operation; None if the engine has none."""
