"""The server that one writes in Python with grpcio and OpenCV, written as well as such a server can be.

It answers Analyse of protos/imageTest.proto with one pipeline, chosen when it starts. OpenCV and JPEG work
outside the interpreter's lock, so streams run in parallel, and with --window so do the frames of one stream.

    .deps/peers/bin/python benches/peers/opencv_server.py --pipeline 'gray|canny' --listen 127.0.0.1:0

With --style the operation is a TorchScript model that paints, which torch of .deps/models runs.
"""

import argparse
import concurrent.futures
import functools
import importlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading

import cv2
import grpc
import numpy as np

PROTOS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "protos")
# Each open stream holds one thread of the server's pool.
MAX_STREAMS = 64
# The same as frameserve's defaults.
MAX_MESSAGE_BYTES = 64 << 20
JPEG_QUALITY = 85

CHANNELS = {"GRAY8": 1, "BGR24": 3}


def canny(frame):
    return cv2.Canny(frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 50, 150)


PIPELINES = {
    "": lambda frame: frame,
    "gray|canny": canny,
    "blur": lambda frame: cv2.GaussianBlur(frame, (5, 5), 0),
    "resize=640x360": lambda frame: cv2.resize(frame, (640, 360)),
}


def load_stubs():
    with tempfile.TemporaryDirectory() as out:
        # A process of its own: grpc_tools and Debian's cv2, each with its libprotobuf, do not go together.
        compiler = [sys.executable, "-m", "grpc_tools.protoc"]
        arguments = [f"-I{PROTOS}", f"--python_out={out}", f"--grpc_python_out={out}", "imageTest.proto"]
        subprocess.run(compiler + arguments, check=True)
        sys.path.insert(0, out)
        return importlib.import_module("imageTest_pb2"), importlib.import_module("imageTest_pb2_grpc")


pb, services = load_stubs()


class ImageTest(services.ImageTestServicer):
    """One pipeline, on every stream."""

    def __init__(self, pipeline, process, window, threads):
        self.name = pipeline
        self.process = process
        self.window = window
        self.pool = concurrent.futures.ThreadPoolExecutor(threads) if window > 1 else None

    def Analyse(self, requests, context):
        tasks = self.tasks(requests)
        if self.pool is None:
            return (task() for task in tasks)
        return self.in_parallel(tasks)

    def tasks(self, requests):
        """What is to be done for each request, in order: functions that give a reply."""
        count = 0
        reply_format = pb.ReplyFormat()
        for request in requests:
            if request.HasField("config"):
                reply_format = request.config.reply_format
                settings = pb.StreamSettings(pipeline=self.name, reply_format=reply_format, window=self.window)
                yield functools.partial(pb.MsgReply, settings=settings)
                if not request.img:
                    continue
            count += 1
            yield functools.partial(self.answer, request, reply_format, count)

    def in_parallel(self, tasks):
        """A thread reads ahead by so many frames as the window has, and the replies leave in order."""
        waiting = queue.Queue(self.window)

        def read():
            try:
                for task in tasks:
                    waiting.put(self.pool.submit(task))
            except grpc.RpcError:
                pass  # the client went away
            finally:
                waiting.put(None)

        threading.Thread(target=read, daemon=True).start()
        reply = waiting.get()
        try:
            while reply is not None:
                yield reply.result()
                reply = waiting.get()
        finally:
            # Where the client went away, the reader may be waiting for room.
            while reply is not None:
                reply = waiting.get()

    def answer(self, request, reply_format, count):
        sequence = request.sequence if request.HasField("sequence") else count - 1
        reply = pb.MsgReply(reply=count, sequence=sequence)
        if request.HasField("timestamp_us"):
            reply.timestamp_us = request.timestamp_us
        frame = decode(request)
        if frame is None:
            reply.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            reply.error.message = "this is no picture"
            return reply
        frame = self.process(frame)
        reply.height, reply.width = frame.shape[:2]
        reply.encoding = reply_format.encoding or (pb.RAW if request.encoding == pb.RAW else pb.JPEG)
        reply.img = encode(frame, reply.encoding, reply_format)
        if reply.encoding == pb.RAW:
            reply.pixel_format = pb.GRAY8 if frame.ndim == 2 else pb.BGR24
        return reply


def decode(request):
    if request.encoding != pb.RAW:
        return cv2.imdecode(np.frombuffer(request.img, np.uint8), cv2.IMREAD_UNCHANGED)
    channels = CHANNELS.get(pb.PixelFormat.Name(request.pixel_format))
    if channels is None or len(request.img) != request.height * request.width * channels:
        return None
    shape = (request.height, request.width) if channels == 1 else (request.height, request.width, channels)
    return np.frombuffer(request.img, np.uint8).reshape(shape)


def encode(frame, encoding, reply_format):
    if encoding == pb.RAW:
        return frame.tobytes()
    if encoding == pb.NO_PICTURE:
        return b""
    if encoding == pb.PNG:
        return cv2.imencode(".png", frame)[1].tobytes()
    # OpenCV's own chroma subsampling is 4:2:0.
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, reply_format.quality or JPEG_QUALITY])[1].tobytes()


def painter(args):
    # Torch has to read it when it is imported: what is set later holds for the thread that sets it.
    if args.torch_threads:
        os.environ["OMP_NUM_THREADS"] = str(args.torch_threads)
    paint = importlib.import_module("style").load(args.style, optimized=False, channels_last=args.channels_last)
    for size in args.warm_up:
        width, height = map(int, size.split("x"))
        # The interpreter optimises a graph in its first runs.
        for _ in range(3):
            paint(np.zeros((height, width, 3), np.uint8))
    return lambda frame: paint(frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:50051", help="port 0 for one that is free")
    parser.add_argument("--pipeline", default="", help="one of: " + ", ".join(map(repr, PIPELINES)))
    parser.add_argument("--style", help="a TorchScript model that paints: what --pipeline is a name for")
    parser.add_argument("--torch-threads", type=int, help="that a frame is painted with; if not told, torch chooses")
    parser.add_argument("--channels-last", action="store_true", help="the memory format, which suits some models")
    parser.add_argument("--warm-up", nargs="*", default=[], help="WIDTHxHEIGHT of what is painted before it listens")
    parser.add_argument("--window", type=int, default=1, help="frames of one stream that are worked on at a time")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that work on them")
    args = parser.parse_args()
    if args.style is None and args.pipeline not in PIPELINES:
        parser.error(f"--pipeline {args.pipeline!r} is not known, and there is no --style")
    process = PIPELINES[args.pipeline] if args.style is None else painter(args)

    # With one frame at a time, OpenCV's own threads are all the parallelism there is; else they are in the way.
    cv2.setNumThreads(1 if args.window > 1 else args.threads)
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(MAX_STREAMS), options=options)
    servicer = ImageTest(args.pipeline, process, args.window, args.threads)
    services.add_ImageTestServicer_to_server(servicer, server)
    port = server.add_insecure_port(args.listen)
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(grace=1))
    print(f"listening on {args.listen.rpartition(':')[0]}:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
