"""Colors and tones, pixel by pixel."""

import cv2
import numpy as np

from .case import Case, each, on_bgr, on_gray


def converted(code):
    return on_bgr(lambda frame: cv2.cvtColor(frame, code))


def color_map(code):
    return on_gray(lambda frame: cv2.applyColorMap(frame, code))


def brighter(add):
    return each(lambda frame: np.clip(frame.astype(np.int32) + add, 0, 255).astype(np.uint8))


def scaled(factor, offset):
    return each(lambda frame: cv2.addWeighted(frame, factor, frame, 0, offset))


def gamma(value):
    table = np.rint(255 * (np.arange(256) / 255) ** (1 / value)).astype(np.uint8)
    return each(lambda frame: cv2.LUT(frame, table))


def on_luma(function):
    def one(frame):
        if frame.ndim == 2:
            return function(frame)
        y, cr, cb = cv2.split(cv2.cvtColor(frame, cv2.COLOR_BGR2YCrCb))
        return cv2.cvtColor(cv2.merge([function(y), cr, cb]), cv2.COLOR_YCrCb2BGR)

    return each(one)


def clahe(clip, tiles):
    operation = cv2.createCLAHE(clipLimit=clip, tileGridSize=tiles)
    return on_luma(operation.apply)


SEPIA = np.array([[0.131, 0.534, 0.272], [0.168, 0.686, 0.349], [0.189, 0.769, 0.393]])


def sepia(strength):
    matrix = (1 - strength) * np.eye(3) + strength * SEPIA
    return on_bgr(lambda frame: cv2.transform(frame, matrix))


def posterize(levels):
    steps = np.linspace(0, 255, levels)
    return each(lambda frame: np.rint(steps[frame.astype(int) * levels // 256]).astype(np.uint8))


SPACES = {
    "hsv": cv2.COLOR_BGR2HSV,
    "hls": cv2.COLOR_BGR2HLS,
    "lab": cv2.COLOR_BGR2Lab,
    "luv": cv2.COLOR_BGR2Luv,
    "yuv": cv2.COLOR_BGR2YUV,
    "ycrcb": cv2.COLOR_BGR2YCrCb,
    "xyz": cv2.COLOR_BGR2XYZ,
    "rgb": cv2.COLOR_BGR2RGB,
}

MAPS = (
    "autumn bone jet winter rainbow ocean summer spring cool hsv pink hot parula magma inferno plasma viridis "
    "cividis twilight twilight_shifted turbo deepgreen"
).split()

CASES = [
    Case("gray", on_gray(lambda frame: frame)),
    *[Case(f"color={name}", converted(code)) for name, code in SPACES.items()],
    Case("colormap", color_map(cv2.COLORMAP_JET)),
    *[
        Case(f"colormap={name}", color_map(getattr(cv2, f"COLORMAP_{name.upper()}")), inputs=("bunny", "gray"))
        for name in MAPS
    ],
    Case("brightness=40", brighter(40)),
    Case("brightness=-255", brighter(-255)),
    Case("contrast=1.5", scaled(1.5, 128 * (1 - 1.5))),
    Case("contrast=0.3", scaled(0.3, 128 * (1 - 0.3))),
    Case("contrast=2.7,middle=0", scaled(2.7, 0)),
    Case("gamma=1.8", gamma(1.8)),
    Case("gamma=0.4", gamma(0.4)),
    Case("equalize", on_luma(cv2.equalizeHist)),
    Case("clahe", clahe(2, (8, 8))),
    Case("clahe=40,3x5", clahe(40, (3, 5))),
    Case("clahe=0,2x2", clahe(0, (2, 2))),
    Case("invert", each(lambda frame: 255 - frame)),
    Case("sepia", sepia(1)),
    Case("sepia=0.4", sepia(0.4)),
    Case("posterize", posterize(4)),
    Case("posterize=2", posterize(2)),
    Case("posterize=7", posterize(7)),
    Case("posterize=256", posterize(256)),
    # Stages after another: what is changed before gray is taken, and after.
    Case("brightness=20 | gray", lambda frames: on_gray(lambda frame: frame)(brighter(20)(frames))),
    Case("gray | gamma=2", lambda frames: gamma(2)(on_gray(lambda frame: frame)(frames))),
]
