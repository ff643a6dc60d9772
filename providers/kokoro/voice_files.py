"""Which voices an archive or a folder holds. Every process imports this; what is in them is read in `styles`."""

import zipfile
from pathlib import Path

from providers.errors import ProviderError
from providers.kokoro.files import ADVICE, AGAIN

SUFFIX = ".bin"
"""Of a voice in a folder."""
MEMBER = ".npy"
"""Of one in an archive."""


def names_in(path: Path) -> tuple[str, ...]:
    """Of the voices of an archive or a folder, sorted; loads none. Raises `ProviderError`."""
    if path.is_dir():
        names = [file.stem for file in path.glob(f"*{SUFFIX}")]
    else:
        with archive_at(path) as archive:
            names = [name.removesuffix(MEMBER) for name in archive.namelist() if name.endswith(MEMBER)]
    if not names:
        raise ProviderError(f"{path} holds no voices; {ADVICE}")
    return tuple(sorted(names))


def archive_at(path: Path) -> zipfile.ZipFile:
    """Raises `ProviderError`."""
    if not path.is_file():
        raise ProviderError(f"{path} is missing; {ADVICE}")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        whole = "is no archive of voices" if path.stat().st_size and not _is_zip(path) else "is cut off"
        raise ProviderError(f"{path} {whole}; {AGAIN}: {ADVICE}") from error


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
