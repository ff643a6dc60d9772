"""Why a model cannot be had."""


class ModelUnavailable(Exception):
    """A model cannot be had; `code` tells why in a word, the message what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message


class PullCancelled(Exception):
    """A pull was given up because its owner asked. What has come stays, and the next pull goes on from there."""
