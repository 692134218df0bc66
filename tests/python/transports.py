"""Every service of a server over any transport that Python's grpcio has: TCP, TLS, mutual TLS, Unix domain sockets.

With --refused nothing is to work, and what grpcio says of that has to hold the text given.
"""

import pathlib

import grpc
import numpy as np
import tritonclient.grpc as triton
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import stubs
from checks import equal, holds, parser, run

pb, services = stubs.load()

TIMEOUT_SECONDS = 30
FRAMES = 20
SERVICES = {
    "ImageTest",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
}


class Way:
    """How the server is reached."""

    def __init__(self, arguments):
        self.address = arguments.server
        self.arguments = arguments
        self.options = [("grpc.max_receive_message_length", -1)]
        if arguments.name:
            self.options.append(("grpc.ssl_target_name_override", arguments.name))

    def channel(self):
        if not self.arguments.ca:
            return grpc.insecure_channel(self.address, self.options)
        read = lambda name: pathlib.Path(name).read_bytes() if name else None
        credentials = grpc.ssl_channel_credentials(
            read(self.arguments.ca), read(self.arguments.key), read(self.arguments.cert)
        )
        return grpc.secure_channel(self.address, credentials, self.options)

    def triton(self):
        if not self.arguments.ca:
            return triton.InferenceServerClient(self.address)
        return triton.InferenceServerClient(
            self.address,
            ssl=True,
            root_certificates=self.arguments.ca,
            private_key=self.arguments.key,
            certificate_chain=self.arguments.cert,
            channel_args=self.options,
        )


def health(way):
    """The whole server serves."""
    with way.channel() as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        equal(check(b"", timeout=TIMEOUT_SECONDS, wait_for_ready=True), b"\x08\x01", "an encoded SERVING")


def reflection(way):
    """What there is, is listed."""
    with way.channel() as channel:
        found = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    holds(SERVICES <= found, f"{SERVICES} are among {found}")


def frames(way):
    """A stream of frames comes back in order."""
    with way.channel() as channel:
        pixels = [bytes([index]) * 4096 for index in range(FRAMES)]
        requests = [pb.MsgRequest(img=raw, width=64, height=64) for raw in pixels]
        replies = list(services.ImageTestStub(channel).Analyse(iter(requests), timeout=TIMEOUT_SECONDS))
    equal([reply.img for reply in replies], pixels, "pictures")


def large_messages(way):
    """A raw picture in colour, which is many times what TLS seals at once."""
    raw = np.random.default_rng(7).integers(0, 256, 1920 * 1080 * 3, np.uint8).tobytes()
    request = pb.MsgRequest(img=raw, width=1920, height=1080)
    with way.channel() as channel:
        (reply,) = services.ImageTestStub(channel).Analyse(iter([request]), timeout=TIMEOUT_SECONDS)
    holds(reply.img == raw, "the picture came back unchanged")


def models(way):
    """A tensor goes through a model."""
    client = way.triton()
    client.load_model("identity")
    value = np.arange(16, dtype=np.float32).reshape(1, 16)
    given = triton.InferInput("INPUT0", value.shape, "FP32")
    given.set_data_from_numpy(value)
    found = client.infer("identity", [given]).as_numpy("OUTPUT0")
    equal(found.tolist(), value.tolist(), "the model's output")


def shared_memory(way):
    """The connection stays on this machine, so that memory may be shared."""
    equal(len(way.triton().get_system_shared_memory_status().regions), 0, "regions")


def refused(way):
    """No call comes through, and the reason can be read."""
    with way.channel() as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            check(b"", timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.UNAVAILABLE, "code")
            holds(way.arguments.refused in error.details(), f"`{way.arguments.refused}` is in `{error.details()}`")
            print(error.details())
            return
    raise AssertionError("the call came through")


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--ca", help="certificate of the server's authority; without it there is no TLS")
    arguments.add_argument("--cert", help="certificate of this client")
    arguments.add_argument("--key", help="its key")
    arguments.add_argument("--name", help="name that the server's certificate is for")
    arguments.add_argument("--refused", metavar="TEXT", help="nothing works, and the reason holds this")
    arguments = arguments.parse_args()
    checks = [health, reflection, frames, large_messages, models, shared_memory]
    run([refused] if arguments.refused is not None else checks, arguments.check, Way(arguments))


if __name__ == "__main__":
    main()
