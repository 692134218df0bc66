"""Edges and shapes."""

import cv2
import numpy as np

from .case import ALL, COLOR, GRAY, Case, Expected, bgr, each, gray, on_gray

CV_16S, CV_32F = cv2.CV_16S, cv2.CV_32F


def sobel(part, size, scale):
    depth = CV_32F if part == "magnitude" or size == 7 else CV_16S

    def one(frame):
        if part == "magnitude":
            x = cv2.Sobel(frame, depth, 1, 0, ksize=size)
            y = cv2.Sobel(frame, depth, 0, 1, ksize=size)
            return saturate(cv2.magnitude(x, y) * np.float32(scale))
        dx = 1 if part == "x" else 0
        return cv2.convertScaleAbs(cv2.Sobel(frame, depth, dx, 1 - dx, ksize=size), alpha=scale)

    return on_gray(one)


def saturate(samples):
    """As OpenCV's conversion to 8 bits does it: rounded to the nearest, halves to even, then cut."""
    return np.clip(np.rint(samples), 0, 255).astype(np.uint8)


def laplacian(size, scale):
    depth = CV_16S if size <= 3 else CV_32F
    return on_gray(lambda f: cv2.convertScaleAbs(cv2.Laplacian(f, depth, ksize=size), alpha=scale))


def fixed(value, kind):
    return on_gray(lambda frame: cv2.threshold(frame, value, 255, kind)[1])


def otsu(kind):
    def one(frame):
        value, picture = cv2.threshold(gray(frame), 0, 255, kind | cv2.THRESH_OTSU)
        return Expected(picture, detections=[], measures=[{"name": "threshold.value", "value": value}])

    return each(one)


def adaptive(mean, kind, block, c):
    return on_gray(lambda frame: cv2.adaptiveThreshold(frame, 255, mean, kind, block, c))


def morphology(op, size, shape, iterations=1):
    element = cv2.getStructuringElement(shape, (size, size))
    return each(lambda frame: cv2.morphologyEx(frame, op, element, iterations=iterations))


def overlay(low, high, color, thickness):
    def one(frame):
        edges = cv2.Canny(gray(frame), low, high)
        if thickness > 1:
            edges = cv2.dilate(edges, np.ones((thickness, thickness), np.uint8))
        result = bgr(frame).copy()
        result[edges > 0] = color
        return result

    return each(one)


def morphologies():
    ops = {
        "erode": cv2.MORPH_ERODE,
        "dilate": cv2.MORPH_DILATE,
        "open": cv2.MORPH_OPEN,
        "close": cv2.MORPH_CLOSE,
        "gradient": cv2.MORPH_GRADIENT,
        "tophat": cv2.MORPH_TOPHAT,
        "blackhat": cv2.MORPH_BLACKHAT,
    }
    rect, ellipse, cross = cv2.MORPH_RECT, cv2.MORPH_ELLIPSE, cv2.MORPH_CROSS
    for name, op in ops.items():
        yield Case(f"morphology={name}", morphology(op, 3, rect))
        yield Case(f"morphology={name},7,ellipse", morphology(op, 7, ellipse))
        yield Case(f"morphology={name},5,cross,iterations=3", morphology(op, 5, cross, 3))
    yield Case("morphology=open,99", morphology(cv2.MORPH_OPEN, 99, rect))
    yield Case("morphology=dilate,99,ellipse", morphology(cv2.MORPH_DILATE, 99, ellipse))
    yield Case("morphology=erode,iterations=20", morphology(cv2.MORPH_ERODE, 3, rect, 20))


def sobels():
    for part in ("magnitude", "x", "y"):
        for size in (1, 3, 5, 7):
            scale = 0.25 if size > 3 else 1
            yield Case(f"sobel={part},{size},{scale}", sobel(part, size, scale))
    yield Case("sobel", sobel("magnitude", 3, 1))
    yield Case("sobel=x,scale=2.5", sobel("x", 3, 2.5))


BINARY, INVERTED = cv2.THRESH_BINARY, cv2.THRESH_BINARY_INV
MEAN, GAUSSIAN = cv2.ADAPTIVE_THRESH_MEAN_C, cv2.ADAPTIVE_THRESH_GAUSSIAN_C

CASES = [
    Case("canny", on_gray(lambda frame: cv2.Canny(frame, 50, 150))),
    Case("canny=20,90,5", on_gray(lambda frame: cv2.Canny(frame, 20, 90, apertureSize=5))),
    *sobels(),
    Case("laplacian", laplacian(3, 1)),
    *(Case(f"laplacian={size},0.5", laplacian(size, 0.5)) for size in (1, 3, 5, 7)),
    Case("threshold", fixed(127, BINARY)),
    Case("threshold=fixed,90.5,invert=true", fixed(90.5, INVERTED)),
    Case("threshold=otsu", otsu(BINARY)),
    Case("threshold=otsu,invert=true", otsu(INVERTED)),
    Case("threshold=mean", adaptive(MEAN, BINARY, 11, 2)),
    Case("threshold=mean,block=151,c=-3.5,invert=true", adaptive(MEAN, INVERTED, 151, -3.5)),
    Case("threshold=gaussian,block=15,c=4", adaptive(GAUSSIAN, BINARY, 15, 4)),
    *morphologies(),
    Case("edges-overlay", overlay(50, 150, (0, 255, 0), 1), inputs=ALL),
    Case("edges-overlay=30,90,#102030,5", overlay(30, 90, (0x30, 0x20, 0x10), 5), inputs=COLOR + GRAY),
]
