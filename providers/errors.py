"""Errors that providers raise. Leaf module: no web framework, no Ray.

    ProviderError
    +-- InvalidRequest        the client can mend it
    +-- UnsupportedRequest    no engine of this kind can do it
    +-- EngineError           the engine answered with an error

Every argument goes to `super().__init__`, so that each survives pickling between Ray processes.
"""


class ProviderError(Exception):
    """Base of all errors that a provider raises."""


class InvalidRequest(ProviderError):
    """The request is wrong; `param` names the field, `code` is the machine-readable reason."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param, code)
        self.message, self.param, self.code = message, param, code

    def __str__(self) -> str:
        return self.message


class UnsupportedRequest(InvalidRequest):
    """The engine has no such feature; the message says what to use instead."""


class EngineError(ProviderError):
    """The engine's own error, in the terms of the client's dialect.

    `status` is the HTTP status for the client, `type` and `code` those of OpenAI's envelope.
    """

    def __init__(self, status: int, message: str, type: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(status, message, type, code, param)
        self.status, self.message, self.type, self.code, self.param = status, message, type, code, param

    def __str__(self) -> str:
        return self.message
