"""The command line, read as boost::program_options reads it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

Value = str | int | bool
TRUE, FALSE = ("1", "true", "on", "yes"), ("0", "false", "off", "no")
POSITIONS = ("command", "model_tag")


class BadArguments(Exception):
    """The message is the one of Boost."""


def _boolean(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError(text)
    return text.lower() in TRUE


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


@dataclass(frozen=True, slots=True)
class Option:
    """`read` is None for one that takes no value."""

    name: str
    short: str = ""
    read: Callable[[str], Value] | None = None
    default: Value = False


OPTIONS = (
    Option("help", "h"),
    Option("version", "v"),
    Option("pmode", "", str, "performance"),
    Option("asr", "a", _boolean),
    Option("embed", "e", _boolean),
    Option("host", "", str, "127.0.0.1"),
    Option("port", "p", int, -1),
    Option("force"),
    Option("filter", "", str, "all"),
    Option("quiet"),
    Option("json", "j"),
    Option("ctx-len", "c", int, -1),
    Option("prefill-chunk-len", "", int, -1),
    Option("img-pre-resize", "r", int, 2),
    Option("socket", "s", _count, 10),
    Option("q-len", "q", _count, 10),
    Option("cors", "", _boolean, True),
    Option("preemption", "", _boolean),
    Option("prompt", "i", str, ""),
    # Positional ones have names, too.
    Option("command", "", str, ""),
    Option("model_tag", "", str, ""),
)
MODELSCOPE = Option("modelscope", "", _boolean)
MODELSCOPE_SINCE = (0, 9, 46)


@dataclass
class Arguments:
    """What was given; the rest has its default."""

    options: Sequence[Option]
    given: dict[str, Value] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return str(self._value(name))

    def number(self, name: str) -> int:
        return int(self._value(name))

    def on(self, name: str) -> bool:
        return bool(self._value(name))

    def _value(self, name: str) -> Value:
        return self.given.get(name, next(option.default for option in self.options if option.name == name))

    def put(self, option: Option, value: Value) -> None:
        if option.name in self.given:
            raise BadArguments(f"option '--{option.name}' cannot be specified more than once")
        self.given[option.name] = value


def parse(argv: Sequence[str], version: tuple[int, ...]) -> Arguments:
    """Raises `BadArguments`."""
    options = OPTIONS + ((MODELSCOPE,) if version >= MODELSCOPE_SINCE else ())
    arguments, positions, rest = Arguments(options), 0, iter(argv)
    for token in rest:
        if not token.startswith("-") or token == "-":
            if positions == len(POSITIONS):
                raise BadArguments("too many positional options have been specified on the command line")
            arguments.put(_named(POSITIONS[positions], options, token), token)
            positions += 1
            continue
        option, value = _split(token, options)
        arguments.put(option, _read(option, value, rest))
    return arguments


def _split(token: str, options: Sequence[Option]) -> tuple[Option, str | None]:
    """`--name`, `--name=value`, `-n`, `-nvalue`."""
    if token.startswith("--"):
        name, equals, value = token[2:].partition("=")
        return _named(name, options, f"--{name}"), value if equals else None
    for option in options:
        if option.short and token[1] == option.short:
            return option, token[2:] or None
    raise BadArguments(f"unrecognised option '{token}'")


def _named(name: str, options: Sequence[Option], token: str) -> Option:
    """The option with this name, or the only one whose name begins so."""
    matching = [option for option in options if name and option.name.startswith(name)]
    exact = [option for option in matching if option.name == name]
    if len(exact or matching) == 1:
        return (exact or matching)[0]
    if not matching:
        raise BadArguments(f"unrecognised option '{token}'")
    *names, last = (f"'--{option.name}'" for option in matching)
    raise BadArguments(f"option '{token}' is ambiguous and matches {', '.join(names)}, and {last}")


def _read(option: Option, value: str | None, rest: Iterator[str]) -> Value:
    if option.read is None:
        if value is not None:
            raise BadArguments(f"option '--{option.name}' does not take any arguments")
        return True
    if value is None:
        value = next(rest, "")
    if not value:
        raise BadArguments(f"the required argument for option '--{option.name}' is missing")
    try:
        return option.read(value)
    except ValueError:
        raise BadArguments(f"the argument ('{value}') for option '--{option.name}' is invalid") from None
