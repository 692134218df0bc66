"""Triton's own Python client, held against a server that was started with the flags below.

    frameserve-server --server-name triton --model-repository tests/python/models --config pipelines.toml

where pipelines.toml names the pipeline `edges = "canny"`. With --pid the last check ends that server.
"""

import os
import queue
import signal
import struct
import zlib

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from checks import equal, holds, parser, run
from triton_client import TIMEOUT_SECONDS, fails, given

PIPELINES = ["edges", "invert | canny"]


def png():
    """A picture of one gray pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\x80")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + pixels


class Server:
    def __init__(self, address, pid):
        self.client = triton.InferenceServerClient(address)
        self.pid = pid
        # Its models are loaded after it has begun to listen.
        while not self.client.is_server_ready(client_timeout=TIMEOUT_SECONDS):
            pass


# --- The checks ------------------------------------------------------------------------------------------


def the_name_is_the_one_it_was_given(server):
    equal(server.client.get_server_metadata().name, "triton", "name")


def models_stay_where_clients_may_not_change_them(server):
    begins = "explicit model load / unload is not allowed if polling is enabled"
    fails(server.client.load_model, "identity", code="UNAVAILABLE", begins=begins)
    fails(server.client.unload_model, "identity", code="UNAVAILABLE", begins=begins)
    holds(server.client.is_model_ready("identity"), "it is as it was")


def pipelines_are_models(server):
    client = server.client
    for name in PIPELINES:
        holds(client.is_model_ready(name), f"{name} is ready")
        metadata = client.get_model_metadata(name)
        equal((metadata.name, metadata.platform, list(metadata.versions)), (name, "opencv_pipeline", ["1"]), "metadata")
        inputs = [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs]
        equal(inputs, [("image", "BYTES", [-1])], "inputs")
        equal([each.name for each in metadata.outputs], ["image", "findings"], "outputs")
        equal(client.get_model_config(name).config.platform, "opencv_pipeline", "platform")
        before = successes(client, name)
        pictures = given("image", np.array([png()] * 2, np.object_), "BYTES")
        for codec, begins in ((None, b"\x89PNG"), ("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")):
            found = client.infer(name, [pictures], parameters={"codec": codec} if codec else None).as_numpy("image")
            holds(all(each.startswith(begins) for each in found) and len(found) == 2, f"{found} are two of {codec}")
        pixels = np.full((2, 3, 3), 7, np.uint8)
        edges = client.infer(name, [given("image", pixels)]).as_numpy("image")
        equal((edges.dtype, edges.shape, edges.max()), (np.uint8, (2, 3, 1), 0), "edges of what has none")
        equal(successes(client, name) - before, 5, "requests that succeeded")
    index = {each.name: each.state for each in client.get_model_repository_index().models}
    equal(index["edges"], "READY", "a pipeline that has a name is listed")


def who_is_still_connected_is_told_that_the_server_ends(server):
    client, refused = server.client, queue.Queue()
    row = given("INPUT0", np.zeros((1, 2), np.float32))
    # They wait for company; three may, and that the fourth was refused says that the others are there.
    calls = [client.async_infer("waiting", [row], lambda result, error: refused.put(error)) for _ in range(4)]
    equal(refused.get(timeout=TIMEOUT_SECONDS).status(), "StatusCode.UNAVAILABLE", "the fourth")
    os.kill(server.pid, signal.SIGTERM)
    try:
        while client.is_server_ready():
            pass
        raise AssertionError("it says that it is not ready, in place of why")
    except InferenceServerException as error:
        equal((error.status(), error.message()), ("StatusCode.UNAVAILABLE", "Server exiting"), "readiness")
    fails(client.is_model_ready, "identity", code="UNAVAILABLE", text="Server exiting")
    text = "GRPC server is shutting down and has stopped accepting new requests."
    fails(client.infer, "waiting", [row], code="UNAVAILABLE", text=text)
    for call in calls:
        call.cancel()


CHECKS = [
    the_name_is_the_one_it_was_given,
    models_stay_where_clients_may_not_change_them,
    pipelines_are_models,
]


def successes(client, name):
    [counts] = client.get_inference_statistics(name).model_stats
    return counts.inference_stats.success.count


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--pid", type=int, help="the server's process, which the last check ends")
    args = arguments.parse_args()
    last = [who_is_still_connected_is_told_that_the_server_ends] if args.pid else []
    run(CHECKS + last, args.check, Server(args.server, args.pid))


if __name__ == "__main__":
    main()
