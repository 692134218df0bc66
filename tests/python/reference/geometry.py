"""Size, shape, orientation."""

import cv2
import numpy as np

from .case import Case, each


def height_width(frame):
    return frame.shape[:2]


def resize(size, interpolation=cv2.INTER_LINEAR):
    return each(lambda frame: cv2.resize(frame, size, interpolation=interpolation))


def fit(width, height, color=(0, 0, 0)):
    def one(frame):
        rows, columns = height_width(frame)
        factor = min(width / columns, height / rows)
        w = min(width, max(1, round_half_up(columns * factor)))
        h = min(height, max(1, round_half_up(rows * factor)))
        part = cv2.resize(frame, (w, h))
        left, top = (width - w) // 2, (height - h) // 2
        right, bottom = width - w - left, height - h - top
        return cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT, value=color)

    return each(one)


def fill(width, height):
    def one(frame):
        rows, columns = height_width(frame)
        factor = max(width / columns, height / rows)
        w = min(columns, max(1, round_half_up(width / factor)))
        h = min(rows, max(1, round_half_up(height / factor)))
        left, top = (columns - w) // 2, (rows - h) // 2
        part = np.ascontiguousarray(frame[top : top + h, left : left + w])
        return cv2.resize(part, (width, height))

    return each(one)


def round_half_up(number):
    return int(np.floor(number + 0.5))


CASES = [
    Case("resize=320x180", resize((320, 180))),
    Case("resize=99x301,interpolation=area", resize((99, 301), cv2.INTER_AREA)),
    Case("resize=99x301,interpolation=nearest", resize((99, 301), cv2.INTER_NEAREST)),
    Case("resize=99x301,interpolation=cubic", resize((99, 301), cv2.INTER_CUBIC)),
    Case("resize=99x301,interpolation=lanczos", resize((99, 301), cv2.INTER_LANCZOS4)),
    Case("resize=200x200,fit", fit(200, 200)),
    Case("resize=31x100,fit,color=white", fit(31, 100, (255, 255, 255))),
    Case("resize=200x200,fill", fill(200, 200)),
    Case("resize=31x100,fill", fill(31, 100)),
]
