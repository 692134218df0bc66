"""Edges and shapes."""

import cv2

from .case import Case, on_gray

CASES = [
    Case("canny", on_gray(lambda frame: cv2.Canny(frame, 50, 150))),
    Case("canny=20,90,5", on_gray(lambda frame: cv2.Canny(frame, 20, 90, apertureSize=5))),
]
