"""Errors of the serving side and their one translation to HTTP.

    ServingError                 has status, type, code, and perhaps Retry-After
    +-- BadRequest               400, 401, 404, 405, 413, 415: the client can mend it
    +-- LoadFailed               503: the slot's engine did not come up, and why
    +-- SlotUnplaceable          503: no node has what the slot claims
    +-- EngineDied               502: the engine went away under the request

Every argument goes to `super().__init__`, so that each survives pickling between Ray processes.
Envelope: https://platform.openai.com/docs/guides/error-codes; Anthropic's: https://docs.anthropic.com/en/api/errors
"""

from dataclasses import dataclass

from pydantic import JsonValue

from providers.errors import EngineError, InvalidRequest, ProviderError

JsonObject = dict[str, JsonValue]

TYPE_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_supported_error",
}

ANTHROPIC_TYPE_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class ServingError(Exception):
    """Base: an error with an answer for the client."""

    status = 500
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None

    @property
    def message(self) -> str:
        return str(self)


class BadRequest(ServingError):
    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(status, message, code, param)
        self.status, self.code, self.param = status, code, param

    def __str__(self) -> str:
        return str(self.args[1])


class LoadFailed(ServingError):
    """`cause` is a short code (engine_exited, load_timeout, model_missing, ...), `detail` the engine's own reason."""

    status = 503

    def __init__(
        self, slot: str, cause: str, detail: str, last_lines: tuple[str, ...] = (), retry_after_s: float = 10.0
    ) -> None:
        super().__init__(slot, cause, detail, last_lines, retry_after_s)
        self.slot, self.cause, self.detail = slot, cause, detail
        self.last_lines, self.retry_after_s = last_lines, retry_after_s
        self.code = cause

    def __str__(self) -> str:
        return f"Slot '{self.slot}' could not be loaded: {self.detail}"


class SlotUnplaceable(ServingError):
    status = 503
    code = "no_node_for_slot"

    def __init__(self, slot: str, advice: str) -> None:
        super().__init__(slot, advice)
        self.slot, self.advice = slot, advice

    def __str__(self) -> str:
        return f"Slot '{self.slot}' fits on no node: {self.advice}"


class EngineDied(ServingError):
    status = 502
    code = "engine_died"

    def __init__(self, slot: str, detail: str, last_lines: tuple[str, ...] = ()) -> None:
        super().__init__(slot, detail, last_lines)
        self.slot, self.detail, self.last_lines = slot, detail, last_lines

    def __str__(self) -> str:
        return f"The engine of slot '{self.slot}' went away: {self.detail}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An error as the client gets it."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None

    def openai(self) -> JsonObject:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def anthropic(self) -> JsonObject:
        kind = ANTHROPIC_TYPE_OF_STATUS.get(self.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": self.message}}


def type_of(status: int) -> str:
    return TYPE_OF_STATUS.get(status, "server_error" if status >= 500 else "invalid_request_error")


def answer_for(error: BaseException) -> Answer:
    """The answer for any exception; one we did not foresee says nothing of its insides."""
    match error:
        case EngineError():
            return Answer(error.status, error.message, error.type, error.code, error.param)
        case InvalidRequest():
            return Answer(400, error.message, type_of(400), error.code, error.param)
        case ServingError():
            return Answer(
                error.status, error.message, type_of(error.status), error.code, error.param, error.retry_after_s
            )
        case ProviderError():
            return Answer(503, str(error), type_of(503), "engine_misconfigured")
        case _:
            return Answer(500, "The server failed to answer; its log says why.", type_of(500), "internal_error")
