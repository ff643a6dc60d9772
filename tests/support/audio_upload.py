"""Forms with a file, as the bytes of a request."""

from collections.abc import Sequence

BOUNDARY = "----a-boundary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def text_part(name: str, value: str) -> bytes:
    return _part(f'form-data; name="{name}"', value.encode())


def file_part(content: bytes, name: str = "file", filename: str = "speech.wav") -> bytes:
    return _part(f'form-data; name="{name}"; filename="{filename}"', content)


def form(parts: Sequence[bytes]) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(disposition: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
