"""A client that sends what TorchServe's ts_scripts/torchserve_grpc_client.py sends, held against a server with a model
store. The archive of the sample classifier is made here, by torch-model-archiver.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc

import stubs
from checks import equal, holds, parser, run

pb, services = stubs.load(stubs.PROTOS, "torchserve/inference.proto", "google/rpc/status.proto")
management_pb, management_services = stubs.load(file="torchserve/management.proto")

TIMEOUT_SECONDS = 120
NAME = "cats"
MAR = f"{NAME}.mar"


class Client:
    """Stubs as the script has them, its metadata, and where things lie."""

    def __init__(self, arguments):
        self.inference = services.InferenceAPIsServiceStub(grpc.insecure_channel(arguments.inference))
        # Its services are on the server's own port, too.
        self.beside = services.InferenceAPIsServiceStub(grpc.insecure_channel(arguments.server))
        self.management = management_services.ManagementAPIsServiceStub(grpc.insecure_channel(arguments.management))
        self.elsewhere = management_services.ManagementAPIsServiceStub(grpc.insecure_channel(arguments.server))
        self.store = Path(arguments.store)
        self.classifier = Path(arguments.classifier)
        self.cat = Path(arguments.cat)
        keys = json.loads(Path(arguments.key_file).read_text()) if arguments.key_file else None
        self.inference_metadata = metadata(keys and keys["inference"]["key"])
        self.management_metadata = metadata(keys and keys["management"]["key"])

    def manage(self, call, **fields):
        request = getattr(management_pb, f"{call}Request")(**fields)
        reply = getattr(self.management, call)(request, metadata=self.management_metadata, timeout=TIMEOUT_SECONDS)
        return reply.msg

    def infer(self, stub=None, **fields):
        request = pb.PredictionsRequest(model_name=NAME, input={"data": self.cat.read_bytes()}, **fields)
        stub = stub or self.inference
        return stub.Predictions(request, metadata=self.inference_metadata, timeout=TIMEOUT_SECONDS)


def metadata(token):
    """What the script sends with every call."""
    always = (("protocol", "gRPC"), ("session_id", "12345"))
    return always + (("authorization", f"Bearer {token}"),) if token else always


def archive(client, name, version, *more):
    """Makes an archive of the sample classifier in the model store."""
    with tempfile.TemporaryDirectory() as folder:
        names = client.classifier.joinpath("labels.txt").read_text().splitlines()
        index = Path(folder, "index_to_name.json")
        index.write_text(json.dumps({str(number): name for number, name in enumerate(names)}))
        command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", name]
        command += ["--version", version, "--serialized-file", str(client.classifier / "1" / "model.pt")]
        command += ["--handler", "image_classifier", "--extra-files", str(index)]
        command += ["--export-path", str(client.store), "--force", *more]
        # It gathers files in a folder of the model's name, which another run may have too.
        environment = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        equal(done.returncode, 0, f"torch-model-archiver ends well: {done.stdout}{done.stderr}")


def refused(call, code, text):
    try:
        call()
    except grpc.RpcError as error:
        equal(error.code(), code, "code")
        holds(text in error.details(), f"`{text}` is in `{error.details()}`")
        return
    raise AssertionError(f"it was not refused with {code}: {text}")


# --- The checks: one walk, in this order -----------------------------------------------------------------


def the_server_is_well(client):
    from google.protobuf.empty_pb2 import Empty

    reply = client.inference.Ping(Empty(), metadata=client.inference_metadata, timeout=TIMEOUT_SECONDS)
    equal(reply.health, '{\n  "status": "Healthy"\n}', "health")


def a_model_is_registered_from_a_local_archive(client):
    archive(client, NAME, "1.0")
    said = client.manage("RegisterModel", url=MAR, initial_workers=1, synchronous=True, model_name=NAME)
    equal(said, f'Model "{NAME}" Version: 1.0 registered with 1 initial workers', "reply")
    again = dict(url=MAR, initial_workers=1, synchronous=True, model_name=NAME)
    refused(lambda: client.manage("RegisterModel", **again), grpc.StatusCode.UNKNOWN, "already registered")
    remote = f"https://torchserve.s3.amazonaws.com/mar_files/{MAR}"
    refused(lambda: client.manage("RegisterModel", url=remote), grpc.StatusCode.NOT_FOUND, "does not match any allowed URL")


def a_cat_is_called_a_cat(client):
    for stub in (client.inference, client.beside):
        classes = json.loads(client.infer(stub).prediction.decode("utf-8"))
        equal(len(classes), 5, "classes")
        scores = list(classes.values())
        equal(scores, sorted(scores, reverse=True), "scores, the best first")
        holds("cat" in next(iter(classes)), f"it is a cat: {classes}")
    encoded = base64.b64encode(client.cat.read_bytes())
    request = pb.PredictionsRequest(model_name=NAME, input={"body": encoded})
    reply = client.inference.Predictions(request, metadata=client.inference_metadata, timeout=TIMEOUT_SECONDS)
    equal(json.loads(reply.prediction), classes, "the same, in base64 and under the other key")


def streams_answer_the_same(client):
    expected = client.infer().prediction
    request = pb.PredictionsRequest(model_name=NAME, input={"data": client.cat.read_bytes()})
    replies = client.inference.StreamPredictions(request, metadata=client.inference_metadata, timeout=TIMEOUT_SECONDS)
    equal([reply.prediction for reply in replies], [expected], "replies to one request")
    with_id = pb.PredictionsRequest(sequence_id="12", **fields(request))
    requests = [with_id, request, pb.PredictionsRequest(sequence_id="12", model_name="nothing"), with_id]
    replies = list(
        client.inference.StreamPredictions2(iter(requests), metadata=client.inference_metadata, timeout=TIMEOUT_SECONDS)
    )
    equal([reply.prediction for reply in replies], [expected, b"", b"", expected], "replies in a stream")
    said = [reply.status.message for reply in replies]
    equal(said, ["", "Parameter sequenceId is required.", "Model not found: nothing", ""], "statuses in a stream")


def fields(request):
    return {"model_name": request.model_name, "input": dict(request.input)}


def workers_are_scaled_and_described(client):
    said = client.manage("ScaleWorker", model_name=NAME, min_worker=2, synchronous=True)
    equal(said, f"Workers scaled to 2 for model: {NAME}", "reply")
    [described] = json.loads(client.manage("DescribeModel", model_name=NAME))
    equal([worker["status"] for worker in described["workers"]], ["READY", "READY"], "workers")
    found = [described[key] for key in ("modelName", "modelVersion", "modelUrl", "minWorkers", "runtime")]
    equal(found, [NAME, "1.0", MAR, 2, "python"], "description")
    [described] = json.loads(client.manage("DescribeModel", model_name=NAME, customized=True))
    equal(described["customizedMetadata"]["inputs"][0]["shape"], [-1, 3, 224, 224], "what it says of itself")


def models_are_listed(client):
    listed = json.loads(client.manage("ListModels", limit=10))
    holds({"modelName": NAME, "modelUrl": MAR} in listed["models"], f"it is listed: {listed}")


def another_version_becomes_the_default(client):
    archive(client, NAME, "2.0", "--archive-format", "zip-store")
    said = client.manage("RegisterModel", url=MAR, model_name=NAME, initial_workers=1, synchronous=True)
    equal(said, f'Model "{NAME}" Version: 2.0 registered with 1 initial workers', "reply")
    said = client.manage("SetDefault", model_name=NAME, model_version="2.0")
    equal(said, f'Default version successfully updated for model "{NAME}" to "2.0"', "reply")
    described = json.loads(client.manage("DescribeModel", model_name=NAME, model_version="all"))
    equal([version["modelVersion"] for version in described], ["1.0", "2.0"], "versions")
    for version in ("", "1.0", "2.0"):
        holds(client.infer(model_version=version).prediction, f"version `{version}` answers")
    unregister = lambda: client.manage("UnregisterModel", model_name=NAME, model_version="2.0")
    refused(unregister, grpc.StatusCode.UNKNOWN, f"Cannot remove default version for model {NAME}")


def a_model_is_unregistered(client):
    for version in ("1.0", ""):
        said = client.manage("UnregisterModel", model_name=NAME, model_version=version)
        equal(said, f'Model "{NAME}" unregistered', "reply")
    refused(client.infer, grpc.StatusCode.INTERNAL, f"Model not found: {NAME}")
    unregister = lambda: client.manage("UnregisterModel", model_name=NAME)
    refused(unregister, grpc.StatusCode.NOT_FOUND, f"Model not found: {NAME}")
    holds((client.store / MAR).exists(), "what lay in the store stays there")


def management_is_on_its_own_address_alone(client):
    request = management_pb.ListModelsRequest()
    listing = lambda: client.elsewhere.ListModels(request, metadata=client.management_metadata)
    refused(listing, grpc.StatusCode.UNIMPLEMENTED, "")


def without_its_token_nobody_is_let_in(client):
    if client.inference_metadata == metadata(None):
        return
    denied = grpc.StatusCode.PERMISSION_DENIED, "Token Authorization failed."
    request = management_pb.ListModelsRequest()
    for sent in (metadata(None), client.inference_metadata, metadata("wrong")):
        refused(lambda: client.management.ListModels(request, metadata=sent), *denied)
    for stub in (client.inference, client.beside):
        refused(lambda: stub.Predictions(pb.PredictionsRequest(), metadata=client.management_metadata), *denied)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--inference", default="127.0.0.1:7070")
    arguments.add_argument("--management", default="127.0.0.1:7071")
    arguments.add_argument("--store", required=True, help="the server's model store")
    arguments.add_argument("--classifier", required=True, help="the folder of the sample classifier")
    arguments.add_argument("--cat", required=True, help="a picture")
    arguments.add_argument("--key-file", help="the server's file of tokens")
    arguments = arguments.parse_args()
    checks = [
        the_server_is_well,
        a_model_is_registered_from_a_local_archive,
        a_cat_is_called_a_cat,
        streams_answer_the_same,
        workers_are_scaled_and_described,
        models_are_listed,
        another_version_becomes_the_default,
        a_model_is_unregistered,
        management_is_on_its_own_address_alone,
        without_its_token_nobody_is_let_in,
    ]
    run(checks, arguments.check, Client(arguments))
