"""The configuration: what stands under `args` in a Serve config file. Frozen, unknown keys refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError

from providers.conformity import complaints
from providers.registry import PROVIDERS
from providers.spec import Frozen, SlotSpec

EVERY_NODE = "every_node"
"""In `ingress.replicas`."""
RESERVED_NAMES = frozenset({"ingress", "board", "events"})
SHOWN_VALUE_LIMIT = 80

M = TypeVar("M", bound=BaseModel)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class IngressConfig(Frozen):
    """The HTTP side. Where it listens is Serve's own `http_options`."""

    replicas: Annotated[int, Field(ge=1, le=64)] | Literal["every_node"] = Field(
        default=1, description="so many in all, or one on every node"
    )
    resource: str | None = Field(
        default=None, min_length=1, description="a custom resource: ingresses live on nodes that declare it"
    )
    api_keys_file: Path | None = Field(default=None, description="one key a line; beside HAL0_API_KEYS")
    allow_open: bool = Field(default=False, description="listen beyond loopback without API keys")
    max_body_mib: float = Field(default=64, gt=0, le=1024, description="of a JSON body, held in memory")
    max_upload_mib: float = Field(default=1024, gt=0, description="of an upload of audio, held on the disk")
    max_audio_s: float = Field(default=6 * 3600, gt=0, description="of sound in one file")
    upload_timeout_s: float = Field(default=600, gt=0, description="a body that takes longer to come is refused")
    realtime_idle_s: float = Field(default=300, gt=0, description="a realtime session that is silent so long is ended")
    voices_dir: Path | None = Field(
        default=None, description="of voices that clients bring; on several nodes a folder that all of them share"
    )
    access_log: bool = True
    keep_alive_s: float = Field(
        default=5, gt=0, le=600, description="between the comments that keep a waiting stream's connection open"
    )


class SlotGroup(Frozen):
    """Slots whose living together is not a matter of resources alone."""

    slots: tuple[str, ...] = Field(min_length=2)
    resident: Literal["one", "all"] = Field(
        description="one: never two of them at once; all: none of them gives way to another of them"
    )


class SchedulingConfig(Frozen):
    """What happens when slots do not all fit."""

    turn_s: float = Field(
        default=30, gt=0, description="a busy slot gives way after this time to one that waits for its place"
    )
    memory_floor_gib: float = Field(
        default=0, ge=0, description="idle slots of a node go while it has less memory available; 0 never"
    )
    warm_workers: int = Field(
        default=1, ge=0, le=64, description="idle worker processes kept on each node for the next load"
    )
    groups: tuple[SlotGroup, ...] = ()


class ServingConfig(Frozen):
    ingress: IngressConfig = IngressConfig()
    scheduling: SchedulingConfig = SchedulingConfig()
    slots: tuple[SlotSpec, ...]


class ConfigError(ValueError):
    """The configuration is wrong; each problem names key path, value and what is allowed."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def parse_config(args: Any) -> ServingConfig:
    """Validate `args`. Raises `ConfigError` with every problem found."""
    if not isinstance(args, Mapping):
        raise ConfigError((f"args: {_shown(args)} is not allowed; allowed: a mapping with 'slots'",))
    problems: list[str] = []
    for key in args:
        if key not in ServingConfig.model_fields:
            allowed = ", ".join(sorted(ServingConfig.model_fields))
            problems.append(f"{key}: unknown key; allowed: {allowed}")
    ingress = _validated(IngressConfig, args.get("ingress", {}), "ingress", problems)
    scheduling = _validated(SchedulingConfig, args.get("scheduling", {}), "scheduling", problems)
    slots = _slots(args.get("slots"), problems)
    if scheduling is not None:
        problems.extend(_unknown_members(scheduling, slots))
    if problems or ingress is None or scheduling is None:
        raise ConfigError(tuple(problems))
    return ServingConfig(ingress=ingress, scheduling=scheduling, slots=slots)


def parse_slot(raw: Mapping[str, Any]) -> SlotSpec:
    """One slot alone. Raises `ConfigError`."""
    problems: list[str] = []
    slot = _slot(raw, "slot", problems)
    if slot is None or problems:
        raise ConfigError(tuple(problems))
    return slot


def _slots(raw: Any, problems: list[str]) -> tuple[SlotSpec, ...]:
    if not isinstance(raw, list | tuple) or not raw:
        problems.append(f"slots: {_shown(raw)} is not allowed; allowed: a list of at least one slot")
        return ()
    parsed = [_slot(item, f"slots[{index}]", problems) for index, item in enumerate(raw)]
    slots = tuple(slot for slot in parsed if slot is not None)
    problems.extend(_clashing_names(slots))
    return slots


def _slot(raw: Any, path: str, problems: list[str]) -> SlotSpec | None:
    if not isinstance(raw, Mapping):
        problems.append(f"{path}: {_shown(raw)} is not allowed; allowed: a mapping")
        return None
    if "name" in raw:
        path = f"{path} ({raw['name']})"
    provider = PROVIDERS.get(str(raw.get("provider")))
    if provider is None:
        known = ", ".join(PROVIDERS)
        problems.append(f"{path}.provider: {_shown(raw.get('provider'))} is not allowed; allowed: {known}")
        return None
    slot = _validated(provider.spec, raw, path, problems)
    if slot is not None:
        problems.extend(f"{path}.{key}: {message}" for key, message in complaints(provider, slot))
    return slot


def _clashing_names(slots: tuple[SlotSpec, ...]) -> list[str]:
    owner: dict[str, str] = {}
    problems = []
    for slot in slots:
        if slot.name in RESERVED_NAMES:
            problems.append(f"slots ({slot.name}).name: '{slot.name}' is reserved; allowed: any other name")
        if owner.get(slot.name) == slot.name:
            problems.append(f"slots ({slot.name}): two slots have the same name; allowed: names that occur once")
            continue
        for name in slot.names:
            if name in owner:
                problems.append(
                    f"slots ({slot.name}): the name '{name}' is taken by slot '{owner[name]}'; "
                    "allowed: names and aliases that occur once"
                )
            owner.setdefault(name, slot.name)
    return problems


def _unknown_members(scheduling: SchedulingConfig, slots: tuple[SlotSpec, ...]) -> list[str]:
    names = [slot.name for slot in slots]
    return [
        f"scheduling.groups[{index}].slots: '{member}' is not allowed; allowed: {', '.join(names)}"
        for index, group in enumerate(scheduling.groups)
        for member in group.slots
        if member not in names
    ]


def _validated(model: type[M], raw: Any, path: str, problems: list[str]) -> M | None:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for entry in error.errors():
            where = path + "".join(_shown_part(part) for part in _own_keys(model, entry["loc"]))
            found.setdefault(where, []).append(_message(model, entry))
        problems.extend(f"{where}: {', or '.join(messages)}" for where, messages in found.items())
        return None


def _own_keys(model: type[BaseModel] | None, loc: tuple[Any, ...]) -> list[Any]:
    """`loc` without what pydantic adds to tell the members of a union apart."""
    keys: list[Any] = []
    for part in loc:
        keys.append(part)
        if model is None or part not in model.model_fields:
            continue
        annotation = model.model_fields[part].annotation
        if get_origin(annotation) in (Union, UnionType):
            break
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return keys


def _shown_part(part: Any) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def _message(model: type[BaseModel], entry: Any) -> str:
    if entry["type"] == "extra_forbidden":
        return f"unknown key; allowed: {', '.join(sorted(_fields_at(model, entry['loc'][:-1])))}"
    if entry["type"] == "missing":
        return "required, but not given"
    message: str = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "value_error" and isinstance(entry["input"], Mapping):
        return message  # of several keys, which it names
    return f"{_shown(entry['input'])} is not allowed: {message[:1].lower() + message[1:]}"


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return list(model.model_fields)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_VALUE_LIMIT else text[: SHOWN_VALUE_LIMIT - 3] + "..."


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A Serve config file: all of it, our own part, and where it has Serve listen."""

    document: Mapping[str, Any]
    serving: ServingConfig
    host: str
    port: int
    secure: bool
    """Whether by HTTPS."""


def load_config_file(path: Path) -> ConfigFile:
    """Raises `ConfigError`; an unreadable file is one, too."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError((f"{path}: cannot be read: {error.strerror}",)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError((f"{path}: is not YAML: {' '.join(str(error).split())}",)) from error
    applications = document.get("applications") if isinstance(document, Mapping) else None
    if not isinstance(applications, list) or not applications or not isinstance(applications[0], Mapping):
        raise ConfigError((f"{path}: has no application; allowed: a Serve config file with `applications`",))
    try:
        config = parse_config(applications[0].get("args"))
    except ConfigError as error:
        raise ConfigError(tuple(f"applications[0].args.{problem}" for problem in error.problems)) from error
    http = document.get("http_options") or {}
    if not isinstance(http, Mapping):
        raise ConfigError((f"http_options: {_shown(http)} is not allowed; allowed: a mapping",))
    port = http.get("port", 8000)
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigError((f"http_options.port: {_shown(port)} is not allowed; allowed: 1 to 65535",))
    return ConfigFile(document, config, str(http.get("host", "127.0.0.1")), port, bool(http.get("ssl_keyfile")))
