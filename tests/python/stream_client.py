"""A Python client that holds a server to every promise of imageTest.proto's Analyse, with a real video.

Each check is a function below and prints a line. The exit code is 1 if any failed.
"""

import argparse
import sys
import threading
import traceback

import cv2
import grpc
import numpy as np

import stubs

pb, services = stubs.load()

# A check that got no answer for so long has failed.
TIMEOUT_SECONDS = 60
# Enough for a raw frame of 1280x720 in colour.
MESSAGE_BYTES = 16 << 20
FRAMES = 40
GARBAGE = b"\xff\xd8\xff" + b"no picture" * 20


class Video:
    """The first frames of a video, decoded, and as JPEG."""

    def __init__(self, path):
        reader = cv2.VideoCapture(path)
        self.frames = []
        while len(self.frames) < FRAMES:
            more, frame = reader.read()
            if not more:
                sys.exit(f"{path} has no {FRAMES} frames")
            self.frames.append(frame)
        self.height, self.width = self.frames[0].shape[:2]
        self.jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in self.frames]

    def raw(self, index):
        return pb.MsgRequest(
            img=self.frames[index].tobytes(),
            encoding=pb.RAW,
            width=self.width,
            height=self.height,
            pixel_format=pb.BGR24,
        )


# --- The checks ------------------------------------------------------------------------------------------


def frames_come_back_in_order(stub, video):
    """A reply to each, with its number, its time, the size that the pipeline makes and where the time went."""
    config = pb.StreamConfig(pipeline="resize=320x180", reply_format=pb.ReplyFormat(encoding=pb.JPEG), window=4)
    requests = [pb.MsgRequest(img=jpeg, timestamp_us=40_000 * i) for i, jpeg in enumerate(video.jpegs)]
    replies = stream(stub, [pb.MsgRequest(config=config), *requests])
    equal(len(replies), 1 + FRAMES, "replies")
    settings, replies = replies[0], replies[1:]
    holds(settings.HasField("settings"), "the first reply holds settings")
    equal(settings, pb.MsgReply(settings=settings.settings, answers_config=True), "the first reply, which holds nothing but settings")
    equal(settings.settings.pipeline, "resize=320x180", "pipeline in force")
    equal(settings.settings.window, 4, "window in force")
    equal(settings.settings.reply_format.encoding, pb.JPEG, "encoding in force")
    equal([reply.sequence for reply in replies], list(range(FRAMES)), "sequence")
    equal([reply.reply for reply in replies], list(range(1, FRAMES + 1)), "counts")
    equal([reply.timestamp_us for reply in replies], [40_000 * i for i in range(FRAMES)], "timestamps")
    for reply in replies:
        no_error(reply)
        equal((reply.width, reply.height, reply.encoding), (320, 180, pb.JPEG), "size and encoding")
        equal(picture(reply).shape, (180, 320, 3), "shape of the picture")
        equal([step.stage for step in reply.timing.stages], ["resize=320x180"], "stages in the timing")
        timing = reply.timing
        spent = timing.decode + timing.encode + sum(step.nanoseconds for step in timing.stages)
        holds(0 < spent <= timing.total, f"the steps ({spent} ns) take no longer than the whole ({timing.total} ns)")


def a_frame_may_come_with_the_first_config(stub, video):
    """Then the settings come first, alone, and the frame's reply after them."""
    request = pb.MsgRequest(img=video.jpegs[0], config=pb.StreamConfig(pipeline=""))
    settings, reply = stream(stub, [request])
    equal(settings, pb.MsgReply(settings=settings.settings, answers_config=True), "the first reply")
    no_error(reply)
    equal((reply.width, reply.height), (video.width, video.height), "size")


def no_config_is_needed(stub, video):
    """Without one every frame has a reply, and there is none besides."""
    replies = stream(stub, [pb.MsgRequest(img=jpeg) for jpeg in video.jpegs[:5]])
    equal(len(replies), 5, "replies")
    holds(not any(reply.HasField("settings") for reply in replies), "no reply holds settings")
    equal([reply.reply for reply in replies], [1, 2, 3, 4, 5], "counts")


def raw_frames_come_back_bit_for_bit(stub, video):
    config = pb.StreamConfig(pipeline="", reply_format=pb.ReplyFormat(encoding=pb.RAW))
    requests = [video.raw(i) for i in range(5)]
    for request, reply in zip(requests, stream(stub, [pb.MsgRequest(config=config), *requests])[1:], strict=True):
        no_error(reply)
        holds(reply.img == request.img, f"frame {reply.sequence} is what was sent")
        equal((reply.encoding, reply.pixel_format), (pb.RAW, pb.BGR24), "format")


def gray_is_opencvs(stub, video):
    config = pb.StreamConfig(pipeline="gray", reply_format=pb.ReplyFormat(encoding=pb.PNG))
    replies = stream(stub, [pb.MsgRequest(config=config), *(video.raw(i) for i in range(5))])[1:]
    for frame, reply in zip(video.frames, replies):
        no_error(reply)
        same(picture(reply), cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), f"frame {reply.sequence}")


def a_change_begins_at_its_frame(stub, video):
    """A pipeline sent with a frame holds from that frame on; sent alone, from the next; what is not set stays."""
    requests = [pb.MsgRequest(img=jpeg) for jpeg in video.jpegs]
    requests[0].config.CopyFrom(pb.StreamConfig(pipeline="resize=320x180", reply_format=pb.ReplyFormat(encoding=pb.PNG)))
    requests[10].config.CopyFrom(pb.StreamConfig(pipeline="resize=160x90"))
    requests[20].config.CopyFrom(pb.StreamConfig(reply_format=pb.ReplyFormat(encoding=pb.JPEG)))
    requests.insert(30, pb.MsgRequest(config=pb.StreamConfig(pipeline="resize=64x36")))
    replies = stream(stub, requests)
    told = [reply.settings.pipeline for reply in replies if reply.HasField("settings")]
    equal(told, ["resize=320x180", "resize=160x90", "resize=160x90", "resize=64x36"], "settings, in order")
    frames = [reply for reply in replies if reply.width]
    equal([reply.sequence for reply in frames], list(range(FRAMES)), "sequence")
    for reply in frames:
        no_error(reply)
        index = reply.sequence
        width = 320 if index < 10 else 160 if index < 30 else 64
        equal(reply.width, width, f"width of frame {index}")
        equal(reply.encoding, pb.PNG if index < 20 else pb.JPEG, f"encoding of frame {index}")
        equal(picture(reply).shape[1], width, f"width of the picture of frame {index}")
    # The last change has no frame of its own: its settings may come alone or with the next frame.
    changed = [reply.sequence for reply in frames if reply.HasField("settings")]
    equal([index for index in changed if index != 30], [10, 20], "frames that came with settings")


def a_bad_frame_is_reported_in_its_place(stub, video):
    """And the frames around it are answered as ever."""
    requests = [pb.MsgRequest(img=jpeg) for jpeg in video.jpegs[:10]]
    requests[4] = pb.MsgRequest(img=GARBAGE, encoding=pb.JPEG, timestamp_us=7)
    requests[6] = pb.MsgRequest(img=b"\0" * 100, encoding=pb.RAW, width=64, height=64, pixel_format=pb.GRAY8)
    requests[8] = pb.MsgRequest(img=video.jpegs[8], width=video.width + 1, height=video.height)
    replies = stream(stub, requests)
    equal([reply.sequence for reply in replies], list(range(10)), "sequence")
    bad = [reply for reply in replies if reply.HasField("error")]
    equal([reply.sequence for reply in bad], [4, 6, 8], "frames with an error")
    for reply in bad:
        equal(reply.error.code, grpc.StatusCode.INVALID_ARGUMENT.value[0], f"code of frame {reply.sequence}")
        holds(reply.error.message, f"frame {reply.sequence} says why")
        equal(reply.img, b"", "no picture beside an error")
    equal(bad[0].timestamp_us, 7, "timestamp of a bad frame")
    good = [reply.reply for reply in replies if not reply.HasField("error")]
    equal(good, list(range(1, 8)), "counts, in which bad frames do not count")


def a_bad_frame_may_end_the_stream(stub, video):
    requests = [pb.MsgRequest(img=jpeg) for jpeg in video.jpegs[:10]]
    requests[0].config.bad_frames = pb.END_STREAM
    requests[4] = pb.MsgRequest(img=GARBAGE, encoding=pb.JPEG)
    replies = []
    fails(grpc.StatusCode.INVALID_ARGUMENT, lambda: stream(stub, requests, replies))
    equal([reply.sequence for reply in replies if reply.width], [0, 1, 2, 3], "frames before the bad one")


def a_bad_pipeline_is_refused(stub, video):
    for text in ("no-such-stage", "resize=", "resize=0x0", "| gray"):
        request = pb.MsgRequest(img=video.jpegs[0], config=pb.StreamConfig(pipeline=text))
        error = fails((grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), lambda: stream(stub, [request]))
        holds(error.details(), f"`{text}` is refused with a reason")


def a_reply_needs_no_picture(stub, video):
    config = pb.StreamConfig(pipeline="gray", reply_format=pb.ReplyFormat(encoding=pb.NO_PICTURE))
    replies = stream(stub, [pb.MsgRequest(config=config), *(pb.MsgRequest(img=jpeg) for jpeg in video.jpegs[:5])])[1:]
    equal(len(replies), 5, "replies")
    for reply in replies:
        no_error(reply)
        equal(reply.img, b"", "picture")
    equal([reply.reply for reply in replies], [1, 2, 3, 4, 5], "counts")


def the_sender_numbers_its_frames(stub, video):
    numbers = [1000, 3, 2**63, 4]
    replies = stream(stub, [pb.MsgRequest(img=video.jpegs[0], sequence=number) for number in numbers])
    equal([reply.sequence for reply in replies], numbers, "sequence")


def the_window_is_bounded(stub, video):
    """A wish for more than the server allows is granted as what it allows."""
    limits = stub.Describe(pb.DescribeRequest()).limits
    request = pb.MsgRequest(config=pb.StreamConfig(window=limits.max_window + 1))
    (reply,) = stream(stub, [request])
    equal(reply.settings.window, limits.max_window, "window")
    equal(reply.settings.limits, limits, "limits")


def frames_over_the_rate_are_dropped(stub, video):
    """Sent at once, at most a few a second are taken; every frame is either answered or reported as dropped."""
    config = pb.StreamConfig(pipeline="resize=160x90", pressure=pb.Pressure(mode=pb.Pressure.LOSSLESS, max_fps=5))
    answered, dropped = account(stub, video, config)
    holds(answered, "some frames are answered")
    holds(dropped, "some frames are dropped")
    equal(set(dropped.values()), {pb.Dropped.RATE}, "reason")


def newer_frames_replace_those_that_wait(stub, video):
    for pressure in (
        pb.Pressure(mode=pb.Pressure.LATEST),
        pb.Pressure(mode=pb.Pressure.DROP_OLDEST, queue=2),
    ):
        answered, dropped = account(stub, video, pb.StreamConfig(pipeline="resize=1920x1080", window=1, pressure=pressure))
        holds(FRAMES - 1 in answered, "the last frame is answered")
        holds(set(dropped.values()) <= {pb.Dropped.REPLACED}, "reason")


def a_client_may_go_away(stub, video):
    """A stream that is cancelled half-way does the next one no harm."""
    goes_on = threading.Event()

    def requests():
        for jpeg in video.jpegs[:5]:
            yield pb.MsgRequest(img=jpeg)
        goes_on.wait(TIMEOUT_SECONDS)

    call = stub.Analyse(requests(), timeout=TIMEOUT_SECONDS)
    equal(next(call).reply, 1, "first reply")
    call.cancel()
    goes_on.set()
    no_config_is_needed(stub, video)


def describe_tells_what_there_is(stub, video):
    reply = stub.Describe(pb.DescribeRequest(), timeout=TIMEOUT_SECONDS)
    holds(reply.version, "version")
    holds(reply.opencv_version, "OpenCV's version")
    holds("ImageTest" in reply.services, f"ImageTest is among the services {list(reply.services)}")
    holds({"resize", "gray", "canny"} <= {stage.name for stage in reply.stages}, "the stages used here are listed")
    for stage in reply.stages:
        request = pb.MsgRequest(config=pb.StreamConfig(pipeline=stage.example))
        try:
            if stage.example:
                stream(stub, [request])
        except grpc.RpcError as error:
            # An example may name a model that this server does not have, and nothing else may be wrong with it.
            missing = error.code() == grpc.StatusCode.NOT_FOUND and "unknown model" in error.details()
            holds(stage.group == "model" and missing, f"the example `{stage.example}`: {error.details()}")
    holds({pb.JPEG, pb.PNG, pb.RAW} <= {codec.encoding for codec in reply.codecs}, "the encodings used here are listed")


CHECKS = [
    describe_tells_what_there_is,
    frames_come_back_in_order,
    a_frame_may_come_with_the_first_config,
    no_config_is_needed,
    raw_frames_come_back_bit_for_bit,
    gray_is_opencvs,
    a_change_begins_at_its_frame,
    a_bad_frame_is_reported_in_its_place,
    a_bad_frame_may_end_the_stream,
    a_bad_pipeline_is_refused,
    a_reply_needs_no_picture,
    the_sender_numbers_its_frames,
    the_window_is_bounded,
    frames_over_the_rate_are_dropped,
    newer_frames_replace_those_that_wait,
    a_client_may_go_away,
]


# --- What they are made of -------------------------------------------------------------------------------


def stream(stub, requests, replies=None):
    """Sends these requests and returns the replies, which also land in `replies` as they come."""
    replies = [] if replies is None else replies
    for reply in stub.Analyse(iter(requests), timeout=TIMEOUT_SECONDS):
        replies.append(reply)
    return replies


def account(stub, video, config):
    """Streams the video; returns the numbers of the answered frames, and the reason for each dropped one."""
    requests = [pb.MsgRequest(config=config), *(pb.MsgRequest(img=jpeg) for jpeg in video.jpegs)]
    answered, dropped, order = [], {}, []
    for reply in stream(stub, requests)[1:]:
        if reply.HasField("dropped"):
            run = range(reply.dropped.first, reply.dropped.first + reply.dropped.count)
            dropped.update(dict.fromkeys(run, reply.dropped.reason))
            order.extend(run)
        else:
            no_error(reply)
            answered.append(reply.sequence)
            order.append(reply.sequence)
    equal(sorted(order), list(range(FRAMES)), "frames that were accounted for")
    equal(answered, sorted(answered), "order of the answers")
    return answered, dropped


def picture(reply):
    image = cv2.imdecode(np.frombuffer(reply.img, np.uint8), cv2.IMREAD_UNCHANGED)
    holds(image is not None, f"the picture of frame {reply.sequence} can be read")
    return image


def fails(codes, call):
    """Makes a call that must fail with this status code, or one of these."""
    codes = codes if isinstance(codes, tuple) else (codes,)
    try:
        call()
    except grpc.RpcError as error:
        holds(error.code() in codes, f"{error.code().name} ({error.details()}) is the status")
        return error
    raise AssertionError(f"the call went well, and should have failed with {codes[0].name}")


def no_error(reply):
    holds(not reply.HasField("error"), f"frame {reply.sequence} has no error ({reply.error.message})")


def same(image, expected, what):
    equal(image.shape, expected.shape, f"{what}: shape")
    differ = np.count_nonzero(image != expected)
    holds(differ == 0, f"{what} is as expected ({differ} samples differ)")


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: expected {expected}, found {found}")


def holds(condition, what):
    if not condition:
        raise AssertionError(f"not so: {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--check", action="append", choices=[check.__name__ for check in CHECKS], help="only this one")
    args = parser.parse_args()
    video = Video(args.video)
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
    failed = 0
    with grpc.insecure_channel(args.server, options=options) as channel:
        for check in CHECKS:
            if args.check and check.__name__ not in args.check:
                continue
            try:
                check(services.ImageTestStub(channel), video)
                print(f"ok: {check.__name__}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"FAILED: {check.__name__}: {error}", flush=True)
            except grpc.RpcError as error:
                failed += 1
                print(f"FAILED: {check.__name__}: {error.code().name}: {error.details()}", flush=True)
            except Exception:  # a failure too, whatever it is, and the other checks go on
                failed += 1
                print(f"FAILED: {check.__name__}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
