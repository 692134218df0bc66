"""Holds what a server makes of models against what Python's torch made of them: what torch_models.py wrote.

The server has two repositories, FOLDER/models and samples/models, all of it loaded, and lets clients load models.
Each request is sent twice: to the model as the server optimises it, and to the model as it was saved.
"""

import json
import queue
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from ml_dtypes import bfloat16

from checks import equal, holds, parser, run

# How far apart numbers may be: parts of the expected one, or of 1 where that is smaller. Others are to be equal.
AS_SAVED = {"FP64": 1e-10, "FP32": 1e-5, "FP16": 1e-2, "BF16": 2e-2}
OPTIMISED = {**AS_SAVED, "FP32": 1e-4}
NETWORK = "fp32_network"
TIMEOUT_SECONDS = 60


class Server:
    def __init__(self, address, folder):
        self.client = triton.InferenceServerClient(address)
        self.cases = json.loads((folder / "cases.json").read_text())
        for case in self.cases:
            for tensor in case["inputs"] + case["outputs"]:
                values = np.load(folder / tensor["file"])
                tensor["values"] = values.view(bfloat16) if tensor["datatype"] == "BF16" else values
        self.models = sorted({case["model"] for case in self.cases})


# --- The checks ------------------------------------------------------------------------------------------


def every_datatype_is_tried(server):
    tried = {tensor["datatype"] for case in server.cases for tensor in case["outputs"]}
    equal(len(tried), 13, f"datatypes among {sorted(tried)}")
    rows = {case["inputs"][0]["values"].shape[0] for case in server.cases if case["model"] == NETWORK}
    holds(len(rows) > 1, f"{NETWORK} is asked for batches of several sizes")


def optimised_models_give_what_torch_gives(server):
    compare(server, OPTIMISED)


def requests_that_share_a_batch_get_their_own(server):
    """Single rows of one large request, all at a time."""
    [case] = [each for each in server.cases if each["model"] == NETWORK and len(each["inputs"][0]["values"]) == 8]
    images, expected = case["inputs"][0]["values"], case["outputs"][0]
    before = executions(server)
    results = queue.Queue()
    for row in range(8):
        tensor = {**case["inputs"][0], "values": images[row : row + 1]}
        answered = lambda result, error, row=row: results.put((row, result, error))  # noqa: E731
        server.client.async_infer(NETWORK, [given(tensor)], answered)
    for _ in range(8):
        row, result, error = results.get(timeout=TIMEOUT_SECONDS)
        equal(error, None, f"error of row {row}")
        difference({**expected, "values": expected["values"][row : row + 1]}, found(result, expected), OPTIMISED)
    runs = executions(server) - before
    holds(runs < 8, f"in {runs} runs of the model, some of the eight met")


def models_as_they_were_saved_give_what_torch_gives(server):
    for model in server.models:
        config = server.client.get_model_config(model, as_json=True)["config"]
        config.setdefault("parameters", {})["DISABLE_OPTIMIZED_EXECUTION"] = {"string_value": "true"}
        server.client.load_model(model, config=json.dumps(config))
    compare(server, AS_SAVED)


CHECKS = [
    every_datatype_is_tried,
    optimised_models_give_what_torch_gives,
    requests_that_share_a_batch_get_their_own,
    models_as_they_were_saved_give_what_torch_gives,
]


# --- What they are made of -------------------------------------------------------------------------------


def compare(server, tolerances):
    largest, wrong = {}, []
    for case in server.cases:
        result = server.client.infer(case["model"], [given(tensor) for tensor in case["inputs"]])
        for expected in case["outputs"]:
            try:
                much = difference(expected, found(result, expected), tolerances)
            except AssertionError as error:
                wrong.append(f"{case['model']}: {error}")
                continue
            largest[case["model"]] = max(largest.get(case["model"], 0), much)
    for model, much in largest.items():
        print(f"    {model}: {much:.1e}")
    holds(not wrong, "\n".join(wrong))


def difference(expected, values, tolerances):
    """How far apart two tensors are, which must not be too much."""
    name, datatype, wanted = expected["name"], expected["datatype"], expected["values"]
    equal(values.shape, wanted.shape, f"shape of {name}")
    if datatype not in tolerances:
        holds(np.array_equal(values, wanted), f"{name} is {wanted}, and not {values}")
        return 0
    if wanted.size == 0:
        return 0
    values, wanted = values.astype(np.float64), wanted.astype(np.float64)
    apart = np.max(np.abs(values - wanted) / np.maximum(1, np.abs(wanted)))
    holds(apart <= tolerances[datatype], f"{name} ({datatype}, {wanted.shape}) is {apart:.2e} apart")
    return apart


def given(tensor):
    values = tensor["values"]
    made = triton.InferInput(tensor["name"], list(values.shape), tensor["datatype"])
    made.set_data_from_numpy(values)
    return made


def found(result, expected):
    """An output as it came: bytes of the type that the server says it is."""
    reply = result.get_response()
    names = [output.name for output in reply.outputs]
    holds(expected["name"] in names, f"{expected['name']} is among {names}")
    at = names.index(expected["name"])
    equal(reply.outputs[at].datatype, expected["datatype"], f"datatype of {expected['name']}")
    values = np.frombuffer(reply.raw_output_contents[at], expected["values"].dtype)
    return values.reshape(list(reply.outputs[at].shape))


def executions(server):
    [counts] = server.client.get_inference_statistics(NETWORK).model_stats
    return counts.execution_count


def main():
    arguments = parser(__doc__)
    arguments.add_argument("folder", type=Path)
    args = arguments.parse_args()
    run(CHECKS, args.check, Server(args.server, args.folder))


if __name__ == "__main__":
    main()
