"""Smoothing, sharpening, style."""

import cv2
import numpy as np

from . import found
from .case import Case, each, gray, on_gray


def gaussian(size, sigma=0):
    return each(lambda frame: cv2.GaussianBlur(frame, (size, size), sigma))


def box(size):
    return each(lambda frame: cv2.blur(frame, (size, size)))


def median(size):
    return each(lambda frame: cv2.medianBlur(frame, size))


def bilateral(size, color, space):
    return each(lambda frame: cv2.bilateralFilter(frame, size, color, space))


def sharpen(amount, sigma):
    def one(frame):
        blurred = cv2.GaussianBlur(frame, (0, 0), sigma)
        return cv2.addWeighted(frame, 1 + amount, blurred, -amount, 0)

    return each(one)


def denoise(strength, color, patch, search):
    def one(frame):
        if frame.ndim == 2:
            return cv2.fastNlMeansDenoising(frame, None, strength, patch, search)
        return cv2.fastNlMeansDenoisingColored(frame, None, strength, color, patch, search)

    return each(one)


def pixelate(block):
    def one(frame):
        height, width = frame.shape[:2]
        count = (-(-width // block), -(-height // block))
        blocks = cv2.resize(frame, count, interpolation=cv2.INTER_AREA)
        return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)

    return each(one)


def cartoon(size, flat, around, below):
    def one(frame):
        calm = cv2.medianBlur(gray(frame), 5)
        lines = cv2.adaptiveThreshold(
            calm, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, around, below
        )
        return cv2.bitwise_and(*[cv2.bilateralFilter(frame, size, flat, flat)] * 2, mask=lines)

    return each(one)


def sketch(size):
    return on_gray(lambda frame: cv2.divide(frame, cv2.GaussianBlur(frame, (size, size), 0), scale=256))


def block_means(frames):
    """Where a block divides the picture: means without any resampling."""
    means = []
    for frame in frames:
        height, width = frame.shape[:2]
        blocks = frame.reshape(height // 8, 8, width // 8, 8, -1).astype(float).mean(axis=(1, 3))
        means.append(np.rint(blocks).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1).reshape(frame.shape))
    return means


SLOW = ("tall", "odd", "column", "dot", "gray", "gray-odd", "gray-dot")

def blur_boxes(how, strength=0.15, margin=0.1, ellipse=False, color=None):
    def one(frame):
        levels = {}
        for area in found.faces(frame):
            left, top, right, bottom = edges = found.grown(area, margin, frame)
            cell = 4
            while how != "fill" and cell < np.ceil(max(right - left, bottom - top) * strength):
                cell *= 2
            levels.setdefault(cell, []).append((edges, mask(frame, area, margin, ellipse)))
        for cell, places in sorted(levels.items()):
            inside = np.any([mask for _, mask in places], axis=0)
            if how == "fill":
                frame[inside] = color if frame.ndim == 3 else round(0.299 * color[2])
                continue
            left, top, right, bottom = (end(edge for edge in edges) for end, edges in zip(
                (min, min, max, max), zip(*(edges for edges, _ in places))))
            height, width = frame.shape[:2]
            left, top = left // cell * cell, top // cell * cell
            right, bottom = min(-(-right // cell) * cell, width), min(-(-bottom // cell) * cell, height)
            part = frame[top:bottom, left:right]
            frame[inside] = whole(frame, coarse(part, cell, how), left, top)[inside]
        return frame

    return each(one)


def mask(frame, area, margin, ellipse):
    left, top, right, bottom = found.grown(area, margin, frame)
    inside = np.zeros(frame.shape[:2], bool)
    if not ellipse:
        inside[top:bottom, left:right] = True
        return inside
    x, y, w, h = area
    middle, center, wide, high = x + w / 2, y + h / 2, w * (0.5 + margin), h * (0.5 + margin)
    for row in range(top, bottom):
        off = (min(max(center, row), row + 1) - center) / high
        half = wide * np.sqrt(max(0, 1 - off * off))
        inside[row, max(0, int((middle - half) // 1)) : int(np.ceil(middle + half))] = True
    return inside


def coarse(part, cell, how):
    height, width = part.shape[:2]
    small = cv2.resize(part, (-(-width // cell), -(-height // cell)), interpolation=cv2.INTER_AREA)
    if how == "pixelate":
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(cv2.GaussianBlur(small, (5, 5), 1), (width, height))


def whole(frame, part, left, top):
    picture = frame.copy()
    picture[top : top + part.shape[0], left : left + part.shape[1]] = part
    return picture


CASES = [
    Case("blur", gaussian(5)),
    Case("blur=1", each(lambda frame: frame)),
    Case("blur=9", gaussian(9)),
    Case("blur=31", gaussian(31)),
    Case("blur=7,1.5", gaussian(7, 1.5)),
    Case("blur=kind=box", box(5)),
    Case("blur=21,kind=box", box(21)),
    Case("median", median(5)),
    Case("median=3", median(3)),
    Case("median=15", median(15)),
    Case("bilateral", bilateral(9, 75, 75)),
    Case("bilateral=5,20,3", bilateral(5, 20, 3)),
    Case("sharpen", sharpen(1, 1)),
    Case("sharpen=2.5,3", sharpen(2.5, 3)),
    Case("denoise", denoise(3, 3, 7, 21), inputs=SLOW),
    Case("denoise=10,20,5,11", denoise(10, 20, 5, 11), inputs=SLOW),
    Case("pixelate", pixelate(16)),
    Case("pixelate=7", pixelate(7)),
    Case(
        "pixelate=8",
        block_means,
        bound=1,
        why="a mean of exactly a half is rounded up there and to even here",
        share=0.02,
        inputs=("bunny", "carphone", "gray"),
    ),
    Case("cartoon", cartoon(9, 100, 9, 5)),
    Case("cartoon=5,200,15,2", cartoon(5, 200, 15, 2)),
    Case("sketch", sketch(21)),
    Case("sketch=5", sketch(5)),
    Case(f"{found.FACES} | blur-boxes", blur_boxes("blur")),
    Case(f"{found.FACES} | blur-boxes=strength=0.4,margin=0.7", blur_boxes("blur", 0.4, 0.7)),
    Case(f"{found.FACES} | blur-boxes=pixelate,0.05,0,ellipse", blur_boxes("pixelate", 0.05, 0, True)),
    Case(f"{found.FACES} | blur-boxes=fill,labels='cat,face',color=red", blur_boxes("fill", color=(0, 0, 255))),
    Case(f"{found.FACES} | blur-boxes=fill,labels=cat", each(lambda frame: frame)),
]
