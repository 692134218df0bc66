"""Drawing."""

import math

import cv2

from . import found
from .case import ALL, Case, Expected, bgr, each

COLORS = {"black": (0, 0, 0), "white": (255, 255, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
FONT = cv2.FONT_HERSHEY_SIMPLEX


def value(name, frame):
    """A color as it is drawn: BGR, or its luma on a gray picture."""
    red, green, blue = COLORS[name]
    return (blue, green, red) if frame.ndim == 3 else luma(name)


def luma(name):
    red, green, blue = COLORS[name]
    return round(0.299 * red + 0.587 * green + 0.114 * blue)


def box(area, color="green", thickness=2):
    def one(frame):
        return cv2.rectangle(frame, area, value(color, frame), thickness)

    return lambda frames: [one(frame) for frame in frames]


def text(template, corner=(False, False), at=(8, 8), size=18, color="white", background="outline"):
    """`corner`: right, bottom."""

    def one(number, frame):
        height, width = frame.shape[:2]
        line = template.format(frame=number, time=time(number * 40), width=width, height=height)
        scale, thickness = size / 21, max(1, (size + 6) // 12)
        (wide, high), below = cv2.getTextSize(line, FONT, scale, thickness)
        x = width - at[0] - wide if corner[0] else at[0]
        y = height - at[1] - below if corner[1] else at[1] + high
        behind = value("white" if luma(color) < 96 else "black", frame)
        if background == "outline":
            cv2.putText(frame, line, (x, y), FONT, scale, behind, 3 * thickness, cv2.LINE_AA)
        if background == "area":
            margin = thickness + 1
            area = (x - margin, y - high - margin, wide + 2 * margin, high + below + 2 * margin)
            cv2.rectangle(frame, area, behind, cv2.FILLED)
        return cv2.putText(frame, line, (x, y), FONT, scale, value(color, frame), thickness, cv2.LINE_AA)

    return lambda frames: [one(number, frame) for number, frame in enumerate(frames)]


def time(ms):
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def draw(color=(0, 255, 0), tags=True, thickness=None, size=None):
    """The faces with their names."""

    def one(frame):
        areas = found.faces(frame)
        picture = bgr(frame)
        height, width = picture.shape[:2]
        side = math.sqrt(width * height)
        line = thickness or max(1, math.floor(side / 400 + 1))
        letters = size or max(8, math.floor(side / 54 + 0.5))
        for area in areas:
            cv2.rectangle(picture, area, color, line)
        for x, y, _, _ in areas if tags else []:
            tag(picture, "face", (x - line // 2, y), (letters, line // 2), color)
        return Expected(picture, found.detections(areas), [])

    return each(one)


def tag(picture, words, at, sizes, color):
    letters, half = sizes
    scale, thick, margin = letters / 21, max(1, (letters + 5) // 11), max(2, letters // 4)
    (wide, _), _ = cv2.getTextSize(words, FONT, scale, thick)
    wide, high = wide + 2 * margin, letters + 2 * margin + letters // 4
    x = max(0, min(at[0], picture.shape[1] - wide))
    y = at[1] - half - high if at[1] - half >= high else max(0, at[1])
    cv2.rectangle(picture, (x, y, wide, high), color, cv2.FILLED)
    dark = round(0.299 * color[2] + 0.587 * color[1] + 0.114 * color[0]) < 128
    letter = (255, 255, 255) if dark else (0, 0, 0)
    cv2.putText(picture, words, (x + margin, y + margin + letters), FONT, scale, letter, thick, cv2.LINE_AA)


CASES = [
    Case("text='frame {frame}, {time}'", text("frame {frame}, {time}")),
    Case(
        "text='{width}x{height} {{braces}}',bottom-right,3,5,9,red,area",
        text("{width}x{height} {{braces}}", (True, True), (3, 5), 9, "red", "area"),
    ),
    Case("text=big,top-right,-20,-10,200,black", text("big", (True, False), (-20, -10), 200, "black")),
    Case("text='no background',bottom-left,background=none", text("no background", (False, True), background="none")),
    Case("text=''", text("")),
    Case("text=äöü", text("äöü"), inputs=ALL),
    Case("box=20,20,100,60", box((20, 20, 100, 60))),
    Case("box=-5,-7,60,50,red,9", box((-5, -7, 60, 50), "red", 9)),
    Case("box=3,4,50,20,white,filled=true", box((3, 4, 50, 20), "white", cv2.FILLED)),
    Case("box=16384,-16384,16384,16384,red,255", box((16384, -16384, 16384, 16384), "red", 255)),
    Case("box=0,0,1,1", box((0, 0, 1, 1))),
    Case(f"{found.FACES} | draw", draw()),
    Case(f"{found.FACES} | draw=blue,one,thickness=5,size=17", draw((255, 0, 0), thickness=5, size=17)),
    Case(f"{found.FACES} | draw=tags=false", draw(tags=False)),
    Case("draw=size=9", each(bgr)),
]
