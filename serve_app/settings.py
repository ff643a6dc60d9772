"""The one module that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ENGINE_ENV = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")
ENGINE_ENV_PREFIXES = ("VK_", "MESA_", "GGML_", "XDG_", "HSA_", "ROCM_", "CUDA_", "HIP_", "ROCR_", "XILINX_", "FLM_")


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` holds models given by relative paths, downloads by URL, stored voices, engine logs, and who uses what."""

    home: Path
    api_keys: tuple[str, ...]

    @property
    def models_dir(self) -> Path:
        return self.home / "models"

    @property
    def voices_dir(self) -> Path:
        return self.home / "voices"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def cache_dir(self) -> Path:
        return self.home / "engine-cache"


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """HAL0_HOME (default ~/.cache/hal0) and HAL0_API_KEYS (comma-separated)."""
    home = Path(environ.get("HAL0_HOME") or "~/.cache/hal0").expanduser().absolute()
    keys = tuple(key.strip() for key in environ.get("HAL0_API_KEYS", "").split(",") if key.strip())
    return Settings(home=home, api_keys=keys)


def engine_base_env(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What an engine may see of this process's environment: no tokens, no keys."""
    return {
        name: value for name, value in environ.items() if name in ENGINE_ENV or name.startswith(ENGINE_ENV_PREFIXES)
    }
