"""Messages: their texts, and what is kept of the last conversation."""

from dataclasses import dataclass, field

from tests.emulators.flm.catalogue import Record

TOKENS_A_MESSAGE = 4
"""Of the template around it. A word is a token here."""
MERGED = ("user", "system")


def merged(messages: list[Record]) -> list[Record]:
    """Neighbours of one role become one message, of text alone."""
    joined: list[Record] = []
    for message in messages:
        role, text = message.get("role"), _text(message)
        if joined and role in MERGED and joined[-1].get("role") == role:
            joined[-1] = {"role": role, "content": f"{joined[-1]['content']}{text}"}
        else:
            joined.append({"role": role, "content": text})
    return joined


def texts(messages: list[Record]) -> list[str]:
    return [str(message["content"]) for message in messages]


def last_text(messages: list[Record]) -> str:
    """What the user said last."""
    return next((str(message["content"]) for message in reversed(messages) if message.get("role") == "user"), "")


def _text(message: Record) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(
            str(part.get("text", "")) for part in content if isinstance(part, dict) and part.get("type") == "text"
        )
    return content if isinstance(content, str) else ""


@dataclass(slots=True)
class PromptCache:
    """Of one model, the texts of the last conversation, the answer with them."""

    model: str = ""
    kept: list[str] = field(default_factory=list)

    def count(self, model: str, said: list[str]) -> tuple[int, int]:
        """Tokens of the prompt, and how many of them are still there."""
        if model != self.model:
            self.model, self.kept = model, []
        known = self.kept if self.kept and said[: len(self.kept)] == self.kept else []
        return _tokens(said), _tokens(known)

    def keep(self, said: list[str]) -> None:
        self.kept = said

    def forget(self) -> None:
        self.kept = []


def _tokens(said: list[str]) -> int:
    return sum(len(text.split()) + TOKENS_A_MESSAGE for text in said)
