"""One model, registered through TorchServe's management, asked through every protocol: it is there at once for the
clients of all of them, and gives all of them the same numbers. The services of all are on each of the server's addresses.
"""

import json

import grpc

import stubs
from checks import equal, holds, parser, run
from torchserve_client import Client as TorchServe
from torchserve_client import archive

kserve_pb, kserve = stubs.load(stubs.PROTOS, "grpc_service.proto", "model_config.proto")
mindspore_pb, mindspore = stubs.load(file="mindspore/ms_service.proto")
ray_pb, ray = stubs.load(file="ray/serve.proto")
image_pb, image = stubs.load()

NAME = "cats"
TIMEOUT_SECONDS = 120
# Scores are written with six decimals here and there.
NEAR = 2e-6


class Server:
    """One of the addresses of a server, and TorchServe's client for all of it."""

    def __init__(self, address, torchserve):
        channel = grpc.insecure_channel(address)
        self.torchserve = torchserve
        self.kserve = kserve.GRPCInferenceServiceStub(channel)
        self.mindspore = mindspore.MSServiceStub(channel)
        self.ray = ray.RayServeAPIServiceStub(channel)
        self.image = image.ImageTestStub(channel)
        self.predictions = type(torchserve.inference)(channel)

    def names(self):
        """What the clients of KServe and of Ray Serve are told is there."""
        index = self.kserve.RepositoryIndex(kserve_pb.RepositoryIndexRequest(ready=True), timeout=TIMEOUT_SECONDS)
        applications = self.ray.ListApplications(ray_pb.ListApplicationsRequest(), timeout=TIMEOUT_SECONDS)
        return {model.name for model in index.models}, set(applications.application_names)

    def by_torchserve(self, picture):
        return json.loads(self.torchserve.infer(self.predictions).prediction)

    def by_kserve(self, picture, name=NAME, metadata=()):
        metadata_of = self.kserve.ModelMetadata(kserve_pb.ModelMetadataRequest(name=NAME), timeout=TIMEOUT_SECONDS)
        request = kserve_pb.ModelInferRequest(model_name=name)
        taken = request.inputs.add(name=metadata_of.inputs[0].name, datatype="BYTES", shape=[1])
        taken.contents.bytes_contents.append(picture)
        request.outputs.add(name=metadata_of.outputs[0].name).parameters["classification"].int64_param = 5
        reply = self.kserve.ModelInfer(request, metadata=metadata, timeout=TIMEOUT_SECONDS)
        texts = [text.decode().split(":", 2) for text in reply.outputs[0].contents.bytes_contents]
        return {label: float(score) for score, _, label in texts}

    def by_mindspore(self, picture):
        item = mindspore_pb.Tensor(
            shape=mindspore_pb.TensorShape(dims=[1]), dtype=mindspore_pb.MS_BYTES, bytes_val=[picture]
        )
        spec = mindspore_pb.ServableSpec(name=NAME, method_name="classify_top5")
        instance = mindspore_pb.Instance(items={"image": item})
        request = mindspore_pb.PredictRequest(servable_spec=spec, instances=[instance])
        reply = self.mindspore.Predict(request, timeout=TIMEOUT_SECONDS)
        equal(list(reply.error_msg), [], "errors")
        items = reply.instances[0].items
        labels = items["label"].bytes_val[0].decode().split(";")
        scores = memoryview(items["score"].data).cast("f").tolist()
        return dict(zip(labels, scores, strict=True))

    def by_ray(self, picture):
        """A call of any service, that is sent to an application."""
        return self.by_kserve(picture, name="", metadata=(("application", NAME), ("request_id", "one")))

    def by_stream(self, picture):
        def messages():
            pipeline = f"classify={NAME}"
            reply = image_pb.ReplyFormat(encoding=image_pb.NO_PICTURE)
            yield image_pb.MsgRequest(config=image_pb.StreamConfig(pipeline=pipeline, reply_format=reply))
            yield image_pb.MsgRequest(img=picture)

        replies = [reply for reply in self.image.Analyse(messages(), timeout=TIMEOUT_SECONDS) if reply.labels]
        return {label.name: label.score for label in replies[0].labels}


def near(found, expected, what):
    """The same labels in the same order, and the same scores, as far as both are there."""
    shorter = min(len(found), len(expected))
    equal(list(found)[:shorter], list(expected)[:shorter], what)
    for label in list(found)[:shorter]:
        holds(abs(found[label] - expected[label]) < NEAR, f"{what}: {label} {found[label]} and {expected[label]}")


# --- The checks: one walk, in this order -----------------------------------------------------------------


def nobody_knows_the_model_yet(servers, _):
    for server in servers:
        index, applications = server.names()
        holds(NAME not in index and NAME not in applications, f"{NAME} is not there: {index} {applications}")


def it_is_there_for_all_at_once(servers, _):
    torchserve = servers[0].torchserve
    archive(torchserve, NAME, "1.0")
    said = torchserve.manage("RegisterModel", url=f"{NAME}.mar", initial_workers=1, synchronous=True, model_name=NAME)
    holds("registered with 1 initial workers" in said, said)
    for server in servers:
        index, applications = server.names()
        holds(NAME in index and NAME in applications, f"{NAME} is there: {index} {applications}")
        equal(server.ray.Healthz(ray_pb.HealthzRequest(), timeout=TIMEOUT_SECONDS).message, "success", "health")


def all_get_the_same_numbers(servers, picture):
    expected = servers[0].by_torchserve(picture)
    equal(len(expected), 5, "classes")
    holds("cat" in next(iter(expected)), f"it is a cat: {expected}")
    for number, server in enumerate(servers):
        for way in ("by_torchserve", "by_kserve", "by_mindspore", "by_ray", "by_stream"):
            near(getattr(server, way)(picture), expected, f"{way} on address {number}")


def it_is_gone_for_all_at_once(servers, picture):
    servers[0].torchserve.manage("UnregisterModel", model_name=NAME)
    nobody_knows_the_model_yet(servers, picture)
    for server in servers:
        try:
            server.by_kserve(picture)
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.NOT_FOUND, "code")
        else:
            raise AssertionError("it still answers")


CHECKS = [
    nobody_knows_the_model_yet,
    it_is_there_for_all_at_once,
    all_get_the_same_numbers,
    it_is_gone_for_all_at_once,
]


def main():
    arguments = parser(__doc__)
    for name in ("inference", "management", "store", "classifier", "cat"):
        arguments.add_argument(f"--{name}", required=True)
    arguments.add_argument("--key-file")
    arguments.add_argument("--also", action="append", default=[], help="another address of the same server")
    options = arguments.parse_args()
    torchserve = TorchServe(options)
    servers = [Server(address, torchserve) for address in [options.server, *options.also]]
    run(CHECKS, options.check, servers, torchserve.cat.read_bytes())


if __name__ == "__main__":
    main()
