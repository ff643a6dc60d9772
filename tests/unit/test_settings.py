"""What is read from the environment, and what of it an engine may see."""

from pathlib import Path

import pytest

from serve_app.settings import engine_base_env, load_settings

SECRETS = {
    "HF_TOKEN": "hf_x",
    "HUGGING_FACE_HUB_TOKEN": "hf_x",
    "HAL0_API_KEYS": "a,b",
    "OPENAI_API_KEY": "sk",
    "ANTHROPIC_API_KEY": "sk",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "SSH_AUTH_SOCK": "/run/agent",
    "LLAMA_API_KEY": "k",
    "RAY_ADDRESS": "auto",
    "path": "/lower",
}
ALLOWED = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LC_ALL": "C.UTF-8",
    "LD_LIBRARY_PATH": "/lib",
    "VK_ICD_FILENAMES": "/icd.json",
    "GGML_VK_VISIBLE_DEVICES": "0",
    "CUDA_VISIBLE_DEVICES": "0",
    "HSA_OVERRIDE_GFX_VERSION": "11.0.0",
    "XDG_RUNTIME_DIR": "/run/user/1",
}


def test_an_engine_sees_no_tokens() -> None:
    assert engine_base_env(SECRETS | ALLOWED) == ALLOWED


def test_settings_from_the_environment() -> None:
    settings = load_settings({"HAL0_HOME": "/srv/hal0", "HAL0_API_KEYS": " a, ,b,"})
    assert (settings.home, settings.api_keys) == (Path("/srv/hal0"), ("a", "b"))
    assert settings.models_dir == Path("/srv/hal0/models")
    assert settings.logs_dir == Path("/srv/hal0/logs")
    assert settings.cache_dir == Path("/srv/hal0/engine-cache")


@pytest.mark.parametrize("environ", [{}, {"HAL0_HOME": "", "HAL0_API_KEYS": ""}])
def test_settings_by_default(environ: dict[str, str]) -> None:
    settings = load_settings(environ)
    assert (settings.home, settings.api_keys) == (Path.home() / ".cache/hal0", ())


def test_home_is_made_absolute() -> None:
    assert load_settings({"HAL0_HOME": "~/x"}).home == Path.home() / "x"
    assert load_settings({"HAL0_HOME": "x"}).home == Path.cwd() / "x"
