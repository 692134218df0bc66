#!/usr/bin/python3
"""Writes pictures, and the tensors that people make of them in Python before they send them to a server.

DIR/index.json names the files; tensors are raw FP32 or UINT8. The test `pictures` has a model's parameters make
the same of the same pictures, and allows the differences that each case gives a reason for.
"""

import argparse
import json
import os
import sys

try:
    import cv2
    import numpy as np
except ImportError as error:
    sys.exit(f"{error}: run `make setup`, which installs Debian's python3-opencv")

from reference.inputs import read

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])
IMAGENET = {"mean": "imagenet", "std": "imagenet"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", required=True, metavar="DIR", help="where the videos are")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the files go")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    # 1280x720.
    frame = read(os.path.join(args.frames, "bigbuckbunny.mp4"), (60,))[0]
    # Sides that nothing divides, and taller than wide.
    tall = np.ascontiguousarray(frame[:719, 200:773])
    pictures = {
        "wide.png": cv2.imencode(".png", frame)[1],
        "tall.png": cv2.imencode(".png", tall)[1],
        "wide.jpg": cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1],
        "tall.jpg": cv2.imencode(".jpg", tall, [cv2.IMWRITE_JPEG_QUALITY, 90])[1],
    }
    for name, data in pictures.items():
        data.tofile(os.path.join(args.out, name))
    decoded = {name: cv2.imdecode(data, cv2.IMREAD_COLOR) for name, data in pictures.items()}
    cases = [describe(index, case, decoded, args.out) for index, case in enumerate(CASES)]
    with open(os.path.join(args.out, "index.json"), "w", encoding="utf-8") as file:
        json.dump(cases, file)


def describe(index, case, decoded, out):
    tensor = np.ascontiguousarray(case["function"](decoded[case["picture"]]))
    file = f"{index}.raw"
    tensor.tofile(os.path.join(out, file))
    return {
        "name": case["function"].__doc__,
        "picture": case["picture"],
        "parameters": {f"frameserve.{key}": value for key, value in case["parameters"].items()},
        "shape": tensor.shape,
        "datatype": {"float32": "FP32", "uint8": "UINT8"}[str(tensor.dtype)],
        "hwc": tensor.shape[-1] == 3,
        "file": file,
        "mean": case["mean"],
        "most": case["most"],
    }


# --- What people write ------------------------------------------------------------------------------------


def letterbox(picture):
    """A detector's letterbox of 640x640"""
    height, width = picture.shape[:2]
    factor = min(640 / width, 640 / height)
    size = round(width * factor), round(height * factor)
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    wide, high = (640 - size[0]) / 2, (640 - size[1]) / 2
    top, bottom = round(high - 0.1), round(high + 0.1)
    left, right = round(wide - 0.1), round(wide + 0.1)
    picture = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return (picture[:, :, ::-1].transpose(2, 0, 1) / 255).astype(np.float32)


def classifier(picture):
    """A classifier's resize to 256, crop to 224 and normalisation, with OpenCV's areas"""
    return normalised(centre(cv2.resize(picture, shorter(picture, 256), interpolation=cv2.INTER_AREA), 224))


def small_classifier(picture):
    """The same with 96 and 64, small enough that a JPEG is decoded at a part of its size"""
    return normalised(centre(cv2.resize(picture, shorter(picture, 96), interpolation=cv2.INTER_AREA), 64))


def torchvision(picture):
    """A classifier's resize to 256, crop to 224 and normalisation, as torchvision does them to a PIL picture"""
    return normalised(centre(triangles(picture, shorter(picture, 256)), 224))


def small_torchvision(picture):
    """The same with 96 and 64"""
    return normalised(centre(triangles(picture, shorter(picture, 96)), 64))


def cubic(picture):
    """The same with PIL's bicubic filter"""
    return normalised(centre(filtered(picture, shorter(picture, 256), hump, 2), 224))


def boxed(picture):
    """A detector's letterbox of 640x640, with PIL's bilinear filter"""
    height, width = picture.shape[:2]
    factor = min(640 / width, 640 / height)
    picture = triangles(picture, (round(width * factor), round(height * factor)))
    box = np.full((640, 640, 3), 114, np.uint8)
    top, left = (640 - picture.shape[0]) // 2, (640 - picture.shape[1]) // 2
    box[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return (box[:, :, ::-1].transpose(2, 0, 1) / 255).astype(np.float32)


def part(picture):
    """The middle of a picture as 128x128 bytes in BGR, with PIL's bilinear filter"""
    height, width = picture.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return triangles(picture[top : top + side, left : left + side], (128, 128))


def stretched(picture):
    """Stretched to 300x300, -1 to 1, channels last"""
    picture = cv2.resize(picture, (300, 300), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    return ((picture.astype(np.float32) - 127.5) / 127.5).astype(np.float32)


def filled(picture):
    """The middle of a picture as 128x128 bytes in BGR"""
    height, width = picture.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    part = picture[top : top + side, left : left + side]
    return cv2.resize(part, (128, 128), interpolation=cv2.INTER_AREA)


def shorter(picture, side):
    height, width = picture.shape[:2]
    short = min(height, width)
    return int(side * width / short), int(side * height / short)


def centre(picture, side):
    height, width = picture.shape[:2]
    top, left = int(round((height - side) / 2.0)), int(round((width - side) / 2.0))
    return picture[top : top + side, left : left + side]


def normalised(picture):
    values = picture[:, :, ::-1].astype(np.float64) / 255
    return ((values - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1).astype(np.float32)


def triangles(picture, size):
    """PIL's bilinear filter: each pixel is the mean of those below a triangle that spans two pixels of the result,
    first across, then down, rounded to whole values each time."""
    return filtered(picture, size, lambda distance: np.maximum(1 - distance, 0), 1)


def hump(distance):
    """PIL's bicubic filter, which spans four pixels."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * -0.5 + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def filtered(picture, size, form, reach):
    across = weights(picture.shape[1], size[0], form, reach)
    down = weights(picture.shape[0], size[1], form, reach)
    rows = (across @ picture.astype(np.float64)).round().clip(0, 255)
    return np.tensordot(down, rows, axes=1).round().clip(0, 255).astype(np.uint8)


def weights(before, after, form, reach):
    scale = before / after
    wide = max(scale, 1.0)
    middle = (np.arange(after)[:, None] + 0.5) * scale
    places = np.arange(before)[None, :]
    # Those whose middles are further away do not count at all.
    first, last = (middle - reach * wide + 0.5).astype(int), (middle + reach * wide + 0.5).astype(int)
    found = form(np.abs(places + 0.5 - middle) / wide) * ((places >= first) & (places < last))
    return found / found.sum(axis=1, keepdims=True)


# --- How near it has to be --------------------------------------------------------------------------------

# One step of a pixel's value, in a tensor that was normalised.
STEP = 1 / 255 / IMAGENET_STD.min()
# Nothing but the last bits of an FP32 of either sign, up to 3.
BITS = 1e-5
FIT = {"resize": "fit=640x640", "interpolation": "bilinear"}
SHORT = {"resize": "short=256", "crop": "224x224", **IMAGENET}
SMALL = {"resize": "short=96", "crop": "64x64", **IMAGENET}
PIL = {**SHORT, "interpolation": "bilinear-antialias"}
CUBIC = {**SHORT, "interpolation": "bicubic-antialias"}
PIL_FIT = {"resize": "fit=640x640", "interpolation": "bilinear-antialias"}
PIL_FILL = {"resize": "fill=128x128", "interpolation": "bilinear-antialias", "color": "bgr"}
STRETCH = {"resize": "300x300", "interpolation": "bilinear", "mean": "127.5", "std": "127.5", "scale": "1"}
FILL = {"resize": "fill=128x128", "color": "bgr"}


def case(function, picture, parameters, mean=BITS, most=BITS):
    return {"function": function, "picture": picture, "parameters": parameters, "mean": mean, "most": most}


CASES = [
    # The same operations of the same library on the same pixels.
    case(letterbox, "wide.png", FIT),
    case(letterbox, "tall.png", FIT),
    case(stretched, "wide.png", STRETCH),
    # OpenCV takes the mean of an area at once, and we take that of 2x2 pixels first where sides are even.
    case(filled, "wide.png", FILL, mean=2, most=30),
    case(filled, "tall.png", FILL),
    case(classifier, "wide.png", SHORT, mean=1.2 * STEP, most=24 * STEP),
    case(classifier, "tall.png", SHORT),
    case(small_classifier, "wide.jpg", SMALL, mean=1.2 * STEP, most=24 * STEP),
    case(small_classifier, "tall.jpg", SMALL, mean=1.2 * STEP, most=24 * STEP),
    # That is nearer to PIL's triangle, which the models of torchvision are trained with.
    case(torchvision, "wide.png", SHORT, mean=0.75 * STEP, most=20 * STEP),
    case(torchvision, "tall.png", SHORT, mean=0.75 * STEP, most=20 * STEP),
    # PIL's own pixels, but for those that lie in the middle between two values here.
    case(torchvision, "wide.png", PIL, mean=0.01 * STEP, most=1.001 * STEP),
    case(torchvision, "tall.png", PIL, mean=0.01 * STEP, most=1.001 * STEP),
    case(torchvision, "wide.jpg", PIL, mean=0.01 * STEP, most=1.001 * STEP),
    case(torchvision, "tall.jpg", PIL, mean=0.01 * STEP, most=1.001 * STEP),
    case(cubic, "wide.png", CUBIC, mean=0.01 * STEP, most=1.001 * STEP),
    case(boxed, "tall.png", PIL_FIT, mean=0.01 / 255, most=1.001 / 255),
    case(part, "wide.png", PIL_FILL, mean=0.01, most=1),
    # The same, decoded at a part of its size by a filter that is a little sharper than a mean.
    case(torchvision, "wide.jpg", SHORT, mean=0.75 * STEP, most=20 * STEP),
    case(torchvision, "tall.jpg", SHORT, mean=0.75 * STEP, most=20 * STEP),
    case(small_torchvision, "wide.jpg", SMALL, mean=STEP, most=24 * STEP),
    case(small_torchvision, "tall.jpg", SMALL, mean=STEP, most=24 * STEP),
]


if __name__ == "__main__":
    main()
