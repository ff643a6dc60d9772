"""One folder of a model that was given as a folder, or as single files from different places."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from providers.base import ModelFiles
from providers.errors import ProviderError
from providers.moonshine.names import (
    ENCODER,
    ONNX_ENCODER,
    ONNX_FOLDER,
    ONNX_ROLES,
    ORT_ROLES,
    STREAMING_ENCODER,
)

ONNX_SUFFIX = ".onnx"


@contextmanager
def model_folder(model: ModelFiles, cache_dir: Path) -> Iterator[Path]:
    """The folder, to load from. One of links in `cache_dir`, if files lie apart, lasts as long as this context.

    Raises `ProviderError` for a companion that does not belong to the model.
    """
    if model.main.is_dir() and not model.companions:
        yield model.main
        return
    links = links_of(model)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="moonshine-", dir=cache_dir) as name:
        folder = Path(name)
        for place, target in links.items():
            link = folder / place
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(target.resolve())
        yield folder


def links_of(model: ModelFiles) -> Mapping[str, Path]:
    """Where each file of the model belongs in its folder. Raises `ProviderError`."""
    if model.main.is_dir():
        found = {str(file.relative_to(model.main)): file for file in model.main.rglob("*") if file.is_file()}
        is_onnx = any(name.endswith(ONNX_SUFFIX) for name in found)
    else:
        is_onnx = model.main.suffix == ONNX_SUFFIX
        found = {_encoder(model, is_onnx): model.main}
    roles = ONNX_ROLES if is_onnx else ORT_ROLES
    if strangers := sorted(set(model.companions) - set(roles)):
        kind = "ONNX" if is_onnx else ".ort"
        raise ProviderError(
            f"companions.{strangers[0]} is no part of a Moonshine model in {kind} files; allowed: {', '.join(roles)}"
        )
    return found | {roles[role]: path for role, path in model.companions.items()}


def _encoder(model: ModelFiles, is_onnx: bool) -> str:
    if is_onnx:
        return f"{ONNX_FOLDER}/{ONNX_ENCODER}"
    return STREAMING_ENCODER if "adapter" in model.companions else ENCODER
