"""Writes TorchScript models of every datatype, inputs for them and for the sample models, and what Python's torch
makes of these: a folder for torch_outputs.py.

    FOLDER/models/NAME/...     a repository as Triton's
    FOLDER/cases.json          the requests: model, inputs and outputs with their datatypes
    FOLDER/cases/N.npy         their tensors; of BF16 the bits, as UINT16

It runs with the Python of .deps/models.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
FLOATS = ("FP16", "BF16", "FP32", "FP64")
WHOLE = [name for name in TYPES if name not in FLOATS and name != "BOOL"]


# --- The models ------------------------------------------------------------------------------------------


class Arithmetic(nn.Module):
    """What rounds in every step."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.sin(a) * b + torch.exp(-a * a) / (b * b + 1)


class Network(nn.Module):
    """Small, and with all that libtorch folds and fuses: convolutions, norms, activations, pools."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.deep = nn.Conv2d(32, 64, 3, padding=1)
        self.wide = nn.Conv2d(64, 64, 1)
        self.last = nn.Linear(64, 10)
        self.norm.running_mean.uniform_(-0.1, 0.1)
        self.norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        x = functional.hardswish(self.wide(functional.relu6(self.deep(x))))
        return functional.softmax(self.last(x.mean(dim=[2, 3])), dim=1)


class Whole(nn.Module):
    """Whole numbers, of types with few operations of their own: 3 x + 1, which overflows, in the order reversed."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.int64).flip(0) * 3 + 1).to(x.dtype)


class Exclusive(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.logical_xor(a, b)


class Several(nn.Module):
    """Outputs of several types and shapes, one of them with as many elements as it finds."""

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        best, index = x.max(dim=1)
        return best, index, x > 0, x[x > 1]


class Named(nn.Module):
    """A matrix product, which shows it when the inputs change places; outputs by name."""

    def forward(self, left: Tensor, right: Tensor) -> Dict[str, Tensor]:
        product = left @ right
        return {"product": product, "rows": product.sum(dim=1)}


class Lookup(nn.Module):
    """Numbers of words to vectors."""

    def __init__(self):
        super().__init__()
        self.table = nn.EmbeddingBag(1000, 16, mode="mean")

    def forward(self, words: Tensor) -> Tensor:
        return self.table(words)


@dataclass
class Port:
    """An input or output, as config.pbtxt has it."""

    name: str
    datatype: str
    dims: list


@dataclass
class Model:
    name: str
    module: nn.Module
    inputs: list
    outputs: list
    # Shapes of the inputs of each request, with the rows of the batch.
    requests: list
    max_batch: int = 0
    more: str = ""
    # What integers are drawn from; all that the type has, if it is not given.
    range: tuple = field(default=())


def models():
    for datatype in FLOATS:
        name, dtype = datatype.lower(), TYPES[datatype]
        yield Model(
            f"{name}_arithmetic", Arithmetic(),
            [Port("INPUT__0", datatype, [-1, -1]), Port("INPUT__1", datatype, [-1, -1])],
            [Port("OUTPUT__0", datatype, [-1, -1])],
            [[(1, 1)] * 2, [(7, 33)] * 2, [(0, 5)] * 2],
        )  # fmt: skip
        yield Model(
            f"{name}_network", Network().to(dtype),
            [Port("x", datatype, [3, 64, 64])], [Port("OUTPUT__0", datatype, [10])],
            [[(rows, 3, 64, 64)] for rows in (1, 3, 8)],
            max_batch=8, more="dynamic_batching { max_queue_delay_microseconds: 20000 }\n",
        )  # fmt: skip
    for datatype in WHOLE:
        yield Model(
            f"{datatype.lower()}_whole", Whole(),
            [Port("x", datatype, [-1])], [Port("y", datatype, [-1])], [[(1,)], [(1000,)]],
        )  # fmt: skip
    yield Model(
        "bool_exclusive", Exclusive(),
        [Port("a", "BOOL", [5]), Port("b", "BOOL", [5])], [Port("OUTPUT__0", "BOOL", [5])],
        [[(1, 5)] * 2, [(4, 5)] * 2], max_batch=4,
    )  # fmt: skip
    outputs = [Port("best", "FP32", [-1]), Port("index", "INT64", [-1]), Port("positive", "BOOL", [-1, 16]), Port("large", "FP32", [-1])]
    yield Model("several", Several(), [Port("x", "FP32", [-1, 16])], outputs, [[(1, 16)], [(20, 16)]])
    # In another order than the arguments.
    inputs = [Port("right", "FP32", [-1, -1]), Port("left", "FP32", [-1, -1])]
    outputs = [Port("rows", "FP32", [-1]), Port("product", "FP32", [-1, -1])]
    yield Model("named", Named(), inputs, outputs, [[(3, 4), (2, 3)], [(64, 5), (100, 64)]])
    yield Model(
        "lookup", Lookup(), [Port("words", "INT64", [12])], [Port("vector", "FP32", [16])],
        [[(1, 12)], [(5, 12)]], max_batch=8, range=(0, 1000),
    )  # fmt: skip


# --- The sample models -----------------------------------------------------------------------------------


def samples(pictures):
    """Name, outputs and requests of each, which are tensors of the inputs in their order. What is in a picture has to be
    found in the same way, too."""
    cat, face, cup = (pictures / f"{name}.png" for name in ("chelsea", "astronaut", "coffee"))
    noise = torch.rand
    yield "classifier", [Port("probabilities", "FP32", [])], [
        (picture(cat, 224, 224) * 255 - 127) / 128,
        (noise(3, 3, 224, 224) * 255 - 127) / 128,
    ]  # fmt: skip
    outputs = [Port("boxes", "FP32", []), Port("scores", "FP32", []), Port("points", "FP32", [])]
    yield "faces", outputs, [picture(face, 360, 360), noise(1, 3, 120, 160)]
    mean = torch.tensor([103.53, 116.28, 123.675]).reshape(1, 3, 1, 1)
    std = torch.tensor([57.375, 57.12, 58.395]).reshape(1, 3, 1, 1)
    bgr = picture(cat, 416, 416).flip(1) * 255
    outputs = [Port("boxes", "FP32", []), Port("scores", "FP32", []), Port("classes", "INT64", [])]
    yield "things", outputs, [(bgr - mean) / std, noise(1, 3, 416, 416)]
    yield "background", [Port("blurred", "FP32", [])], [picture(face, 256, 256), noise(1, 3, 200, 120)]
    yield "person", [Port("mask", "FP32", [])], [picture(face, 256, 256), noise(1, 3, 256, 256)]
    outputs = [Port("boxes", "FP32", []), Port("scores", "FP32", []), Port("points", "FP32", [])]
    yield "pose", outputs, [picture(face, 192, 192) * 255]
    for style in ("wave", "starry", "composition"):
        yield style, [Port("painted", "FP32", [])], [picture(cup, 640, 360), noise(1, 3, 50, 75)]
    yield "add", [Port("y", "FP32", [])], [(noise(2, 2), noise(2, 2) - 1)]


def picture(path, width, height):
    values = np.asarray(Image.open(path).convert("RGB").resize((width, height)), np.float32) / 255
    return torch.from_numpy(values.transpose(2, 0, 1)[np.newaxis].copy())


# --- What is written -------------------------------------------------------------------------------------


class Cases:
    """Requests with the replies that they should get."""

    def __init__(self, folder):
        self.folder = folder
        self.cases = []
        self.files = 0
        (folder / "cases").mkdir()

    def add(self, model, inputs, outputs):
        tensors = [[self.tensor(*each) for each in side] for side in (inputs, outputs)]
        self.cases.append({"model": model, "inputs": tensors[0], "outputs": tensors[1]})

    def tensor(self, port, tensor):
        assert tensor.dtype == TYPES[port.datatype], f"{port.name} is of type {tensor.dtype}"
        bits = tensor.view(torch.uint16) if port.datatype == "BF16" else tensor
        np.save(self.folder / "cases" / f"{self.files}.npy", bits.numpy())
        self.files += 1
        return {"name": port.name, "datatype": port.datatype, "file": f"cases/{self.files - 1}.npy"}

    def write(self):
        (self.folder / "cases.json").write_text(json.dumps(self.cases, indent=1))


def write_model(folder, model):
    version = folder / "models" / model.name / "1"
    version.mkdir(parents=True)
    program = torch.jit.script(model.module.eval())
    program.save(str(version / "model.pt"))
    # No matter what the one in memory does, what lies on disk is served.
    return torch.jit.load(str(version / "model.pt"))


def write_config(folder, model):
    def ports(key, ports):
        return "".join(
            f'{key} {{ name: "{port.name}" data_type: TYPE_{port.datatype} dims: {port.dims} }}\n' for port in ports
        )

    text = f'backend: "pytorch"\nmax_batch_size: {model.max_batch}\n{ports("input", model.inputs)}'
    text += ports("output", model.outputs) + model.more
    (folder / "models" / model.name / "config.pbtxt").write_text(text)


def values(port, shape, drawn_from):
    dtype = TYPES[port.datatype]
    if port.datatype in FLOATS:
        return (torch.rand(shape, dtype=torch.float64) * 4 - 2).to(dtype)
    if port.datatype == "BOOL":
        return torch.rand(shape) < 0.5
    low, high = drawn_from or (torch.iinfo(dtype).min, torch.iinfo(dtype).max + 1)
    numbers = np.random.default_rng(len(shape)).integers(low, high, shape, dtype=str(dtype).removeprefix("torch."))
    return torch.from_numpy(np.asarray(numbers))


def outputs_of(program, model, inputs):
    """What the program gives, in the order of the configuration."""
    names = [argument.name for argument in program.forward.schema.arguments[1:]]
    given = dict(zip((port.name for port in model.inputs), inputs))
    by_name = all(name in given for name in names)
    found = program(*([given[name] for name in names] if by_name else inputs))
    if isinstance(found, dict):
        return [found[port.name] for port in model.outputs]
    return list(found) if isinstance(found, tuple) else [found]


@torch.no_grad()
def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--pictures", type=Path, default=ROOT / ".deps/pictures")
    args = arguments.parse_args()
    torch.manual_seed(1)
    # As many as an instance of the server has: sums come out otherwise with more.
    torch.set_num_threads(1)
    cases = Cases(args.folder)
    for model in models():
        program = write_model(args.folder, model)
        write_config(args.folder, model)
        for shapes in model.requests:
            inputs = [values(port, shape, model.range) for port, shape in zip(model.inputs, shapes, strict=True)]
            outputs = outputs_of(program, model, inputs)
            cases.add(model.name, zip(model.inputs, inputs, strict=True), zip(model.outputs, outputs, strict=True))
    for name, ports, requests in samples(args.pictures):
        program = torch.jit.load(str(ROOT / "samples/models" / name / "1/model.pt"))
        inputs = [Port(argument.name, "FP32", []) for argument in program.forward.schema.arguments[1:]]
        for tensors in requests:
            tensors = tensors if isinstance(tensors, tuple) else (tensors,)
            found = program(*tensors)
            found = found if isinstance(found, tuple) else (found,)
            cases.add(name, zip(inputs, tensors, strict=True), zip(ports, found, strict=True))
    cases.write()
    print(f"ok: {len(cases.cases)} requests")


if __name__ == "__main__":
    main()
