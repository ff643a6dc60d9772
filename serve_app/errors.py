"""Errors of the serving side and their one translation to HTTP.

    ServingError                 has status, type, code, and perhaps Retry-After
    +-- BadRequest               400, 401, 404, 405, 413, 415: the client can mend it
    +-- LoadFailed               503: the slot's engine did not come up, and why
    +-- SlotUnplaceable          503: no node has what the slot claims
    +-- NoRoom                   503: what the slot claims is taken by slots that never give way
    +-- StillLoading             503: the slot has not loaded within the time that a request waits
    +-- QueueFull                429: too many requests wait for the slot
    +-- RequestTimeout           504: the request took longer than its slot allows
    +-- EngineDied               502: the engine went away under the request

Every argument goes to `super().__init__`, so that each survives pickling between Ray processes.
Envelope: https://platform.openai.com/docs/guides/error-codes; Anthropic's: https://docs.anthropic.com/en/api/errors
"""

from dataclasses import dataclass, field

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
    extra: JsonObject = {}
    """What the answer holds beside the error."""
    allow: tuple[str, ...] = ()
    """The methods that the route takes, if the client's is none of them."""

    @property
    def message(self) -> str:
        return str(self)


class BadRequest(ServingError):
    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(status, message, code, param)
        self.status, self.code, self.param = status, code, param

    def __str__(self) -> str:
        return str(self.args[1])


class MethodNotAllowed(ServingError):
    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__(allow)
        self.allow = allow

    def __str__(self) -> str:
        return f"This route does not take that method; allowed: {', '.join(self.allow)}."


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

    def again(self) -> "LoadFailed":
        """The same, without where it was raised before."""
        return LoadFailed(*self.args)

    def after(self, seconds: float) -> "LoadFailed":
        """The same, to be tried again after so many seconds."""
        return LoadFailed(self.slot, self.cause, self.detail, self.last_lines, max(1.0, seconds))


class SlotUnplaceable(ServingError):
    status = 503
    code = "no_node_for_slot"

    def __init__(self, slot: str, detail: str) -> None:
        super().__init__(slot, detail)
        self.slot, self.detail = slot, detail

    def __str__(self) -> str:
        return f"Slot '{self.slot}' fits on no node: {self.detail}"


class NoRoom(ServingError):
    status = 503
    code = "no_room"
    retry_after_s = 30.0

    def __init__(self, slot: str, reason: str) -> None:
        super().__init__(slot, reason)
        self.slot, self.reason = slot, reason

    def __str__(self) -> str:
        return f"Slot '{self.slot}' cannot be loaded now: {self.reason}. Unpin a slot that is in its way."


class StillLoading(ServingError):
    """`loading` is the object that tells how far it has come."""

    status = 503
    code = "model_loading"

    def __init__(self, slot: str, loading: JsonObject, waited_s: float, retry_after_s: float) -> None:
        super().__init__(slot, loading, waited_s, retry_after_s)
        self.slot, self.waited_s, self.retry_after_s = slot, waited_s, retry_after_s
        self.extra = {"loading": loading}

    def __str__(self) -> str:
        return (
            f"Slot '{self.slot}' has not loaded within load_wait_s ({self.waited_s:g} s). Its load goes on; try again."
        )


class QueueFull(ServingError):
    status = 429
    code = "queue_full"
    retry_after_s = 2.0

    def __init__(self, slot: str, limit: int) -> None:
        super().__init__(slot, limit)
        self.slot, self.limit = slot, limit

    def __str__(self) -> str:
        return f"{self.limit} requests wait for slot '{self.slot}', which is its max_queued; try again later."


class RequestTimeout(ServingError):
    status = 504
    code = "request_timeout"

    def __init__(self, slot: str, limit_s: float) -> None:
        super().__init__(slot, limit_s)
        self.slot, self.limit_s = slot, limit_s

    def __str__(self) -> str:
        return f"The request took longer than slot '{self.slot}' allows (request_timeout_s: {self.limit_s:g} s)."


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
    extra: JsonObject = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    """Methods, of a 405: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6"""

    def openai(self) -> JsonObject:
        error: JsonObject = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error, **self.extra}

    def anthropic(self) -> JsonObject:
        kind = ANTHROPIC_TYPE_OF_STATUS.get(self.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": self.message}, **self.extra}


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
                error.status,
                error.message,
                type_of(error.status),
                error.code,
                error.param,
                error.retry_after_s,
                error.extra,
                error.allow,
            )
        case ProviderError():
            return Answer(503, str(error), type_of(503), "engine_misconfigured")
        case _:
            return Answer(500, "The server failed to answer; its log says why.", type_of(500), "internal_error")
