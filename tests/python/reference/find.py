"""Finding things."""

import cv2

from . import codes, found
from .case import COLOR, Case, Expected, bgr, each, gray

CASCADES = "/usr/share/opencv4/haarcascades/haarcascade_{}.xml"


def faces(cascade, label, scale=1.1, neighbors=4, smallest=30, draw=True):
    detector = cv2.CascadeClassifier(CASCADES.format(cascade))

    def one(frame):
        found = detector.detectMultiScale(
            gray(frame), scale, neighbors, minSize=(smallest, smallest)
        )
        areas = sorted(([int(n) for n in area] for area in found), key=lambda a: (a[1], a[0], a[2], a[3]))
        picture = bgr(frame) if draw else frame
        if draw:
            for area in areas:
                cv2.rectangle(picture, area, (0, 255, 0), 2)
        detections = [
            {"x": x, "y": y, "width": w, "height": h, "label": label, "score": 1, "source": "faces"}
            for x, y, w, h in areas
        ]
        return Expected(picture, detections=detections, measures=[])

    return each(one)


def qr(frame):
    detections = [
        {"text": text, "label": "qr", "source": "qr", "points": codes.corners(text, x, y)}
        for text, x, y in codes.TEXTS
    ]
    return Expected(frame, detections=detections, measures=[])


def count(names=None):
    def one(frame):
        areas = found.faces(frame)
        many = {"count.things": len(areas), **{f"count.things.{name}": 0 for name in names or []}}
        if names:
            many["count.things.face"] = len(areas)
        measures = [{"name": name, "value": value} for name, value in many.items()]
        return Expected(frame, found.detections(areas), measures)

    return each(one)


SMALL = ("carphone", "odd", "column", "dot", "gray")
PICTURES = COLOR + ("gray", "gray-odd", "gray-dot", "gray-bunny")

CASES = [
    Case("faces", faces("frontalface_default", "face"), inputs=PICTURES),
    Case(
        "faces=frontalface_alt2,1.05,2,20,draw=false",
        faces("frontalface_alt2", "face", 1.05, 2, 20, draw=False),
        inputs=PICTURES,
    ),
    Case("faces=profileface", faces("profileface", "face")),
    Case("faces=eye,neighbors=1,min=1", faces("eye", "eye", neighbors=1, smallest=1), inputs=SMALL),
    Case("faces=upperbody,2,1", faces("upperbody", "upper body", 2, 1)),
    Case("qr=draw=false", each(qr), slack=1, inputs=("qr",)),
    Case("qr", each(lambda frame: Expected(bgr(frame), detections=[], measures=[]))),
    Case(f"{found.FACES} | count", count()),
    Case(f"{found.FACES} | count='cat, face'", count(names=["cat", "face"])),
]
