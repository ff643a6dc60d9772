"""Voices that a slot of speech can speak with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Voice:
    """`language` as BCP 47 has it, such as `en-GB`; empty: that of whatever it is given to say."""

    id: str
    name: str
    language: str = ""
    gender: str = ""
    """`female`, `male`, or empty."""
