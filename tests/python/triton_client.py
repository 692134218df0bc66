"""Triton's own Python client, held against a server with the models of tests/python/models.

The server is to let models be loaded by its clients. Which of them are loaded does not matter: each check loads
what it needs. Codes and texts of errors are those that programs written for Triton look for.
"""

import asyncio
import json
import queue
import time
import uuid

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.utils.shared_memory as shared_memory
from ml_dtypes import bfloat16
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from checks import equal, holds, parser, run

MODELS = ["identity", "types", "pair", "scores", "waiting"]
# A check that got no answer for so long has failed.
TIMEOUT_SECONDS = 60
TYPES = {
    "BOOL": np.array([True, False, True]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 65535], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-32768, 32767], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "FP16": np.array([0.5, -65504], np.float16),
    "BF16": np.array([0.5, -3e38], bfloat16),
    "FP32": np.array([0.1, np.inf], np.float32),
    "FP64": np.array([0.1, -np.inf], np.float64),
    "BYTES": np.array([b"", b"\x00\xff", "grüße".encode()], np.object_),
}


class Server:
    """A client, and the stub below it for messages that the client would not send."""

    def __init__(self, address):
        self.address = address
        self.client = triton.InferenceServerClient(address)
        self.channel = grpc.insecure_channel(address)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        for model in MODELS:
            self.client.load_model(model)


# --- The checks: what goes well --------------------------------------------------------------------------


def the_server_tells_of_itself(server):
    client = server.client
    holds(client.is_server_live() and client.is_server_ready(), "the server lives and is ready")
    holds(client.is_model_ready("identity") and client.is_model_ready("identity", "1"), "a model is ready")
    metadata = client.get_server_metadata()
    equal(metadata.name, "frameserve", "name")
    holds("binary_tensor_data" in metadata.extensions, "extensions are listed")
    metadata = client.get_model_metadata("pair")
    equal((metadata.name, list(metadata.versions)), ("pair", ["1"]), "name and versions")
    inputs = [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs]
    equal(inputs, [("INPUT0", "INT32", [-1, 16]), ("INPUT1", "INT32", [-1, 16])], "inputs")
    config = client.get_model_config("pair").config
    equal((config.name, config.backend, config.max_batch_size), ("pair", "identity", 8), "config")


def every_type_comes_back_as_it_went(server):
    inputs = [given(f"IN_{name}", values, name) for name, values in TYPES.items()]
    result = server.client.infer("types", inputs, request_id="types")
    equal(result.get_response().id, "types", "id")
    for name, values in TYPES.items():
        found = result.as_numpy(f"OUT_{name}")
        holds(np.array_equal(found.astype(values.dtype), values), f"{name}: {found} is {values}")


def typed_is_answered_with_typed(server):
    request = message("identity", [tensor("INPUT0", "FP32", [1, 2])])
    request.inputs[0].contents.fp32_contents.extend([0.5, 2.0])
    reply = server.stub.ModelInfer(request)
    equal(list(reply.outputs[0].contents.fp32_contents), [0.5, 2.0], "contents")
    equal(len(reply.raw_output_contents), 0, "raw contents")
    request.parameters["binary_data_output"].bool_param = True
    reply = server.stub.ModelInfer(request)
    equal(reply.raw_output_contents[0], np.array([0.5, 2.0], np.float32).tobytes(), "raw contents, as asked for")


def outputs_are_those_that_were_asked_for(server):
    values = np.arange(16, dtype=np.int32).reshape(1, 16)
    inputs = [given("INPUT0", values), given("INPUT1", -values)]
    result = server.client.infer("pair", inputs, outputs=[triton.InferRequestedOutput("OUTPUT1")])
    equal([output.name for output in result.get_response().outputs], ["OUTPUT1"], "outputs")
    holds(np.array_equal(result.as_numpy("OUTPUT1"), -values), "it is the second input")


def the_best_classes_are_named(server):
    scores = np.array([[0.1, 0.7, 0.0, 0.2], [0.4, 0.3, 0.2, 0.1]], np.float32)
    output = triton.InferRequestedOutput("OUTPUT0", class_count=2)
    found = server.client.infer("scores", [given("INPUT0", scores)], outputs=[output]).as_numpy("OUTPUT0")
    equal(found.shape, (2, 2), "shape")
    words = [[text.decode().split(":") for text in row] for row in found]
    equal([[word[1:] for word in row] for row in words], [[["1", "dog"], ["3", "owl"]], [["0", "cat"], ["1", "dog"]]], "classes")
    holds(np.allclose([[float(word[0]) for word in row] for row in words], [[0.7, 0.2], [0.4, 0.3]]), "scores")


def what_goes_along_with_a_request_is_taken(server):
    values = np.ones((1, 3), np.float32)
    own = {"text": "x", "number": 3, "share": 0.5, "truth": True}
    for more in (
        {"priority": 1, "timeout": 60_000_000, "parameters": own, "headers": {"request_id": "mine", "x-other": "1"}},
        # No model here keeps anything for a sequence, so that any request can be part of one.
        {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
        {"sequence_id": "seven", "sequence_start": True},
    ):
        result = server.client.infer("identity", [given("INPUT0", values)], **more)
        holds(np.array_equal(result.as_numpy("OUTPUT0"), values), f"it is answered with {more}")
    headers = {"application": "no-such"}
    begins = "Application 'no-such' not found."
    fails(server.client.infer, "identity", [given("INPUT0", values)], headers=headers, code="NOT_FOUND", begins=begins)


def compressed_calls_are_understood(server):
    values = np.zeros((1, 100_000), np.float32)
    for algorithm in ("gzip", "deflate"):
        result = server.client.infer("identity", [given("INPUT0", values)], compression_algorithm=algorithm)
        holds(np.array_equal(result.as_numpy("OUTPUT0"), values), algorithm)


def calls_that_do_not_wait_are_answered(server):
    results = queue.Queue()
    for number in range(20):
        values = np.full((1, 3), number, np.float32)
        server.client.async_infer("identity", [given("INPUT0", values)], lambda result, error: results.put((result, error)))
    found = [results.get(timeout=TIMEOUT_SECONDS) for _ in range(20)]
    holds(all(error is None for _, error in found), "none failed")
    equal(sorted(result.as_numpy("OUTPUT0")[0, 0] for result, _ in found), list(range(20)), "results")


def asyncio_works_too(server):
    async def calls():
        async with triton_aio.InferenceServerClient(server.address) as client:
            holds(await client.is_model_ready("identity"), "the model is ready")
            values = [np.full((1, 2), number, np.float32) for number in range(10)]
            results = await asyncio.gather(*(client.infer("identity", [given("INPUT0", each)]) for each in values))
            holds(all(np.array_equal(r.as_numpy("OUTPUT0"), v) for r, v in zip(results, values)), "results")

            async def requests():
                for number, each in enumerate(values):
                    yield {"model_name": "identity", "inputs": [given("INPUT0", each)], "request_id": str(number)}

            stream = client.stream_infer(requests())
            ids = [result.get_response().id async for result, error in stream]
            equal(ids, [str(number) for number in range(10)], "order")

    asyncio.run(asyncio.wait_for(calls(), TIMEOUT_SECONDS))


def asyncio_says_how_requests_are_to_be_treated(server):
    async def calls():
        async with triton_aio.InferenceServerClient(server.address) as client:
            values = np.full((1, 1000), 0.5, np.float32)
            for algorithm in (None, "gzip", "deflate"):
                result = await client.infer(
                    "identity", [given("INPUT0", values)], priority=1, timeout=60_000_000,
                    client_timeout=TIMEOUT_SECONDS, compression_algorithm=algorithm, parameters={"mine": 1},
                )  # fmt: skip
                holds(np.array_equal(result.as_numpy("OUTPUT0"), values), f"{algorithm}")
            before = executions(server, "waiting")
            row = given("INPUT0", np.zeros((1, 2), np.float32))
            for late in ({"timeout": 1000}, {"client_timeout": 0.01}):
                await fails_later(client.infer("waiting", [row], priority=2, **late), code="DEADLINE_EXCEEDED")
            equal(executions(server, "waiting"), before, "runs of the model")

    asyncio.run(asyncio.wait_for(calls(), TIMEOUT_SECONDS))


def asyncio_has_the_same_calls(server):
    """Each of them once; what they answer is looked at elsewhere."""

    async def calls(region):
        async with triton_aio.InferenceServerClient(server.address) as client:
            holds(await client.is_server_live() and await client.is_server_ready(), "the server lives and is ready")
            equal((await client.get_server_metadata()).name, "frameserve", "server")
            equal((await client.get_model_metadata("pair")).name, "pair", "metadata")
            equal((await client.get_model_config("pair")).config.max_batch_size, 8, "config")
            await client.load_model("unloaded")
            await client.unload_model("unloaded")
            index = {each.name for each in (await client.get_model_repository_index()).models}
            holds("unloaded" in index, f"{index} has the model")
            [counts] = (await client.get_inference_statistics("pair")).model_stats
            equal(counts.name, "pair", "statistics")
            await client.register_system_shared_memory(region.name, region.key, 64)
            status = await client.get_system_shared_memory_status(region.name)
            equal(status.regions[region.name].byte_size, 64, "region")
            await client.unregister_system_shared_memory(region.name)
            await client.unregister_cuda_shared_memory()
            for call in (client.get_cuda_shared_memory_status(), client.register_cuda_shared_memory("x", b"AAAA", 0, 64)):
                await fails_later(call, code="UNIMPLEMENTED")
            await fails_later(client.infer("no-such", []), code="NOT_FOUND")
            settings = (await client.get_trace_settings()).settings
            await client.update_trace_settings(settings={"trace_rate": settings["trace_rate"].value[0]})
            info = (await client.get_log_settings()).settings["log_info"].bool_param
            await client.update_log_settings({"log_info": info})

    with Region(64) as region:
        asyncio.run(asyncio.wait_for(calls(region), TIMEOUT_SECONDS))


def streams_are_answered_in_order_and_survive_errors(server):
    results = queue.Queue()
    # A client has one stream at a time.
    with triton.InferenceServerClient(server.address) as client:
        client.start_stream(lambda result, error: results.put((result, error)))
        for number in range(40):
            model = "no-such" if number % 7 == 3 else "identity"
            values = np.full((1, 1000), number, np.float32)
            client.async_stream_infer(
                model, [given("INPUT0", values)], request_id=str(number), enable_empty_final_response=True
            )
        for number in range(40):
            result, error = results.get(timeout=TIMEOUT_SECONDS)
            if number % 7 == 3:
                equal(error.message(), "Request for unknown model: 'no-such' is not found", f"error {number}")
                continue
            equal(error, None, f"error {number}")
            equal((result.get_response().id, result.as_numpy("OUTPUT0")[0, 0]), (str(number), number), "reply")
            final = result.get_response().parameters["triton_final_response"].bool_param
            holds(final, f"reply {number} is the final one")
        client.stop_stream()
    holds(results.empty(), "there are no further replies")


def who_cancels_a_stream_waits_for_nothing(server):
    before = executions(server, "waiting")
    row = given("INPUT0", np.zeros((1, 2), np.float32))
    results = queue.Queue()
    with triton.InferenceServerClient(server.address) as client:
        client.start_stream(lambda result, error: results.put((result, error)))
        client.async_stream_infer("identity", [given("INPUT0", np.zeros((1, 2), np.float32))])
        _, error = results.get(timeout=TIMEOUT_SECONDS)
        equal(error, None, "error of the first")
        # These wait for ten seconds.
        for _ in range(2):
            client.async_stream_infer("waiting", [row])
        client.stop_stream(cancel_requests=True)
    # They never reach the model: a whole batch is run as one, without them.
    full = given("INPUT0", np.zeros((8, 2), np.float32))
    server.client.infer("waiting", [full], client_timeout=TIMEOUT_SECONDS)
    equal(executions(server, "waiting") - before, 1, "runs of the model")


def streams_may_end_with_the_first_error(server):
    requests = [fp32("identity", [1, 1]), message("no-such", [])]
    metadata = [("triton_grpc_error", "true")]
    replies = server.stub.ModelStreamInfer(iter(requests), metadata=metadata, timeout=TIMEOUT_SECONDS)
    equal(next(replies).error_message, "", "error of the first")
    status = status_of(lambda: next(replies))
    equal(status, (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'no-such' is not found"), "status")


def streams_remember_their_model(server):
    first, second = fp32("identity", [1, 2]), fp32("", [1, 2])
    replies = list(server.stub.ModelStreamInfer(iter([first, second]), timeout=TIMEOUT_SECONDS))
    equal([reply.error_message for reply in replies], ["", ""], "errors")
    equal([reply.infer_response.model_name for reply in replies], ["identity"] * 2, "models")


def statistics_count(server):
    model, client = "identity", server.client
    [before] = client.get_inference_statistics(model).model_stats
    client.infer(model, [given("INPUT0", np.zeros((7, 2), np.float32))])
    client.infer(model, [given("INPUT0", np.zeros((1, 2), np.float32))])
    fails(client.infer, model, [given("X", np.zeros((1, 2), np.float32))], code="INVALID_ARGUMENT")
    [counts] = client.get_inference_statistics(model).model_stats

    def more(count):
        return count(counts) - count(before)

    equal((counts.name, counts.version), (model, "1"), "whose they are")
    equal(more(lambda each: each.inference_count), 8, "rows")
    equal(more(lambda each: each.execution_count), 2, "runs")
    equal(more(lambda each: each.inference_stats.success.count), 2, "requests that succeeded")
    equal(more(lambda each: each.inference_stats.fail.count), 0, "what it does not take is no failure of a model")
    equal(more(lambda each: each.inference_stats.queue.count), 2, "requests that waited")
    holds(more(lambda each: each.inference_stats.success.ns) > 0, "they took time")
    sevens = {batch.batch_size: batch.compute_infer.count for batch in counts.batch_stats}.get(7)
    holds(sevens, "batches of seven are counted")
    holds(abs(counts.last_inference / 1000 - time.time()) < TIMEOUT_SECONDS, "the last request was just now")
    names = {each.name for each in client.get_inference_statistics().model_stats}
    holds(set(MODELS) <= names, f"{names} are all models")


def models_are_loaded_and_unloaded(server):
    client, model = server.client, "unloaded"
    client.unload_model(model)
    client.load_model(model)
    holds(client.is_model_ready(model), "it is ready")
    index = {each.name: each for each in client.get_model_repository_index().models}
    equal((index[model].version, index[model].state), ("1", "READY"), "index")
    client.load_model(model, config=json.dumps({**IDENTITY, "max_batch_size": 3}))
    equal(client.get_model_config(model).config.max_batch_size, 3, "max_batch_size as it was asked for")
    client.load_model(model)
    equal(client.get_model_config(model).config.max_batch_size, 8, "max_batch_size as it lies on disk")
    client.unload_model(model, unload_dependents=True)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while index[model].state in ("READY", "UNLOADING") and time.monotonic() < deadline:
        index = {each.name: each for each in client.get_model_repository_index().models}
    equal((index[model].state, index[model].reason), ("UNAVAILABLE", "unloaded"), "index")
    fails(client.is_model_ready, model, code="NOT_FOUND", text="Request for unknown model: 'unloaded' has no available versions")
    values = given("INPUT0", np.zeros((1, 2), np.float32))
    text = "Request for unknown model: 'unloaded' version 1 is not at ready state"
    for call in (client.is_model_ready, client.get_model_metadata, client.get_model_config):
        fails(call, model, "1", code="UNAVAILABLE", text=text)
    fails(client.infer, model, [values], model_version="1", code="UNAVAILABLE", text=text)
    client.unload_model("no-such")


def kserves_own_messages_load_too(server):
    reply = server.stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(repository_name="identity"))
    # Its fields are unknown to this client, and skipped: 1 is the name, 2 says yes.
    equal(reply.SerializeToString(), b"\x0a\x08identity\x10\x01", "reply")


def mlservers_own_messages_are_understood(server):
    """Written by hand, field by field, since its package would bring names that this client's has too."""

    def call(method, request):
        return server.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(request, timeout=TIMEOUT_SECONDS)

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    # 1 is the repository, which need not have a name, and 2 the model.
    for request in (field(2, b"unloaded"), field(1, b"") + field(2, b"unloaded")):
        call("RepositoryModelLoad", request)
        holds(server.client.is_model_ready("unloaded"), "it is loaded")
        call("RepositoryModelUnload", request)
        fails(server.client.is_model_ready, "unloaded", code="NOT_FOUND")
    # 2: only what is ready.
    index = pb.RepositoryIndexResponse.FromString(call("RepositoryIndex", b"\x10\x01"))
    equal({each.state for each in index.models}, {"READY"}, "states")
    # Its content types are parameters of the request, of inputs and of outputs.
    content_type = field(1, b"content_type") + field(2, field(3, b"np"))
    values = np.array([1.5, -2.0], np.float32)
    tensor = field(1, b"INPUT0") + field(2, b"FP32") + field(3, b"\x01\x02") + field(4, content_type)
    tensor += field(5, field(6, values.tobytes()))
    asked = field(1, b"OUTPUT0") + field(2, content_type)
    request = field(1, b"identity") + field(3, b"mine") + field(4, content_type) + field(5, tensor) + field(6, asked)
    reply = pb.ModelInferResponse.FromString(call("ModelInfer", request))
    equal((reply.id, list(reply.outputs[0].contents.fp32_contents)), ("mine", [1.5, -2.0]), "typed, as it came")


def tensors_lie_in_shared_memory(server):
    client = server.client
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    values = np.arange(32, dtype=np.int32).reshape(1, 32)
    with Region(256) as inputs, Region(256) as outputs:
        shared_memory.set_shared_memory_region(inputs.handle, [values])
        client.register_system_shared_memory(inputs.name, inputs.key, 256)
        client.register_system_shared_memory(outputs.name, outputs.key, 128, offset=128)
        regions = client.get_system_shared_memory_status().regions
        equal((regions[outputs.name].offset, regions[outputs.name].byte_size), (128, 128), "status")
        first, second = triton.InferInput("INPUT0", [1, 16], "INT32"), triton.InferInput("INPUT1", [1, 16], "INT32")
        first.set_shared_memory(inputs.name, 64)
        second.set_shared_memory(inputs.name, 64, offset=64)
        asked = triton.InferRequestedOutput("OUTPUT1")
        asked.set_shared_memory(outputs.name, 64, offset=64)
        plain = triton.InferRequestedOutput("OUTPUT0")
        result = client.infer("pair", [first, second], outputs=[asked, plain])
        found = shared_memory.get_contents_as_numpy(outputs.handle, np.int32, [16], offset=192)
        holds(np.array_equal(found, values[0, 16:]), "the output is in the region")
        holds(np.array_equal(result.as_numpy("OUTPUT0")[0], values[0, :16]), "the other is in the reply")
        equal(list(result.get_output("OUTPUT1").shape), [1, 16], "the shape is in the reply")
        # One from shared memory, one from the message.
        second = given("INPUT1", values[:, :16])
        result = client.infer("pair", [first, second])
        holds(np.array_equal(result.as_numpy("OUTPUT1"), values[:, :16]), "raw contents are for the other input")


def shared_memory_has_its_errors(server):
    client = server.client
    client.unregister_system_shared_memory()
    with Region(64) as region:
        name, key = region.name, region.key
        register = client.register_system_shared_memory
        fails(register, name, key, 65, code="INVALID_ARGUMENT", begins=f"failed to register shared memory region '{name}'")
        fails(register, name, key, 1, offset=2**63, code="INVALID_ARGUMENT", begins="failed to register shared memory")
        fails(register, name, "/no-such-" + key[1:], 64, code="INTERNAL", begins="Unable to open shared memory region")
        for wrong in ("", "/", "///", "..", "/../etc/passwd", "a/b"):
            fails(register, name, wrong, 64, code="INVALID_ARGUMENT", begins="cannot register shared memory region")
        register(name, key, 64)
        fails(register, name, key, 64, code="ALREADY_EXISTS", text=f"shared memory region '{name}' already in manager")
        fails(
            client.get_system_shared_memory_status, "no-such",
            code="NOT_FOUND", text="Unable to find system shared memory region: 'no-such'",
        )  # fmt: skip
        client.unregister_system_shared_memory("no-such")

        def infer(region, size, offset=0):
            tensor = triton.InferInput("INPUT0", [1, 16], "FP32")
            tensor.set_shared_memory(region, size, offset)
            return client.infer("identity", [tensor])

        fails(infer, "no-such", 64, code="NOT_FOUND", text="Unable to find shared memory region: 'no-such'")
        fails(infer, name, 64, 64, code="INVALID_ARGUMENT", text=f"Invalid offset for shared memory region: '{name}'")
        fails(infer, name, 64, 1, code="INVALID_ARGUMENT", text=f"Invalid offset + byte size for shared memory region: '{name}'")
        fails(infer, name, 60, code="INVALID_ARGUMENT", ends="Expected 64, got 60")
        asked = triton.InferRequestedOutput("OUTPUT0")
        asked.set_shared_memory(name, 4)
        values = given("INPUT0", np.zeros((1, 16), np.float32))
        fails(
            client.infer, "identity", [values], outputs=[asked], code="INTERNAL",
            text="shared memory size specified with the request for output 'OUTPUT0' (4 bytes) should be at least 64 "
            "bytes to hold the results",
        )  # fmt: skip
        infer(name, 64)
        with open(f"/dev/shm{key}", "r+b") as file:
            file.truncate(8)
        fails(infer, name, 64, code="INVALID_ARGUMENT", begins=f"shared memory region '{name}' can't be used")
        holds(client.is_server_live(), "the server lives when a region is cut short")


def cuda_shared_memory_is_refused(server):
    client = server.client
    fails(client.register_cuda_shared_memory, "x", b"AAAA", 0, 64, code="UNIMPLEMENTED", begins="CUDA shared memory is not supported")
    fails(client.get_cuda_shared_memory_status, code="UNIMPLEMENTED", begins="CUDA shared memory is not supported")
    fails(client.unregister_cuda_shared_memory, "x", code="UNIMPLEMENTED", begins="CUDA shared memory is not supported")
    client.unregister_cuda_shared_memory()


def log_settings_are_kept(server):
    client = server.client

    def settings():
        return dict(client.get_log_settings().settings)

    before = settings()
    equal(set(before), {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"}, "keys")
    try:
        client.update_log_settings({"log_verbose_level": 1, "log_info": False})
        equal((settings()["log_verbose_level"].uint32_param, settings()["log_info"].bool_param), (1, False), "settings")
        for wrong in (
            ("log_info", "uint32_param", 1),
            ("log_verbose_level", "string_param", "loud"),
            ("log_format", "string_param", "rot13"),
            ("log_colour", "bool_param", True),
        ):
            request = pb.LogSettingsRequest()
            setattr(request.settings[wrong[0]], *wrong[1:])
            code, _ = status_of(lambda: server.stub.LogSettings(request))
            equal(code, grpc.StatusCode.INVALID_ARGUMENT, wrong[0])
        fails(client.update_log_settings, {"log_file": "/tmp/x"}, code="UNIMPLEMENTED", begins="log file location")
    finally:
        client.update_log_settings({"log_verbose_level": 0, "log_info": True})


def trace_settings_are_kept(server):
    client = server.client
    equal(list(client.get_trace_settings().settings["trace_level"].value), ["OFF"], "level")
    client.update_trace_settings("identity", {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "5"})
    mine = client.get_trace_settings("identity").settings
    equal((list(mine["trace_level"].value), list(mine["trace_rate"].value)), (["TIMESTAMPS", "TENSORS"], ["5"]), "model's")
    equal(list(client.get_trace_settings().settings["trace_rate"].value), ["1000"], "server's")
    client.update_trace_settings("identity", {"trace_level": None, "trace_rate": None})
    equal(list(client.get_trace_settings("identity").settings["trace_rate"].value), ["1000"], "cleared")
    fails(client.update_trace_settings, settings={"trace_rate": "fast"}, code="INVALID_ARGUMENT")
    fails(client.get_trace_settings, "no-such", code="NOT_FOUND")


# --- The checks: what is refused, by Triton's codes and texts ----------------------------------------------


def unknown_models_are_not_found(server):
    client = server.client
    text = "Request for unknown model: 'no-such' is not found"
    for call in (client.is_model_ready, client.get_model_metadata, client.get_model_config):
        fails(call, "no-such", code="NOT_FOUND", text=text)
    fails(client.infer, "no-such", [], code="NOT_FOUND", text=text)
    text = "Request for unknown model: 'identity' version 3 is not found"
    for call in (client.is_model_ready, client.get_model_metadata, client.get_model_config):
        fails(call, "identity", "3", code="NOT_FOUND", text=text)
    fails(client.get_inference_statistics, "no-such", code="INVALID_ARGUMENT", text="requested model 'no-such' is not available")
    text = "requested model version is not available for model 'identity'"
    fails(client.get_inference_statistics, "identity", "3", code="INVALID_ARGUMENT", text=text)
    text = "failed to get model version from specified version string 'x'"
    fails(client.is_model_ready, "identity", "x", code="INVALID_ARGUMENT", begins=text)
    fails(client.is_model_ready, "identity", "-1", code="INVALID_ARGUMENT", begins="invalid model version specified '-1'")


def wrong_inputs_are_told(server):
    client = server.client
    values = np.zeros((1, 16), np.int32)

    def refused(model, inputs, text, **more):
        prefix = f"[request id: {more.get('request_id', '<id_unknown>')}] "
        fails(client.infer, model, inputs, code="INVALID_ARGUMENT", text=prefix + text, **more)

    refused(
        "pair", [given("INPUT0", values)],
        "expected 2 inputs but got 1 inputs for model 'pair'. Got input(s) ['INPUT0'], but missing required input(s) "
        "['INPUT1']. Please provide all required input(s).",
    )  # fmt: skip
    refused("pair", [given("INPUT0", values), given("X", values)], "unexpected inference input 'X' for model 'pair'")
    refused("pair", [given("INPUT0", values)] * 2, "input 'INPUT0' already exists in request")
    floats = np.zeros((1, 16), np.float32)
    refused(
        "pair", [given("INPUT0", floats), given("INPUT1", values)],
        "inference input 'INPUT0' data-type is 'FP32', but model 'pair' expects 'INT32'", request_id="float",
    )  # fmt: skip
    fails(
        client.infer, "pair", [given("INPUT0", values[:, :5]), given("INPUT1", values)], code="INVALID_ARGUMENT",
        begins="[request id: <id_unknown>] unexpected shape for input 'INPUT0' for model 'pair'. Expected [-1,16], got [1,5].",
    )  # fmt: skip
    many = np.zeros((9, 16), np.int32)
    refused("pair", [given("INPUT0", many), given("INPUT1", many)], "inference request batch-size must be <= 8 for 'pair'")
    outputs = [triton.InferRequestedOutput("X")]
    both = [given("INPUT0", values), given("INPUT1", values)]
    refused("pair", both, "unexpected inference output 'X' for model 'pair'", outputs=outputs)
    outputs = [triton.InferRequestedOutput("OUTPUT0")] * 2
    refused("pair", both, "output 'OUTPUT0' already exists in request", outputs=outputs)


def wrong_data_is_told(server):
    def refused(request, text):
        equal(status_of(lambda: server.stub.ModelInfer(request)), (grpc.StatusCode.INVALID_ARGUMENT, text), "status")

    of = "input 'INPUT0' for model 'identity'"
    unknown = "[request id: <id_unknown>] "
    request = fp32("identity", [1, 16], data=bytes(60))
    refused(request, f"{unknown}input byte size mismatch for {of}. Expected 64, got 60")
    request = fp32("identity", [1, -1], data=bytes(4))
    refused(request, f"{unknown}All input dimensions should be specified for {of}, got [1,-1]")
    request = message("identity", [tensor("INPUT0", "FP32", [1, 1])])
    refused(request, "unable to find data for input tensor 'INPUT0' for model 'identity' in request.")
    request = fp32("identity", [1, 1], data=bytes(4))
    request.inputs[0].contents.fp32_contents.append(1)
    refused(request, "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'identity'")
    request = message("identity", [tensor("INPUT0", "FP32", [1, 1])])
    request.inputs[0].contents.int_contents.append(1)
    refused(
        request,
        "unexpected explicit tensor data for input tensor 'INPUT0' for model 'identity' of type 'INT32', expected "
        "datatype 'FP32'",
    )
    request = fp32("identity", [1, 1], data=bytes(4))
    request.raw_input_contents.append(bytes(4))
    refused(
        request,
        "the number of inputs (1) does not match the expected number of raw input contents (2) for model 'identity'.",
    )
    of = "for inference input 'IN_BYTES' for model 'types'"
    for data, text in (
        (b"\x01\x00", f"incomplete string length indicator {of}, expecting 4 bytes but only 2 bytes available. Please "
                      "make sure the string length indicator is in one buffer."),
        (bytes(8), f"unexpected number of string elements 2 {of}, expecting 1"),
        (b"", f"expected 1 string elements {of}, got 0"),
    ):  # fmt: skip
        request = message("types", [tensor("IN_BYTES", "BYTES", [1])], [data])
        refused(request, unknown + text)


def wrong_parameters_are_told(server):
    for key, field, value, expected in (
        ("sequence_id", "bool_param", True, "int64_param or string_param"),
        ("sequence_start", "int64_param", 1, "bool_param"),
        ("sequence_end", "int64_param", 1, "bool_param"),
        ("priority", "string_param", "1", "int64_param or uint64_param"),
        ("timeout", "string_param", "1", "int64_param"),
    ):
        request = fp32("identity", [1, 1])
        setattr(request.parameters[key], field, value)
        text = f"invalid value type for '{key}' parameter, expected {expected}."
        equal(status_of(lambda: server.stub.ModelInfer(request)), (grpc.StatusCode.INVALID_ARGUMENT, text), key)
    request = fp32("identity", [1, 1])
    request.parameters["triton_secret"].bool_param = True
    code, text = status_of(lambda: server.stub.ModelInfer(request))
    equal(code, grpc.StatusCode.INVALID_ARGUMENT, "code")
    holds(text.startswith("parameter keys starting with 'triton_' are reserved"), text)


def the_repository_has_its_errors(server):
    text = "failed to load 'not-there', failed to poll from model repository"
    fails(server.client.load_model, "not-there", code="INTERNAL", text=text)
    named = "'repository_name' specification is not supported"
    for call in (
        lambda: server.stub.RepositoryIndex(pb.RepositoryIndexRequest(repository_name="r")),
        lambda: server.stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(repository_name="r", model_name="m")),
        lambda: server.stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(repository_name="r", model_name="m")),
    ):
        equal(status_of(call), (grpc.StatusCode.UNIMPLEMENTED, named), "status")
    request = pb.RepositoryModelLoadRequest(model_name="identity")
    request.parameters["colour"].string_param = "red"
    call = lambda: server.stub.RepositoryModelLoad(request)  # noqa: E731
    equal(status_of(call), (grpc.StatusCode.INVALID_ARGUMENT, "unrecognized load parameter 'colour'."), "status")
    fails(server.client.load_model, "identity", config="{not json", code=None)
    holds(server.client.is_model_ready("identity"), "a model that can't be loaded anew goes on as it was")


def what_is_too_large_or_malformed_has_its_code(server):
    raw = server.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    equal(status_of(lambda: raw(b"\xff\xff\xff"))[0], grpc.StatusCode.INVALID_ARGUMENT, "malformed")
    status = status_of(lambda: raw(bytes(256 << 20)))
    equal(status[0], grpc.StatusCode.RESOURCE_EXHAUSTED, f"too large: {status[1]}")
    holds("--max-message-bytes" in status[1], f"{status[1]} names the flag")


def requests_wait_no_longer_than_they_may(server):
    """One row waits for seven others for up to ten seconds; it gives up first, and never reaches the model."""
    values = given("INPUT0", np.zeros((1, 2), np.float32))
    before = executions(server, "waiting")
    begin = time.monotonic()
    fails(server.client.infer, "waiting", [values], client_timeout=0.3, code="DEADLINE_EXCEEDED")
    # The server, which may hear later than its client that time is up, has by the time that it answers this one.
    fails(server.client.infer, "waiting", [values], timeout=200_000, code="DEADLINE_EXCEEDED")
    holds(time.monotonic() - begin < 5, "both gave up long before the batch would have been run")
    # A whole batch that comes now is run as one, without those that have gone.
    full = given("INPUT0", np.zeros((8, 2), np.float32))
    server.client.infer("waiting", [full], client_timeout=5)
    equal(executions(server, "waiting") - before, 1, "runs of the model")


def the_queue_is_bounded(server):
    """Three requests may wait; of four that come at a time, one is refused, and at once."""
    values = given("INPUT0", np.zeros((1, 2), np.float32))
    results = queue.Queue()
    infer = server.client.async_infer
    calls = [infer("waiting", [values], lambda result, error: results.put(error)) for _ in range(4)]
    try:
        error = results.get(timeout=5)
        equal(error.status(), "StatusCode.UNAVAILABLE", "status")
        holds("Exceeds maximum queue size" in error.message(), error.message())
        holds(results.empty(), "the others wait")
    finally:
        for call in calls:
            call.cancel()


CHECKS = [
    the_server_tells_of_itself,
    every_type_comes_back_as_it_went,
    typed_is_answered_with_typed,
    outputs_are_those_that_were_asked_for,
    the_best_classes_are_named,
    what_goes_along_with_a_request_is_taken,
    compressed_calls_are_understood,
    calls_that_do_not_wait_are_answered,
    asyncio_works_too,
    asyncio_says_how_requests_are_to_be_treated,
    asyncio_has_the_same_calls,
    streams_are_answered_in_order_and_survive_errors,
    who_cancels_a_stream_waits_for_nothing,
    streams_may_end_with_the_first_error,
    streams_remember_their_model,
    statistics_count,
    models_are_loaded_and_unloaded,
    kserves_own_messages_load_too,
    mlservers_own_messages_are_understood,
    tensors_lie_in_shared_memory,
    shared_memory_has_its_errors,
    cuda_shared_memory_is_refused,
    log_settings_are_kept,
    trace_settings_are_kept,
    unknown_models_are_not_found,
    wrong_inputs_are_told,
    wrong_data_is_told,
    wrong_parameters_are_told,
    the_repository_has_its_errors,
    what_is_too_large_or_malformed_has_its_code,
    requests_wait_no_longer_than_they_may,
    the_queue_is_bounded,
]


# --- What they are made of ---------------------------------------------------------------------------------

IDENTITY = {
    "backend": "identity",
    "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
    "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
}


class Region:
    """A region of shared memory with a name that nobody else has."""

    def __init__(self, size):
        self.name = f"checks-{uuid.uuid4().hex}"
        self.key = "/" + self.name
        self.handle = shared_memory.create_shared_memory_region(self.name, self.key, size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shared_memory.destroy_shared_memory_region(self.handle)


def given(name, values, datatype=None):
    """An input with its values as plain bytes."""
    tensor = triton.InferInput(name, list(values.shape), datatype or np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


def tensor(name, datatype, shape):
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)


def message(model, inputs, raw=()):
    return pb.ModelInferRequest(model_name=model, inputs=inputs, raw_input_contents=list(raw))


def fp32(model, shape, data=None):
    """A message with one input, with zeros unless it says otherwise."""
    return message(model, [tensor("INPUT0", "FP32", shape)], [bytes(4 * int(np.prod(shape))) if data is None else data])


def executions(server, model):
    [counts] = server.client.get_inference_statistics(model).model_stats
    return counts.execution_count


def fails(call, *arguments, code, text=None, begins="", ends="", **more):
    """Makes a call that must fail with this code, or any if it is None, and a text."""
    try:
        call(*arguments, **more)
    except InferenceServerException as error:
        if code is not None:
            equal(error.status(), f"StatusCode.{code}", f"status of: {error.message()}")
        found = error.message()
        if text is not None:
            equal(found, text, "text")
        holds(found.startswith(begins), f"`{found}` begins with `{begins}`")
        holds(found.endswith(ends), f"`{found}` ends with `{ends}`")
        return
    raise AssertionError(f"the call went well, and should have failed with {code}")


async def fails_later(call, code):
    try:
        await call
    except InferenceServerException as error:
        equal(error.status(), f"StatusCode.{code}", f"status of: {error.message()}")
        return
    raise AssertionError(f"the call went well, and should have failed with {code}")


def status_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("the call went well, and should have failed")


def main():
    args = parser(__doc__).parse_args()
    run(CHECKS, args.check, Server(args.server))


if __name__ == "__main__":
    main()
