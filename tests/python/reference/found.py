"""Boxes to work on: the faces that a cascade finds, as the pipeline `FACES` does."""

import cv2

from .case import gray

FACES = "faces=frontalface_alt2,1.05,2,20,draw=false"
CASCADE = "/usr/share/opencv4/haarcascades/haarcascade_frontalface_alt2.xml"


def faces(frame):
    """x, y, width and height of each, from top to bottom."""
    found = cv2.CascadeClassifier(CASCADE).detectMultiScale(gray(frame), 1.05, 2, minSize=(20, 20))
    return sorted(([int(n) for n in area] for area in found), key=lambda a: (a[1], a[0], a[2], a[3]))


def detections(areas):
    return [
        {"x": x, "y": y, "width": w, "height": h, "label": "face", "score": 1, "source": "faces"}
        for x, y, w, h in areas
    ]


def grown(area, margin, frame):
    """Edges of the pixels of a box that grew: left, top, right, bottom."""
    x, y, w, h = area
    height, width = frame.shape[:2]
    edges = (x - w * margin, y - h * margin, x + w + w * margin, y + h + h * margin)
    left, top = (max(0, int(edge // 1)) for edge in edges[:2])
    right, bottom = (min(side, -int(-edge // 1)) for edge, side in zip(edges[2:], (width, height)))
    return left, top, right, bottom
