"""What stages make of successive frames."""

import cv2
import numpy as np

from . import found
from .case import Case, Expected, bgr, gray
from .edges import saturate


def background(method, foreground=False, **options):
    def stream(frames):
        if method == "knn":
            model = cv2.createBackgroundSubtractorKNN(**options)
        else:
            model = cv2.createBackgroundSubtractorMOG2(**options)
        results = []
        for number, frame in enumerate(frames):
            # KNN draws random numbers, and what they begin with is a part of the operation.
            cv2.setRNGSeed(number)
            mask = model.apply(frame)
            if foreground:
                frame[mask <= 200] = 0
            results.append(frame if foreground else mask)
        return results

    return stream


def difference(gain):
    def stream(frames):
        before = [frames[0], *frames]
        changes = [cv2.absdiff(a, b) for a, b in zip(frames, before)]
        return [saturate(change * np.float32(gain)) for change in changes]

    return stream


def trails(decay, average=False):
    def stream(frames):
        seen = frames[0].astype(np.float32)
        results = [frames[0]]
        for frame in frames[1:]:
            if average:
                cv2.accumulateWeighted(frame, seen, 1 - decay)
            else:
                seen = np.maximum(frame.astype(np.float32), seen * np.float32(decay))
            results.append(saturate(seen))
        return results

    return stream


def flow(show, levels=3, window=15, iterations=3):
    def stream(frames):
        luma = [gray(frame) for frame in frames]
        results = []
        motion = np.zeros((*luma[0].shape, 2), np.float32)
        for index, frame in enumerate(frames):
            if index > 0:
                pair = luma[index - 1], luma[index]
                motion = cv2.calcOpticalFlowFarneback(*pair, None, 0.5, levels, window, iterations, 5, 1.1, 0)
            speed, angle = cv2.cartToPolar(motion[..., 0], motion[..., 1], angleInDegrees=True)
            measures = [{"name": "flow.mean", "value": cv2.mean(speed)[0]}]
            results.append(Expected(show(frame, motion, speed, angle), detections=[], measures=measures))
        return results

    return stream


def as_colors(gain):
    def show(_, __, speed, angle):
        hue, full = saturate(angle * np.float32(0.5)), np.full(angle.shape, 255, np.uint8)
        return cv2.cvtColor(cv2.merge([hue, full, saturate(speed * np.float32(gain))]), cv2.COLOR_HSV2BGR)

    return show


def as_arrows(step, length, color):
    def show(frame, motion, *_):
        picture = bgr(frame)
        for y in range(step // 2, frame.shape[0], step):
            for x in range(step // 2, frame.shape[1], step):
                dx, dy = (int(round_away(float(part) * length)) for part in motion[y, x])
                if (dx, dy) != (0, 0):
                    cv2.arrowedLine(picture, (x, y), (x + dx, y + dy), color, 1, tipLength=0.3)
        return picture

    return show


def round_away(number):
    """To the nearest, halves away from zero."""
    return np.copysign(np.floor(abs(number) + 0.5), number)


def motion(smallest=500, method="background", threshold=25, history=500, blur=5, grow=4, draw=True):
    def stream(frames):
        model = cv2.createBackgroundSubtractorMOG2(history, threshold, False)
        before = None
        results = []
        for frame in frames:
            smooth = cv2.GaussianBlur(gray(frame), (blur, blur), 0)
            if method == "background":
                mask = model.apply(smooth)
            else:
                change = cv2.absdiff(smooth, smooth if before is None else before)
                mask = cv2.threshold(change, threshold, 255, cv2.THRESH_BINARY)[1]
            if before is None:
                mask = np.zeros_like(mask)
            before = smooth
            results.append(moved(frame, mask, smallest, grow, draw))
        return results

    return stream


def moved(frame, mask, smallest, grow, draw):
    grown = cv2.dilate(mask, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
    outlines, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    areas = [cv2.boundingRect(outline) for outline in outlines if cv2.contourArea(outline) >= smallest]
    areas.sort(key=lambda area: (area[1], area[0], area[2], area[3]))
    picture = bgr(frame) if draw else frame
    if draw:
        for area in areas:
            cv2.rectangle(picture, area, (0, 255, 0), 2)
    detections = [
        {"x": x, "y": y, "width": w, "height": h, "label": "motion", "source": "motion"}
        for x, y, w, h in areas
    ]
    ratio = np.count_nonzero(mask) / mask.size
    return Expected(picture, detections, [{"name": "motion.ratio", "value": ratio}])


def track(min_hits):
    """The only face there is moves by less than its own size, and so is the same one as long as it is found."""

    def stream(frames):
        results, hits, last = [], 0, 0
        for frame in frames:
            detections = found.detections(found.faces(frame))
            hits = hits + 1 if len(detections) == 1 else 0
            last = 1 if hits >= min_hits else last
            for detection in detections:
                detection["track_id"] = last or None
            results.append(Expected(frame, detections, []))
        return results

    return stream


# Measures travel as decimal text.
SLACK = 1e-12

CASES = [
    Case("background", background("mog2", history=500, varThreshold=16, detectShadows=False)),
    Case(
        "background=foreground,history=5,threshold=30,shadows=true",
        background("mog2", True, history=5, varThreshold=30, detectShadows=True),
    ),
    Case("background=shadows=true", background("mog2", detectShadows=True)),
    Case("background=method=knn", background("knn", history=500, dist2Threshold=400, detectShadows=False)),
    Case(
        "background=foreground,knn,20,900,shadows=true",
        background("knn", True, history=20, dist2Threshold=900, detectShadows=True),
    ),
    Case("difference", difference(1)),
    Case("difference=4.5", difference(4.5)),
    Case("trails", trails(0.9)),
    Case("trails=0.5,average", trails(0.5, average=True)),
    Case("trails=0", trails(0)),
    Case("flow", flow(as_colors(16)), slack=SLACK),
    Case("flow=gain=40,levels=1,window=9,iterations=1", flow(as_colors(40), 1, 9, 1), slack=SLACK),
    Case("flow=arrows", flow(as_arrows(16, 2, (0, 255, 0))), slack=SLACK),
    Case("flow=arrows,step=5,length=7.5,color=red", flow(as_arrows(5, 7.5, (0, 0, 255))), slack=SLACK),
    Case("motion", motion(), slack=SLACK),
    Case("motion=40,difference,5", motion(40, "difference", 5), slack=SLACK),
    Case("motion=0,threshold=9,history=3,blur=1,grow=0", motion(0, threshold=9, history=3, blur=1, grow=0), slack=SLACK),
    Case("motion=60,difference,8,grow=9,draw=false", motion(60, "difference", 8, grow=9, draw=False), slack=SLACK),
    Case(f"{found.FACES} | track", track(3), inputs=("carphone", "gray", "dot")),
    Case(f"{found.FACES} | track=face,min-hits=1", track(1), inputs=("carphone", "gray", "dot")),
]
