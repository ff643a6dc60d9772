"""GGUF files that appear under their name only when they are whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gguf import GGUFWriter

from providers.tiny.publish import publish


@contextmanager
def gguf_file(path: Path, architecture: str) -> Iterator[GGUFWriter]:
    """Yield a writer for metadata and tensors; when the block ends well, the file is at `path`.

    A file there with the same bytes is left as it is. Raises `OSError` if the folder cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        writer = GGUFWriter(part, architecture)
        try:
            yield writer
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)
