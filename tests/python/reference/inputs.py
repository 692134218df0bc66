"""The pictures that cases are tried on, cut from two short videos without any resampling."""

import os
import sys

import cv2
import numpy as np

CARPHONE_FRAMES = 12


def load(videos):
    """Name of an input -> list of its frames."""
    bunny = read(os.path.join(videos, "bigbuckbunny.mp4"), (20, 100))
    bunny = [np.ascontiguousarray(frame[::2, ::2]) for frame in bunny]
    carphone = read(os.path.join(videos, "carphone_pristine.mp4"), range(CARPHONE_FRAMES))
    odd = [np.ascontiguousarray(frame[40:53, 60:77]) for frame in carphone[:2]]
    gray = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in carphone[:3]]
    return {
        # 640x360, two frames far apart.
        "bunny": bunny,
        # 176x144, consecutive frames.
        "carphone": carphone,
        # 17x13.
        "odd": odd,
        # 10x144.
        "tall": [np.ascontiguousarray(frame[:, 80:90]) for frame in carphone[:1]],
        # 1x7.
        "column": [np.ascontiguousarray(frame[50:57, 80:81]) for frame in carphone[:1]],
        # 1x1.
        "dot": [np.ascontiguousarray(frame[50:51, 80:81]) for frame in carphone[:1]],
        # One channel, 176x144.
        "gray": gray,
        # One channel, 17x13.
        "gray-odd": [np.ascontiguousarray(frame[40:53, 60:77]) for frame in gray[:1]],
        # One channel, 1x1.
        "gray-dot": [np.ascontiguousarray(frame[50:51, 80:81]) for frame in gray[:1]],
        # 640x360 and one channel, for what needs a large gray picture.
        "gray-bunny": [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in bunny[:1]],
    }


def read(path, wanted):
    """These frames of a video, by number, from 0."""
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: run `make setup`")
    video = cv2.VideoCapture(path)
    frames = []
    for number in range(max(wanted) + 1):
        good, frame = video.read()
        if not good:
            sys.exit(f"{path} has no frame {number}")
        if number in wanted:
            frames.append(frame)
    return frames
