"""Colors and tones, pixel by pixel."""

from .case import Case, on_gray

CASES = [
    Case("gray", on_gray(lambda frame: frame)),
]
