#!/usr/bin/python3
"""Writes pictures and what OpenCV's Python module makes of them, for the test `stages` to compare with.

DIR/index.json names the files; those are raw samples, rows without padding, BGR or gray.
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

from reference import GROUPS, Expected, cases
from reference.inputs import load


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", required=True, metavar="DIR", help="where the videos are")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--group", choices=GROUPS, action="append", help="only the cases of this group")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    inputs = load(args.frames)
    writer = Writer(args.out)
    wanted = [case for group in args.group or GROUPS for case in cases(group)]
    used = sorted({name for case in wanted for name in case.inputs})
    index = {
        "opencv": cv2.__version__,
        "inputs": {name: [writer.picture(frame) for frame in inputs[name]] for name in used},
        "cases": [describe(case, name, inputs[name], writer) for case in wanted for name in case.inputs],
    }
    with open(os.path.join(args.out, "index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file)


def describe(case, name, frames, writer):
    """One case on one input."""
    if case.bound and not case.why:
        sys.exit(f"{case.text}: a bound of {case.bound} needs a reason")
    # A function that draws on its argument must not change the input of the next.
    results = case.function([frame.copy() for frame in frames])
    if len(results) != len(frames):
        sys.exit(f"{case.text}: {len(results)} results for {len(frames)} frames")
    return {
        "text": case.text,
        "input": name,
        "bound": case.bound,
        "share": case.share,
        "slack": case.slack,
        "expected": [expected(result, writer) for result in results],
    }


def expected(result, writer):
    if not isinstance(result, Expected):
        result = Expected(result)
    return {
        "image": writer.picture(result.image),
        "detections": result.detections,
        "measures": result.measures,
    }


class Writer:
    """Numbers files and writes samples into them."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    def picture(self, array):
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            sys.exit(f"no picture: {array.dtype} {array.shape}")
        name = f"{self.count}.raw"
        self.count += 1
        np.ascontiguousarray(array).tofile(os.path.join(self.folder, name))
        channels = 1 if array.ndim == 2 else array.shape[2]
        return {"file": name, "width": array.shape[1], "height": array.shape[0], "channels": channels}


if __name__ == "__main__":
    main()
