"""Size, shape, orientation."""

import cv2
import numpy as np

from . import found
from .case import COLOR, GRAY, Case, Expected, bgr, each, gray


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


def crop(x, y, width, height):
    return each(lambda frame: np.ascontiguousarray(frame[y : y + height, x : x + width]))


def crop_middle(width, height):
    def one(frame):
        rows, columns = height_width(frame)
        x, y = (columns - width) // 2, (rows - height) // 2
        return np.ascontiguousarray(frame[y : y + height, x : x + width])

    return each(one)


def pad(left, top, right, bottom, border, color=(0, 0, 0)):
    return each(lambda frame: cv2.copyMakeBorder(frame, top, bottom, left, right, border, value=color))


def flip(code):
    return each(lambda frame: cv2.flip(frame, code))


def rotate(angle, keep=False, color=(0, 0, 0)):
    """Clockwise, where OpenCV's matrix turns the other way."""

    def one(frame):
        rows, columns = height_width(frame)
        turn = np.deg2rad(angle)
        width, height = columns, rows
        if not keep:
            width = round_half_up(columns * abs(np.cos(turn)) + rows * abs(np.sin(turn)))
            height = round_half_up(columns * abs(np.sin(turn)) + rows * abs(np.cos(turn)))
        matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), -angle, 1)
        matrix[0, 2] += (width - columns) / 2
        matrix[1, 2] += (height - rows) / 2
        return cv2.warpAffine(frame, matrix, (width, height), borderValue=color)

    return each(one)


LARGE = ("bunny", "carphone", "gray")

def crop_boxes(margin=0.1, size=None, keep=True):
    """The face, or all of the picture."""

    def one(frame):
        areas = found.faces(frame)
        left, top, right, bottom = found.grown(areas[0], margin, frame) if areas else (0, 0, *frame.shape[1::-1])
        part = np.ascontiguousarray(frame[top:bottom, left:right])
        moved = [(x - left, y - top, w, h) for x, y, w, h in areas]
        if size:
            (wide, high), (rows, columns) = size, part.shape[:2]
            factor = min(wide / columns, high / rows)
            w = min(wide, max(1, round_half_up(columns * factor))) if keep else wide
            h = min(high, max(1, round_half_up(rows * factor))) if keep else high
            at, scale = ((wide - w) // 2, (high - h) // 2), (w / columns, h / rows)
            moved = [
                (x * scale[0] + at[0], y * scale[1] + at[1], a * scale[0], b * scale[1]) for x, y, a, b in moved
            ]
            part = (fit(*size) if keep else resize(size))([part])[0]
        return Expected(part, found.detections(moved), [])

    return each(one)


def split(stage, below=False, line=2, color=(255, 255, 255)):
    """`stage` makes the result of a frame."""

    def one(frame):
        before, after = frame.copy(), stage(frame)
        if (height_width(before)) != height_width(after):
            before = fit(*after.shape[1::-1])([before])[0]
        if before.ndim != after.ndim:
            before, after = bgr(before), bgr(after)
        picture = cv2.vconcat([before, after]) if below else cv2.hconcat([before, after])
        height, width = height_width(picture)
        area = (0, (height - line) // 2, width, line) if below else ((width - line) // 2, 0, line, height)
        value = color if picture.ndim == 3 else color[0]
        return cv2.rectangle(picture, area, value, cv2.FILLED) if line else picture

    return each(one)


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
    Case("crop=100x80", crop_middle(100, 80), inputs=LARGE),
    Case("crop=101x81", crop_middle(101, 81), inputs=LARGE),
    Case("crop=17x13,0,0", crop(0, 0, 17, 13), inputs=LARGE + ("odd", "gray-odd")),
    Case("crop=size=50x50,x=126,y=94", crop(126, 94, 50, 50), inputs=LARGE),
    Case("crop=1x1", crop_middle(1, 1)),
    Case("pad=16", pad(16, 16, 16, 16, cv2.BORDER_CONSTANT)),
    Case("pad=left=1,top=2,right=3,bottom=4,color=white", pad(1, 2, 3, 4, cv2.BORDER_CONSTANT, (255,) * 3)),
    Case("pad=5,color=#102030,top=0", pad(5, 0, 5, 5, cv2.BORDER_CONSTANT, (0x30, 0x20, 0x10)), inputs=COLOR),
    # The luma of #102030 is 29.
    Case("pad=5,color=#102030,top=0", pad(5, 0, 5, 5, cv2.BORDER_CONSTANT, (29, 29, 29)), inputs=GRAY),
    Case("pad=9,replicate", pad(9, 9, 9, 9, cv2.BORDER_REPLICATE)),
    Case("pad=9,reflect", pad(9, 9, 9, 9, cv2.BORDER_REFLECT)),
    Case("pad=9,reflect101", pad(9, 9, 9, 9, cv2.BORDER_REFLECT_101)),
    Case("pad=9,wrap", pad(9, 9, 9, 9, cv2.BORDER_WRAP)),
    Case("flip", flip(1)),
    Case("flip=vertical", flip(0)),
    Case("flip=both", flip(-1)),
    Case("rotate=0", each(lambda frame: frame)),
    Case("rotate=90", each(lambda frame: cv2.rotate(frame, cv2.ROTATE_90_CLOCKWISE))),
    Case("rotate=180", each(lambda frame: cv2.rotate(frame, cv2.ROTATE_180))),
    Case("rotate=-180,keep", each(lambda frame: cv2.rotate(frame, cv2.ROTATE_180))),
    Case("rotate=270", each(lambda frame: cv2.rotate(frame, cv2.ROTATE_90_COUNTERCLOCKWISE))),
    Case("rotate=-90", each(lambda frame: cv2.rotate(frame, cv2.ROTATE_90_COUNTERCLOCKWISE))),
    Case("rotate=30", rotate(30)),
    Case("rotate=-12.5,keep,white", rotate(-12.5, True, (255, 255, 255))),
    Case("rotate=90,keep", rotate(90, True)),
    Case(f"{found.FACES} | crop-boxes", crop_boxes()),
    Case(f"{found.FACES} | crop-boxes=margin=0.6,size=120x50", crop_boxes(0.6, (120, 50)), slack=1e-4),
    Case(f"{found.FACES} | crop-boxes=largest,0,50x120,stretch", crop_boxes(0, (50, 120), False), slack=1e-4),
    Case("split", split(lambda frame: frame), inputs=COLOR + GRAY),
    Case("gray | split=line=0", split(gray, line=0)),
    Case("resize=90x90 | split=top-bottom,4,black", split(lambda frame: cv2.resize(frame, (90, 90)), True, 4, (0, 0, 0))),
]
