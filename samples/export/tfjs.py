"""Reads a TensorFlow.js graph model (model.json and its weights) as a PyTorch module that can be traced.

Only the operations that the sample models use are here; another one is an error that names it. Pictures are
batch x height x width x channels in TensorFlow: a permuted view of PyTorch's order, and nothing is copied.
"""

import base64
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Graph(nn.Module):
    """The part of the graph that `outputs` need, computed node by node. What depends on no input is computed
    once, here."""

    def __init__(self, model: Path, outputs: list[str]):
        super().__init__()
        description = json.loads(model.read_text())
        constants = read_weights(model.parent, description["weightsManifest"])
        self.outputs, self.nodes = outputs, []
        for node in needed_nodes(description, outputs):
            if node["op"] == "Placeholder" or any(name not in constants for name in inputs_of(node)):
                self.nodes.append(node)
            elif node["op"] != "Const":
                constants.update(compute(node, constants))
        prepare_filters(self.nodes, constants)
        kept = dict.fromkeys(name for node in self.nodes for name in inputs_of(node) if name in constants)
        self.buffer_of = {name: f"constant{number}" for number, name in enumerate(kept)}
        for name, buffer in self.buffer_of.items():
            self.register_buffer(buffer, constants[name])
        # Once, outside of any trace: this notes the sizes, which a trace would otherwise compute with every picture.
        (size,) = (placeholder_size(node) for node in self.nodes if node["op"] == "Placeholder")
        with torch.no_grad():
            self(torch.zeros(size))

    def forward(self, image: torch.Tensor):
        values = {name: getattr(self, buffer) for name, buffer in self.buffer_of.items()}
        for node in self.nodes:
            values.update({node["name"]: image} if node["op"] == "Placeholder" else compute(node, values))
        results = tuple(values[name] for name in self.outputs)
        return results[0] if len(results) == 1 else results


def read_weights(folder: Path, manifest) -> dict[str, torch.Tensor]:
    weights = {}
    for group in manifest:
        data = b"".join((folder / path).read_bytes() for path in group["paths"])
        offset = 0
        for entry in group["weights"]:
            quantization = entry.get("quantization", {})
            dtype = np.dtype(quantization.get("dtype", entry["dtype"]))
            values = np.frombuffer(data, dtype, int(np.prod(entry["shape"])), offset)
            offset += values.nbytes
            if quantization:
                values = values.astype(entry["dtype"])
            if "scale" in quantization:
                values = values * quantization["scale"] + quantization["min"]
            weights[entry["name"]] = torch.tensor(values.reshape(entry["shape"]))
        if offset != len(data):
            raise ValueError(f"the weights of {folder} have {len(data)} bytes, and the list of them {offset}")
    return weights


def needed_nodes(description, outputs: list[str]) -> list:
    """The nodes that lead to the outputs, each after those that it needs."""
    node_of = {node["name"]: node for node in description["modelTopology"]["node"]}
    done, waiting = {}, list(reversed(outputs))
    while waiting:
        name = waiting[-1].partition(":")[0]
        missing = [needed for needed in inputs_of(node_of[name]) if needed.partition(":")[0] not in done]
        if name in done or not missing:
            done[waiting.pop().partition(":")[0]] = node_of[name]
        else:
            waiting += missing
    return list(done.values())


def placeholder_size(node) -> list[int]:
    return [int(dimension["size"]) for dimension in node["attr"]["shape"]["shape"]["dim"]]


def inputs_of(node) -> list[str]:
    """The names of what a node takes. `split:1` is the second result of the node `split`."""
    return [name.removesuffix(":0") for name in node.get("input", []) if not name.startswith("^")]


def compute(node, values) -> dict[str, torch.Tensor]:
    """What a node results in, by name."""
    operation = OPERATIONS.get(node["op"])
    if operation is None:
        raise NotImplementedError(f"operation {node['op']} of node {node['name']}")
    inputs = [values[name] for name in inputs_of(node)]
    node.setdefault("sizes", [tuple(value.shape) for value in inputs])
    result = operation(node, *inputs)
    first, *others = result if isinstance(result, tuple) else (result,)
    return {node["name"]: first} | {f"{node['name']}:{number}": other for number, other in enumerate(others, 1)}


def attribute(node, name: str, default=None):
    value = node.get("attr", {}).get(name)
    if value is None:
        return default
    if "s" in value:
        return base64.b64decode(value["s"]).decode()
    if "list" in value:
        words = [base64.b64decode(word).decode() for word in value["list"].get("s", [])]
        return words or [int(number) for number in value["list"].get("i", [])]
    return int(value["i"]) if "i" in value else value.get("f", value.get("b"))


# --- Convolutions and pooling ---------------------------------------------------------------------------------

CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "_FusedConv2D")
DEPTHWISE = ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")


def prepare_filters(nodes, constants) -> None:
    """Brings the filters into PyTorch's order: once, and not again with every picture."""
    depthwise = {inputs_of(node)[1] for node in nodes if node["op"] in DEPTHWISE}
    for name in depthwise | {inputs_of(node)[1] for node in nodes if node["op"] in CONVOLUTIONS}:
        if name in depthwise:
            height, width, channels, multiplier = constants[name].shape
            filters = constants[name].permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        else:
            filters = constants[name].permute(3, 2, 0, 1)
        constants[name] = filters.contiguous()


def channels_first(picture):
    return picture.permute(0, 3, 1, 2)


def channels_last(picture):
    return picture.permute(0, 2, 3, 1)


def padded_as_same(picture, node, kernel, value=0.0):
    """TensorFlow's SAME: as many results as inputs / stride, and the odd row or column of padding at the end."""
    if attribute(node, "padding") != "SAME":
        return picture
    padding = []
    for axis in (2, 1):
        size, stride = node["sizes"][0][axis], attribute(node, "strides")[axis]
        missing = max((-(-size // stride) - 1) * stride + kernel[axis - 1] - size, 0)
        padding += [missing // 2, missing - missing // 2]
    return F.pad(picture, padding, value=value) if any(padding) else picture


def convolution(node, picture, filters, bias=None):
    (*_, channels), (_, per_group, *kernel) = node["sizes"][:2]
    dilations = attribute(node, "dilations", [1, 1, 1, 1])[1:3]
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations)]
    picture = padded_as_same(channels_first(picture), node, reach)
    strides = attribute(node, "strides")[1:3]
    return channels_last(F.conv2d(picture, filters, bias, strides, 0, dilations, channels // per_group))


def fused_convolution(node, picture, filters, bias):
    first, *others = attribute(node, "fused_ops")
    if first != "BiasAdd":
        raise NotImplementedError(f"{first} in node {node['name']}")
    result = convolution(node, picture, filters, bias)
    for other in others:
        result = OPERATIONS[other](node, result)
    return result


def transposed_convolution(node, shape, filters, picture):
    strides = attribute(node, "strides")[1:3]
    result = F.conv_transpose2d(channels_first(picture), filters, stride=strides)
    height, width = shape.tolist()[1:3]
    top, left = (max(size - stride, 0) // 2 for size, stride in zip(node["sizes"][1][2:], strides))
    return channels_last(result[:, :, top : top + height, left : left + width])


def pool(kind):
    def operation(node, picture):
        kernel, strides = attribute(node, "ksize")[1:3], attribute(node, "strides")[1:3]
        padded = padded_as_same(channels_first(picture), node, kernel, float("-inf"))
        if kind is F.avg_pool2d and padded.shape[2:] != picture.shape[1:3]:
            raise NotImplementedError(f"an average that reaches over the edge, in node {node['name']}")
        return channels_last(kind(padded, kernel, strides))

    return operation


def resize(node, picture, size):
    corners = bool(attribute(node, "align_corners"))
    if not corners and not attribute(node, "half_pixel_centers"):
        raise NotImplementedError(f"where pixels are in node {node['name']}")
    resized = F.interpolate(channels_first(picture), size.tolist(), mode="bilinear", align_corners=corners)
    return channels_last(resized)


# --- The rest -------------------------------------------------------------------------------------------------


def pad(node, value, padding, constant=0.0):
    return F.pad(value, [size for pair in reversed(padding.tolist()) for size in pair], value=float(constant))


def cast(node, value):
    """Nothing but indices is made whole here, and these are long in PyTorch. What is floats already, as the picture is,
    stays as precise as it is."""
    if node["attr"]["DstT"]["type"] != "DT_FLOAT":
        return value.long()
    return value if value.is_floating_point() else value.float()


def gather(node, values, places):
    return values[places.long().unbind(-1)]


def sparse_to_dense(node, places, shape, values, default):
    if values.numel():
        raise NotImplementedError(f"values in node {node['name']}")
    return default.expand(shape.tolist())


OPERATIONS = {
    "Conv2D": convolution,
    "DepthwiseConv2dNative": convolution,
    "_FusedConv2D": fused_convolution,
    "FusedDepthwiseConv2dNative": fused_convolution,
    "Conv2DBackpropInput": transposed_convolution,
    "AvgPool": pool(F.avg_pool2d),
    "MaxPool": pool(F.max_pool2d),
    "ResizeBilinear": resize,
    "Pad": pad,
    "PadV2": pad,
    "Identity": lambda node, a: a,
    "Add": lambda node, a, b: a + b,
    "AddV2": lambda node, a, b: a + b,
    "Sub": lambda node, a, b: a - b,
    "RealDiv": lambda node, a, b: a / b,
    "FloorDiv": lambda node, a, b: torch.div(a, b, rounding_mode="floor"),
    "SquaredDifference": lambda node, a, b: (a - b) ** 2,
    "Sqrt": lambda node, a: a.sqrt(),
    "AddN": lambda node, first, *others: sum(others, first),
    "Mul": lambda node, a, b: a * b,
    "Relu": lambda node, a: F.relu(a),
    "Relu6": lambda node, a: F.relu6(a),
    "LeakyRelu": lambda node, a: F.leaky_relu(a, attribute(node, "alpha", 0.2)),
    "Sigmoid": lambda node, a: torch.sigmoid(a),
    "Transpose": lambda node, a, order: a.permute(order.tolist()),
    "Reshape": lambda node, a, shape: a.reshape(shape.tolist()),
    "ConcatV2": lambda node, *a: torch.cat(a[:-1], int(a[-1])),
    "SplitV": lambda node, a, sizes, axis: torch.split(a, sizes.tolist(), int(axis)),
    "SparseToDense": sparse_to_dense,
    "Cast": cast,
    "ArgMax": lambda node, a, axis: a.argmax(int(axis)),
    "GatherNd": gather,
    "Pack": lambda node, *a: torch.stack(a, attribute(node, "axis", 0)),
    "Unpack": lambda node, a: a.unbind(attribute(node, "axis", 0)),
    "ExpandDims": lambda node, a, axis: a.unsqueeze(int(axis)),
    "Squeeze": lambda node, a: a.squeeze(attribute(node, "squeeze_dims")),
}
