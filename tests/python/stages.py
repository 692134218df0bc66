"""Compares every stage, as it answers over the wire, with the same operation of OpenCV's Python module.

What a stage should give stands in `reference/`; the frames go up as raw pixels and come back as PNG, so that
nothing but the stage can make a difference. The exit code is 1 if any case differs by more than it allows.
"""

import argparse
import sys

import cv2
import grpc
import numpy as np

import stubs
from reference import GROUPS, Expected, cases
from reference.inputs import load

pb, services = stubs.load()

TIMEOUT_SECONDS = 120
MESSAGE_BYTES = 64 << 20
# The references count on 25 frames a second.
FRAME_US = 40_000
# Faults of one case that are printed.
MOST_FAULTS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--videos", default=".deps/videos", metavar="DIR")
    parser.add_argument("--group", choices=GROUPS, action="append", help="only the cases of this group")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    inputs = load(args.videos)
    wanted = [case for group in args.group or GROUPS for case in cases(group)]
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
    failed = 0
    with grpc.insecure_channel(args.server, options=options) as channel:
        stub = services.ImageTestStub(channel)
        for case in wanted:
            faults = [fault for name in case.inputs for fault in compare(stub, case, name, inputs[name])]
            failed += bool(faults)
            if len(faults) > MOST_FAULTS:
                faults[MOST_FAULTS:] = [f"and {len(faults) - MOST_FAULTS} more"]
            verdict = "FAILED" if faults else "ok"
            print(f"{verdict}: {case.text} on {', '.join(case.inputs)}", *faults, sep="\n    ", flush=True)
    print(f"{len(wanted)} cases, {failed} failed")
    # No case at all would be a mistake in the tables, and no success.
    sys.exit(1 if failed or not wanted else 0)


def compare(stub, case, name, frames):
    """What differs between the server's answers and what the case expects, in words."""
    # A function that draws on its argument must not change what is sent.
    expected = case.function([frame.copy() for frame in frames])
    try:
        replies = stream(stub, case.text, frames)
    except grpc.RpcError as error:
        return [f"{name}: {error.code().name}: {error.details()}"]
    if not len(replies) == len(expected) == len(frames):
        return [f"{name}: {len(frames)} frames, {len(expected)} expected results, {len(replies)} replies"]
    faults = []
    for number, (reply, result) in enumerate(zip(replies, expected)):
        result = result if isinstance(result, Expected) else Expected(result)
        for fault in differences(case, reply, result):
            faults.append(f"{name}, frame {number}: {fault}")
    return faults


def stream(stub, text, frames):
    def requests():
        yield pb.MsgRequest(
            config=pb.StreamConfig(pipeline=text, reply_format=pb.ReplyFormat(encoding=pb.PNG))
        )
        for number, frame in enumerate(frames):
            height, width = frame.shape[:2]
            yield pb.MsgRequest(
                img=frame.tobytes(),
                encoding=pb.RAW,
                width=width,
                height=height,
                pixel_format=pb.GRAY8 if frame.ndim == 2 else pb.BGR24,
                timestamp_us=number * FRAME_US,
            )

    return list(stub.Analyse(requests(), timeout=TIMEOUT_SECONDS))[1:]


def differences(case, reply, expected):
    if reply.HasField("error"):
        return [f"error {reply.error.code}: {reply.error.message}"]
    faults = []
    image = cv2.imdecode(np.frombuffer(reply.img, np.uint8), cv2.IMREAD_UNCHANGED)
    wanted = expected.image
    if image is None or image.shape != wanted.shape:
        faults.append(f"shape {None if image is None else image.shape} instead of {wanted.shape}")
    else:
        distance = cv2.absdiff(image, wanted)
        share = np.count_nonzero(distance) / distance.size
        if distance.max() > case.bound or share > case.share:
            faults.append(
                f"differs by up to {distance.max()} (allowed: {case.bound})"
                f" in {share:.4%} of the samples (allowed: {case.share:.4%})"
            )
    if expected.detections is not None:
        faults += found(case, "detection", reply.detections, expected.detections)
    if expected.measures is not None:
        faults += found(case, "measure", reply.measures, expected.measures)
    return faults


def found(case, what, messages, expected):
    """Compares those fields that the expectation names; numbers may differ by the case's slack."""
    if len(messages) != len(expected):
        return [f"{len(messages)} {what}s instead of {len(expected)}"]
    faults = []
    for index, (message, fields) in enumerate(zip(messages, expected)):
        for name, value in fields.items():
            if value is None:
                if message.HasField(name):
                    faults.append(f"{what} {index}: {name} is {getattr(message, name)} instead of absent")
                continue
            there = getattr(message, name)
            there = list(there) if name == "points" else there
            if not alike(there, value, case.slack):
                faults.append(f"{what} {index}: {name} is {there} instead of {value}")
    return faults


def alike(one, other, slack):
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(alike(a, b, slack) for a, b in zip(one, other))
    if isinstance(other, str):
        return one == other
    # The wire's float has 24 bits.
    return abs(one - other) <= max(slack, 1e-6 * abs(other))


if __name__ == "__main__":
    main()
