"""Triton's own Python client, which brings a model's files along: a server that loads models at its clients' wish.

    python triton_files.py --model tests/models/add.pt
"""

import json
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from checks import equal, holds, parser, run
from triton_client import fails, given

NAME = "brought"
CONFIG = json.dumps(
    {
        "backend": "pytorch",
        "input": [{"name": name, "data_type": "TYPE_FP32", "dims": [-1]} for name in ("a", "b")],
        "output": [{"name": name, "data_type": "TYPE_FP32", "dims": [-1]} for name in ("sum", "difference")],
    }
)


def a_model_comes_with_its_files(client, model):
    client.load_model(NAME, config=CONFIG, files={"file:3/model.pt": model})
    equal(list(client.get_model_metadata(NAME).versions), ["3"], "versions")
    answers(client)


def files_that_are_no_model_leave_the_old_one_serving(client, model):
    for wrong in (b"no TorchScript", model[: len(model) // 2]):
        fails(client.load_model, NAME, config=CONFIG, files={"file:3/model.pt": wrong}, code="INTERNAL")
        answers(client)
    fails(client.load_model, NAME, config=CONFIG, files={"file:../3/model.pt": model}, code=None)
    # Neither do they lie in the repository.
    client.unload_model(NAME)
    text = f"failed to load '{NAME}', failed to poll from model repository"
    fails(client.load_model, NAME, code="INTERNAL", text=text)


CHECKS = [a_model_comes_with_its_files, files_that_are_no_model_leave_the_old_one_serving]


def answers(client):
    a, b = np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)
    result = client.infer(NAME, [given("a", a), given("b", b)])
    holds(np.array_equal(result.as_numpy("sum"), a + b), "it adds")
    holds(np.array_equal(result.as_numpy("difference"), a - b), "and takes away")


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--model", required=True, help="a TorchScript archive that adds and takes away")
    args = arguments.parse_args()
    run(CHECKS, args.check, triton.InferenceServerClient(args.server), Path(args.model).read_bytes())


if __name__ == "__main__":
    main()
