"""A case: a pipeline's text, and a function that says what it should give."""

from dataclasses import dataclass, field
from typing import Callable, Optional, Sequence

import cv2
import numpy as np

# Inputs that a case can be tried on; `inputs.py` makes them.
COLOR = ("bunny", "carphone", "odd", "column", "dot")
GRAY = ("gray", "gray-odd", "gray-dot")
ALL = COLOR + GRAY


@dataclass
class Expected:
    """A picture, with what should be found in it; None where that is not compared."""

    image: np.ndarray
    # Dictionaries with the fields of a detection that are to be compared, in the order of the findings.
    detections: Optional[list] = None
    # Dictionaries {"name": ..., "value": ...}, in the order of the findings.
    measures: Optional[list] = None


@dataclass
class Case:
    """`function` maps the list of a stream's frames to the list of what should become of them (arrays, or
    Expected where something is found in them)."""

    text: str
    function: Callable[[list], list]
    # Greatest difference of a sample that is allowed. Other than 0 it needs a reason.
    bound: int = 0
    why: str = ""
    # Greatest share of the samples that may differ at all.
    share: float = 1.0
    # Greatest difference of a number that was found.
    slack: float = 0.0
    inputs: Sequence[str] = field(default=ALL)


def each(function):
    """For a stage without memory: the function of one frame, applied to each."""
    return lambda frames: [function(frame) for frame in frames]


def on_gray(function):
    """The same for a stage that makes its picture gray first."""
    return each(lambda frame: function(gray(frame)))


def on_bgr(function):
    """The same for a stage that makes its picture BGR first."""
    return each(lambda frame: function(bgr(frame)))


def gray(frame):
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


def bgr(frame):
    return frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
