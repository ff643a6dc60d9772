"""The demo server, as `make demo` starts it, on a free port."""

from pathlib import Path

from providers.tiny import make_demo_models
from tests.support.flm import environment
from tests.support.server import Server, ServerPark

ROOT = Path(__file__).parents[2]


def make_models(home: Path) -> None:
    make_demo_models(home / "models" / "demo")


def demo_text() -> str:
    return (ROOT / "configs" / "demo.yaml").read_text().replace("port: 8080", "port: PORT")


def demo(servers: ServerPark) -> Server:
    return servers.running(demo_text(), env=environment(servers.folder / "flm"), prepare=make_models)


def config(slots: str, ingress: str = "{}") -> str:
    """A configuration with these slots (a YAML list in flow style) on a free port."""
    return f"""
http_options: {{host: 127.0.0.1, port: PORT}}
applications:
  - name: hal0
    route_prefix: /
    import_path: serve_app.app:build
    args: &args
      ingress: {ingress}
      slots: {slots}
    autoscaling_policy:
      policy_function: serve_app.autoscaling:SlotPolicy
      policy_kwargs: {{config: *args}}
"""


CHAT = "{name: chat, provider: llama.cpp, model: demo/tiny-chat.gguf, capabilities: [chat, completion]}"


def slot(base: str = CHAT, **changes: object) -> str:
    """`base` with keys changed or added, as YAML in flow style."""
    inner = base.removeprefix("{").removesuffix("}")
    for key, value in changes.items():
        parts = [part for part in _split(inner) if not part.strip().startswith(f"{key}:")]
        inner = ",".join([*parts, f" {key}: {value}"])
    return "{" + inner + "}"


def _split(text: str) -> list[str]:
    """At commas outside of brackets."""
    parts, depth, current = [], 0, ""
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [*parts, current]
