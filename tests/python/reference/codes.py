"""Pictures of QR codes, made with OpenCV's own encoder."""

import cv2
import numpy as np

# Text and where its code's upper left corner is, in the picture of `picture()`.
TEXTS = (("frameserve", 40, 60), ("https://example.org/ä?q=漢字", 330, 150))
# Pixels of a module.
MODULE = 6
# Modules of white that the encoder puts around a code.
BORDER = 2


def picture():
    """Two codes on a ground that is not evenly lit."""
    ground = np.linspace(120, 250, 640).astype(np.uint8)
    frame = np.repeat(ground[np.newaxis, :], 400, axis=0)
    for text, x, y in TEXTS:
        code = code_of(text)
        area = frame[y : y + code.shape[0], x : x + code.shape[1]]
        area[code == 0] = area[code == 0] // 4
    return cv2.merge([frame, frame, frame])


def code_of(text):
    modules = cv2.QRCodeEncoder_create().encode(text)
    modules = modules[BORDER:-BORDER, BORDER:-BORDER]
    return cv2.resize(modules, None, fx=MODULE, fy=MODULE, interpolation=cv2.INTER_NEAREST)


def corners(text, x, y):
    """Clockwise from the upper left one."""
    side = code_of(text).shape[0]
    return [x, y, x + side, y, x + side, y + side, x, y + side]
