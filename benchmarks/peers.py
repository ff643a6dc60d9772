"""What else can stand before an engine: LiteLLM's proxy, and Serve as its tutorials use it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.engines import HOST
from benchmarks.load import Address
from benchmarks.servers import Server
from benchmarks.slots import INSTANT, PACED

LITELLM, NAIVE = "LiteLLM proxy", "Serve through a handle"
LITELLM_REQUIREMENT = "litellm[proxy]==1.108.7"
LITELLM_VENV = Path("~/.cache/hal0/litellm-venv").expanduser()
SLOTS = (INSTANT, PACED)
"""What these are compared with is how they pass requests on, not what engines do with them."""

Engines = Mapping[str, Address]
"""The bare engines that they stand before, by slot."""


class LiteLLM(Server):
    """One worker, in a virtual environment of its own."""

    def __init__(self, engines: Engines, folder: Path) -> None:
        super().__init__(LITELLM, folder)
        self._engines = engines

    @contextmanager
    def running(self) -> Iterator[None]:
        require_litellm(LITELLM_VENV)
        self._folder.mkdir(parents=True)
        config = self._folder / "litellm.yaml"
        config.write_text(json.dumps(litellm_config(self._engines)))
        where = ("--host", HOST, "--port", str(self._address.port), "--num_workers", "1")
        # It would fetch a list of prices, tell home that it runs, and ask for a key, which no path here does.
        settings = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_LOG": "ERROR",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        command = (str(LITELLM_VENV / "bin" / "litellm"), "--config", str(config), *where)
        with self.served(command, settings, "/health/liveliness"):
            yield


class NaiveServe(Server):
    """`naive.py`, by `serve run`."""

    def __init__(self, engines: Engines, folder: Path) -> None:
        super().__init__(NAIVE, folder)
        self._engines = engines

    @contextmanager
    def running(self) -> Iterator[None]:
        self._folder.mkdir(parents=True)
        config = self._folder / "naive.yaml"
        config.write_text(json.dumps(naive_config(self._engines, self._address.port)))
        serve = Path(sys.executable).with_name("serve")
        with self.served((str(serve), "run", str(config)), {}):
            yield


def require_litellm(venv: Path) -> None:
    """Install it if it is not there. Raises `CalledProcessError`."""
    python = venv / "bin" / "python"
    if (venv / "bin" / "litellm").exists():
        return
    print(f"installing {LITELLM_REQUIREMENT} into {venv} (a minute)", file=sys.stderr)
    subprocess.run((sys.executable, "-m", "venv", "--clear", str(venv)), check=True)
    options = ("--quiet", "--disable-pip-version-check")
    subprocess.run((str(python), "-m", "pip", "install", *options, LITELLM_REQUIREMENT), check=True)


def litellm_config(engines: Engines) -> dict[str, Any]:
    models = [
        {
            "model_name": slot,
            "litellm_params": {
                "model": f"openai/{slot}",
                "api_base": f"http://{address.host}:{address.port}/v1",
                "api_key": address.key,
            },
        }
        for slot, address in engines.items()
    ]
    return {"model_list": models}


def naive_config(engines: Engines, port: int) -> dict[str, Any]:
    where = {slot: (f"http://{address.host}:{address.port}", address.key) for slot, address in engines.items()}
    application = {
        "name": "naive",
        "route_prefix": "/",
        "import_path": "benchmarks.naive:build",
        "args": {"engines": where},
    }
    return {"http_options": {"host": HOST, "port": port}, "applications": [application]}
