"""What a piece's recognition knows of the pieces before it."""

from collections.abc import Iterator

import numpy as np
import pytest

from providers.asr.cutting import Piece
from providers.asr.hearing import Hearing
from providers.asr.recognizer import SAMPLE_RATE, Asked, Samples, Segment, Utterance

SECOND = np.zeros(SAMPLE_RATE, np.float32)


class Linguist:
    """Takes each piece for the next of `languages`, unless it is told one, and remembers what it was asked."""

    longest_piece_s = 30.0
    cuts_itself = True

    def __init__(self, *languages: tuple[str, float]) -> None:
        self._languages = list(languages)
        self.asked: list[Asked] = []

    def recognize(self, samples: Samples, asked: Asked) -> Iterator[Segment]:
        self.asked.append(asked)
        language, probability = self._languages.pop(0)
        if asked.language is None:
            yield Segment("words", 0.0, 1.0, language=language, language_probability=probability)
        else:
            yield Segment("words", 0.0, 1.0, language=asked.language)

    def utterance(self, asked: Asked) -> Utterance | None:
        return None

    def close(self) -> None: ...


def heard(linguist: Linguist, one_language: bool, asked: Asked = Asked()) -> list[str | None]:  # noqa: B008
    hearing = Hearing(linguist, lambda: False, one_language)
    pieces = [Piece(SECOND, at * SAMPLE_RATE) for at in range(3)]
    return [segment.language for piece in pieces for segment in hearing.segments(piece, asked)]


def test_a_file_is_of_the_language_that_was_detected_first() -> None:
    linguist = Linguist(("de", 0.9), ("en", 0.9), ("fr", 0.9))
    assert heard(linguist, one_language=True) == ["de", "de", "de"]


def test_a_guess_settles_nothing() -> None:
    assert heard(Linguist(("cy", 0.2), ("en", 0.9), ("fr", 0.9)), one_language=True) == ["cy", "en", "en"]


def test_who_talks_may_change_the_language() -> None:
    assert heard(Linguist(("de", 0.9), ("en", 0.9), ("fr", 0.9)), one_language=False) == ["de", "en", "fr"]


@pytest.mark.parametrize("one_language", [True, False])
def test_a_language_that_was_asked_for_is_heard(one_language: bool) -> None:
    linguist = Linguist(("de", 0.9), ("en", 0.9), ("fr", 0.9))
    assert heard(linguist, one_language, Asked(language="es")) == ["es", "es", "es"]


def test_each_piece_knows_the_text_before() -> None:
    linguist = Linguist(("de", 0.9), ("de", 0.9), ("de", 0.9))
    heard(linguist, one_language=True)
    assert [asked.previous for asked in linguist.asked] == ["", "words", "words"]
