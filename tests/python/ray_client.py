"""A client of Ray Serve, as its guide has one, with plain stubs: its own service, metadata of calls to all services,
applications, and models that are loaded on demand.

The server has the models of tests/python/models, of which none is loaded at the start, the pipelines `edges` and
`mirror`, the applications `shop` (the models `identity` and `scores`) and `lines` (the pipeline `edges`), and
--max-multiplexed 2. With --example, it is the example of services of one's own.
"""

import struct
import uuid

import grpc

import stubs
from checks import equal, holds, parser, run

LIST = "Ping /ray.serve.RayServeAPIService/ListApplications for available applications."
SECONDS = 60


class Server:
    """Stubs of all services."""

    def __init__(self, address):
        channel = grpc.insecure_channel(address)
        self.frames, services = stubs.load()
        self.image_test = services.ImageTestStub(channel)
        self.models, services = stubs.load(stubs.PROTOS, "grpc_service.proto", "model_config.proto")
        self.kserve = services.GRPCInferenceServiceStub(channel)
        self.ray, services = stubs.load(stubs.PROTOS, "ray/serve.proto")
        self.serve = services.RayServeAPIServiceStub(channel)

    def infer(self, model="", metadata=(), values=(0.5, -1.0, 2.0, 8.0)):
        """The model's answer, its values, and the trailing metadata."""
        tensor = self.models.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="FP32", shape=[1, len(values)])
        raw = struct.pack(f"<{len(values)}f", *values)
        request = self.models.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[raw])
        reply, call = self.kserve.ModelInfer.with_call(request, metadata=list(metadata), timeout=SECONDS)
        found = struct.unpack(f"<{len(values)}f", reply.raw_output_contents[0])
        equal(found, tuple(values), "an identity gives what it takes")
        return reply, dict(call.trailing_metadata())

    def applications(self):
        return list(self.serve.ListApplications(self.ray.ListApplicationsRequest()).application_names)

    def ready(self):
        """Names of the models that are ready."""
        index = self.kserve.RepositoryIndex(self.models.RepositoryIndexRequest(ready=True))
        return {model.name for model in index.models}


# --- The checks ------------------------------------------------------------------------------------------


def the_server_is_healthy(server):
    equal(server.serve.Healthz(server.ray.HealthzRequest()).message, "success", "Healthz")


def applications_are_listed(server):
    names = server.applications()
    holds({"edges", "lines", "mirror", "shop"} <= set(names) and names == sorted(names), f"{names}")


def a_model_that_is_loaded_is_an_application_at_once(server):
    holds("half" not in server.applications(), "before")
    server.kserve.RepositoryModelLoad(server.models.RepositoryModelLoadRequest(model_name="half"))
    holds("half" in server.applications(), "after")
    server.kserve.RepositoryModelUnload(server.models.RepositoryModelUnloadRequest(model_name="half"))
    holds("half" not in server.applications(), "and gone again")


def calls_of_every_service_have_their_id_back(server):
    """Those that go well, those that fail, and streams."""
    live, empty = server.models.ServerLiveRequest(), server.frames.DescribeRequest()
    listed = server.ray.ListApplicationsRequest()
    for method, request in [
        (server.serve.ListApplications, listed),
        (server.kserve.ServerLive, live),
        (server.image_test.Describe, empty),
    ]:
        _, call = method.with_call(request, metadata=[("request_id", "mine")])
        equal(dict(call.trailing_metadata())["request_id"], "mine", "given")
        _, call = method.with_call(request)
        made = dict(call.trailing_metadata())["request_id"]
        equal(uuid.UUID(made).version, 4, f"made: {made}")
    for metadata, expected in [([("request_id", "mine")], "mine"), ([], None)]:
        error = refused(lambda: server.infer("no-such", metadata))
        equal(error.code(), grpc.StatusCode.NOT_FOUND, "unknown model")
        found = dict(error.trailing_metadata())["request_id"]
        equal(found, expected or str(uuid.UUID(found)), "of an error")
    frames = server.image_test.Analyse(iter([picture(server)]), metadata=[("request_id", "frames")])
    equal(len(list(frames)), 1, "replies")
    equal(dict(frames.trailing_metadata())["request_id"], "frames", "of a stream")
    broken = server.image_test.Analyse(iter([configured(server, "no-such")]), metadata=[("request_id", "broken")])
    refused(lambda: list(broken))
    equal(dict(broken.trailing_metadata())["request_id"], "broken", "of a stream that fails")
    requests = iter([server.models.ModelInferRequest(model_name="no-such")])
    stream = server.kserve.ModelStreamInfer(requests, metadata=[("request_id", "tensors")])
    equal(len(list(stream)), 1, "replies")
    equal(dict(stream.trailing_metadata())["request_id"], "tensors", "of a stream of tensors")


def an_id_that_is_too_long_is_refused(server):
    error = refused(lambda: server.infer("identity", [("request_id", "x" * 256)]))
    equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT, "code")
    holds("request_id" in error.details() and "255" in error.details(), error.details())


def applications_have_their_models_and_no_others(server):
    load(server, "identity", "scores")
    reply, _ = server.infer("scores", [("application", "shop")])
    equal(reply.model_name, "scores", "one of it")
    reply, _ = server.infer("", [("application", "identity")])
    equal(reply.model_name, "identity", "the only one of it")
    for model, application, text in [
        ("identity", "nowhere", f"Application 'nowhere' not found. {LIST}"),
        ("", "", "Request for unknown model: '' is not found"),
        ("half", "shop", "Application 'shop' has no model 'half': it has 'identity', 'scores'"),
    ]:
        error = refused(lambda: server.infer(model, [("application", application)]))
        equal((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, text), application)
    error = refused(lambda: server.infer("", [("application", "shop")]))
    equal(error.code(), grpc.StatusCode.NOT_FOUND, "which of them")
    unload(server, "identity", "scores")


def applications_have_their_pipelines_and_no_others(server):
    def stream(*messages, application="lines"):
        return list(server.image_test.Analyse(iter(messages), metadata=[("application", application)]))

    equal(len(stream(picture(server))), 1, "its only one")
    settings, _ = stream(configured(server, "edges"), picture(server))
    equal(settings.settings.pipeline, "canny", "by its name")
    for pipeline in ["mirror", "flip", "canny"]:
        error = refused(lambda: stream(configured(server, pipeline)))
        text = f"Application 'lines' has no pipeline '{pipeline}': it has 'edges'"
        equal((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, text), pipeline)
    error = refused(lambda: stream(picture(server), application="nowhere"))
    equal((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, f"Application 'nowhere' not found. {LIST}"), "")


def models_are_loaded_on_demand_and_make_room_for_others(server):
    equal(server.ready() & {"identity", "scores", "unloaded"}, set(), "at the start")
    for model, ready in [
        ("identity", {"identity"}),
        ("scores", {"identity", "scores"}),
        ("identity", {"identity", "scores"}),
        ("unloaded", {"identity", "unloaded"}),
        ("scores", {"scores", "unloaded"}),
    ]:
        reply, _ = server.infer("whatever", [("multiplexed_model_id", model)])
        equal(reply.model_name, model, "who answers")
        equal(server.ready() & {"identity", "scores", "unloaded"}, ready, f"after {model}")
    load(server, "unloaded", "scores", "identity")
    metadata = [("multiplexed_model_id", "half")]
    request = server.models.ModelMetadataRequest(name="whatever")
    equal(server.kserve.ModelMetadata(request, metadata=metadata).name, "half", "metadata")
    holds({"unloaded", "scores", "identity", "half"} <= server.ready(), "what was loaded otherwise stays")
    error = refused(lambda: server.infer("identity", [("multiplexed_model_id", "no-such")]))
    text = "Request for unknown model: 'no-such' is not found"
    equal((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, text), "one that is not there")
    unload(server, "unloaded", "scores", "identity", "half")


CHECKS = [
    the_server_is_healthy,
    applications_are_listed,
    a_model_that_is_loaded_is_an_application_at_once,
    calls_of_every_service_have_their_id_back,
    an_id_that_is_too_long_is_refused,
    applications_have_their_models_and_no_others,
    applications_have_their_pipelines_and_no_others,
    models_are_loaded_on_demand_and_make_room_for_others,
]


# --- The example -----------------------------------------------------------------------------------------


class Example:
    """Stubs of the example's services."""

    def __init__(self, address, picture, url, best):
        channel = grpc.insecure_channel(address)
        self.messages, services = stubs.load(stubs.EXAMPLES, "user_defined_protos.proto")
        self.stub = services.UserDefinedServiceStub(channel)
        self.images = services.ImageClassificationServiceStub(channel)
        self.ray, services = stubs.load(stubs.PROTOS, "ray/serve.proto")
        self.serve = services.RayServeAPIServiceStub(channel)
        self.picture, self.url, self.best = picture, url, best

    def message(self):
        return self.messages.UserDefinedMessage(name="foo", num=30, origin="bar")

    def predict(self, metadata=(), **image):
        return self.images.Predict.with_call(self.messages.ImageData(**image), metadata=list(metadata))


def a_call_is_answered(server):
    metadata = [("application", "app1"), ("request_id", "123")]
    reply, call = server.stub.__call__.with_call(server.message(), metadata=metadata)
    equal((reply.greeting, reply.num), ("Hello foo from bar", 60), "reply")
    trailing = dict(call.trailing_metadata())
    equal((trailing["request_id"], trailing["num"]), ("123", "30"), "trailing metadata")
    equal(call.code(), grpc.StatusCode.OK, "code")


def a_model_is_chosen(server):
    metadata = [("application", "app1"), ("multiplexed_model_id", "app1_1")]
    reply = server.stub.Multiplexing(server.messages.UserDefinedMessage2(), metadata=metadata)
    equal(reply.greeting, "Method2 called model, loading model: app1_1", "reply")


def a_stream_is_answered(server):
    call = server.stub.Streaming(server.message(), metadata=[("application", "app1"), ("request_id", "7")])
    found = [(reply.greeting, reply.num) for reply in call]
    equal(found, [(f"{i}: Hello foo from bar", 60 + i) for i in range(10)], "replies")
    equal(dict(call.trailing_metadata())["request_id"], "7", "id")


def errors_have_their_codes(server):
    error = refused(lambda: server.stub.__call__(server.message(), metadata=[("application", "app3")]))
    text = f"Application 'app3' not found. {LIST}"
    equal((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, text), "unknown application")
    uuid.UUID(dict(error.trailing_metadata())["request_id"])
    error = refused(lambda: server.stub.__call__(server.messages.UserDefinedMessage(num=2**62)))
    equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT, "too large a number")


def applications_of_the_example_are_listed(server):
    names = server.serve.ListApplications(server.ray.ListApplicationsRequest()).application_names
    holds({"app1", "app2"} <= set(names), f"{names}")
    equal(server.serve.Healthz(server.ray.HealthzRequest()).message, "success", "Healthz")


def pictures_are_classified(server):
    for image in [{"filename": server.picture}, {"url": f"file://{server.picture}"}, {"url": server.url}]:
        reply, call = server.predict([("application", "app2")], **image)
        holds(server.best in reply.classes[0], f"{image}: {reply.classes}")
        equal(len(reply.classes), len(reply.probabilities), "a probability for each")
        holds(list(reply.probabilities) == sorted(reply.probabilities, reverse=True), "the best first")
        holds("model" in dict(call.trailing_metadata()), "trailing metadata")


def pictures_come_from_allowed_places_only(server):
    denied, invalid = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
    for image, code in [
        ({"filename": "/etc/passwd"}, denied),
        ({"filename": "../../../../../../../../etc/passwd"}, denied),
        ({"filename": "no-such.png"}, denied),
        ({"url": "file:///etc/passwd"}, denied),
        ({"url": "http://203.0.113.1/cat.jpg"}, denied),
        ({"url": "ftp://203.0.113.1/cat.jpg"}, invalid),
        ({"url": "no url"}, invalid),
        ({}, invalid),
        ({"url": server.url + "-is-not-there"}, grpc.StatusCode.NOT_FOUND),
    ]:
        error = refused(lambda: server.predict(**image))
        equal(error.code(), code, f"{image}: {error.details()}")


EXAMPLE_CHECKS = [
    a_call_is_answered,
    a_model_is_chosen,
    a_stream_is_answered,
    errors_have_their_codes,
    applications_of_the_example_are_listed,
    pictures_are_classified,
    pictures_come_from_allowed_places_only,
]


# --- What they are made of ---------------------------------------------------------------------------------


def refused(call):
    """The error of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call went well, and should have failed")


def picture(server):
    return server.frames.MsgRequest(img=bytes(64), width=8, height=8)


def configured(server, pipeline):
    return server.frames.MsgRequest(config=server.frames.StreamConfig(pipeline=pipeline))


def load(server, *models):
    for model in models:
        server.kserve.RepositoryModelLoad(server.models.RepositoryModelLoadRequest(model_name=model))


def unload(server, *models):
    for model in models:
        server.kserve.RepositoryModelUnload(server.models.RepositoryModelUnloadRequest(model_name=model))


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--example", nargs=3, metavar=("PICTURE", "URL", "CLASS"))
    args = arguments.parse_args()
    if args.example:
        run(EXAMPLE_CHECKS, args.check, Example(args.server, *args.example))
    run(CHECKS, args.check, Server(args.server))


if __name__ == "__main__":
    main()
