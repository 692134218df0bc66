"""KServe's own Python client, held against a server with the models of tests/python/models."""

import asyncio

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from checks import equal, holds, parser, run

MODELS = ["identity", "fields", "half"]
TIMEOUT_SECONDS = 60
TYPES = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP32": [0.5, -2.0],
    "FP64": [0.1, -0.1],
    "BYTES": ["", "text"],
}


class Server:
    """A client, and the stub below it for the calls that the client does not have."""

    def __init__(self, address):
        self.address = address
        self.stub = services.GRPCInferenceServiceStub(grpc.insecure_channel(address))
        for model in MODELS:
            self.stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=model))

    def call(self, calls):
        """What the coroutine `calls` returns that is made from a client."""

        async def with_client():
            async with InferenceGRPCClient(self.address) as client:
                return await calls(client)

        return asyncio.run(asyncio.wait_for(with_client(), TIMEOUT_SECONDS))


# --- The checks ------------------------------------------------------------------------------------------


def the_server_and_its_models_are_ready(server):
    async def calls(client):
        return await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready("identity")

    equal(server.call(calls), (True, True, True), "live, ready, ready")


def arrays_come_back_as_they_went(server):
    """numpy goes as plain bytes, and so does the answer."""
    values = np.array([[0.5, -1.0, 3.0]], np.float32)
    [output] = infer(server, "identity", given("INPUT0", "FP32", values.shape, values)).outputs
    equal((output.name, output.datatype, list(output.shape)), ("OUTPUT0", "FP32", [1, 3]), "output")
    holds(np.array_equal(output.as_numpy(), values), "values")


def lists_come_back_as_they_went(server):
    """Lists go in fields of their type, and so does the answer."""
    inputs = [given(f"IN_{name}", name, [len(values)], list(values)) for name, values in TYPES.items()]
    found = {output.name: output for output in infer(server, "fields", *inputs).outputs}
    for name, values in TYPES.items():
        expected = [value.encode() for value in values] if name == "BYTES" else values
        equal(list(found[f"OUT_{name}"].data), expected, name)


def half_floats_come_back_as_they_went(server):
    values = np.array([0.5, -65504], np.float16)
    [output] = infer(server, "half", given("INPUT0", "FP16", [2], values)).outputs
    holds(np.array_equal(output.as_numpy(), values), "values")


def ids_come_back(server):
    values = np.zeros((1, 1), np.float32)
    equal(infer(server, "identity", given("INPUT0", "FP32", [1, 1], values), id="an id").id, "an id", "id")


def models_are_loaded_and_unloaded(server):
    request = pb.RepositoryModelLoadRequest(model_name="unloaded")
    reply = server.stub.RepositoryModelLoad(request)
    equal((reply.model_name, reply.isLoaded), ("unloaded", True), "reply to load")
    equal(server.stub.ModelReady(pb.ModelReadyRequest(name="unloaded")).ready, True, "ready")
    reply = server.stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="unloaded"))
    equal((reply.model_name, reply.isUnloaded), ("unloaded", True), "reply to unload")


def errors_have_their_codes(server):
    values = np.zeros((1, 1), np.float32)
    status = refused(server, "no-such", given("INPUT0", "FP32", [1, 1], values))
    equal(status, (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'no-such' is not found"), "unknown model")
    code, _ = refused(server, "identity", given("X", "FP32", [1, 1], values))
    equal(code, grpc.StatusCode.INVALID_ARGUMENT, "unknown input")


CHECKS = [
    the_server_and_its_models_are_ready,
    arrays_come_back_as_they_went,
    lists_come_back_as_they_went,
    half_floats_come_back_as_they_went,
    ids_come_back,
    models_are_loaded_and_unloaded,
    errors_have_their_codes,
]


# --- What they are made of ---------------------------------------------------------------------------------


def given(name, datatype, shape, values):
    return InferInput(name=name, shape=list(shape), datatype=datatype, data=values)


def infer(server, model, *inputs, id="1"):
    request = InferRequest(model_name=model, infer_inputs=list(inputs), request_id=id)
    return server.call(lambda client: client.infer(request))


def refused(server, model, *inputs):
    """Code and text of a request that must fail."""
    try:
        infer(server, model, *inputs)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("the call went well, and should have failed")


def main():
    args = parser(__doc__).parse_args()
    run(CHECKS, args.check, Server(args.server))


if __name__ == "__main__":
    main()
