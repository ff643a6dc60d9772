"""A form with one file, read piece by piece. https://www.rfc-editor.org/rfc/rfc7578"""

from collections.abc import Sequence

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serve_app.errors import BadRequest

FILE_FIELDS = ("file",)
MOST_FIELDS = 256
LARGEST_FIELD = 2**16
"""Bytes; both bound the memory that a form takes beside its file."""


class FormReader:
    """Parts in any order. Raises `BadRequest` for what is no such form as soon as that shows.

    `file_fields`: what the file's field may be called; `file_field` is what it was, once it has come.
    """

    def __init__(self, boundary: bytes, file_fields: Sequence[str] = FILE_FIELDS) -> None:
        self._file_fields = file_fields
        self.fields: list[tuple[str, str]] = []
        self.file_field: str | None = None
        self._file_data: list[bytes] = []
        self._disposition: bytes = b""
        self._header: bytes = b""
        self._value: bytes = b""
        self._name = ""
        self._text = bytearray()
        self._in_file = False
        self._ended = False
        self._parser = _parser(boundary, self)

    def feed(self, chunk: bytes) -> bytes:
        """What the chunk holds of the file."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise broken(f"{error}") from error
        data = b"".join(self._file_data)
        self._file_data.clear()
        return data

    def finish(self) -> None:
        """Raises 400 if the form is not complete."""
        if not self._ended:
            raise broken("it ends before its last boundary")
        if self.file_field is None:
            name = self._file_fields[0]
            raise BadRequest(400, f"The field '{name}' is required: a file.", "missing_file", name)

    def on_part_begin(self) -> None:
        self._disposition = self._header = self._value = b""
        self._text.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise broken("a part has no name")
        self._name = _text(options[b"name"], "name of a field")
        self._in_file = self._name in self._file_fields
        if self._in_file:
            self._begin_file(b"filename" in options or b"filename*" in options)
        elif len(self.fields) == MOST_FIELDS:
            raise broken(f"it has more than {MOST_FIELDS} fields")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._file_data.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > LARGEST_FIELD:
            message = f"The field '{self._name[:80]}' is larger than {LARGEST_FIELD // 1024} KiB."
            raise BadRequest(400, message, "field_too_large", self._name[:80])

    def on_part_end(self) -> None:
        if not self._in_file:
            self.fields.append((self._name, _text(bytes(self._text), f"field '{self._name[:80]}'")))

    def on_end(self) -> None:
        self._ended = True

    def _begin_file(self, is_file: bool) -> None:
        if not is_file:
            message = f"The field '{self._name}' must be a file: a part with a filename."
            raise BadRequest(400, message, "missing_file", self._name)
        if self.file_field is not None:
            again = "is given twice" if self._name == self.file_field else f"comes beside '{self.file_field}'"
            raise BadRequest(400, f"The field '{self._name}' {again}.", "duplicate_field", self._name)
        self.file_field = self._name


def boundary_of(content_type: str, file_field: str = FILE_FIELDS[0]) -> bytes:
    """Raises 415 for what is no form with files, 400 for one whose parts cannot be told apart."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        shown = content_type[:80] or "none"
        message = (
            f"The content type must be multipart/form-data, with the audio in the field '{file_field}'; it is {shown}."
        )
        raise BadRequest(415, message, "unsupported_media_type")
    if not (boundary := options.get(b"boundary")):
        raise broken("the header Content-Type names no boundary")
    return boundary


def broken(why: str) -> BadRequest:
    return BadRequest(400, f"The form cannot be read: {why}.", "invalid_form")


def _parser(boundary: bytes, reader: FormReader) -> MultipartParser:
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": reader.on_part_begin,
                "on_part_data": reader.on_part_data,
                "on_part_end": reader.on_part_end,
                "on_header_field": reader.on_header_field,
                "on_header_value": reader.on_header_value,
                "on_header_end": reader.on_header_end,
                "on_headers_finished": reader.on_headers_finished,
                "on_end": reader.on_end,
            },
        )
    except FormParserError as error:
        raise broken(f"{error}") from error


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise broken(f"the {what} is not UTF-8") from error
