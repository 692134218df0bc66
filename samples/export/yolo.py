"""Makes a model for the server of a YOLO network that is TorchScript already, with its configuration inside the archive.

    .deps/models/bin/python samples/export/yolo.py yolov8n.torchscript samples/models/yolo --labels coco.txt

The network sees a picture [1, 3, height, width], RGB from 0 to 1, and ends in boxes (centre and size, in pixels), in
one of the two forms that YOLO's heads have: [1, 4 + C, N] with a score for each of C classes, or [1, N, 5 + C] with how
sure a box is before these. Which one it is shows in the shape, and in how many labels there are. Overlapping boxes may
still be in it: the server keeps the best.

With `--points 17` it is one for poses, which ends in [1, 4 + C + 3 * 17, N]: x, y and score of so many points after the
scores of classes. What it gives becomes tensors of boxes, scores, classes and points.

From Python, `export(network, labels, size, folder)` does the same for a module that can be traced.
"""

import argparse
from pathlib import Path
from typing import Tuple

import torch
from torch import Tensor, nn

from export import save, traced


class First(nn.Module):
    """The boxes alone, of a network that gives the grids that they come from, too."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)[0]


class Only(First):
    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)


class Points(nn.Module):
    """Of such boxes with points the boxes [N, 4], scores [N], classes [N] and points [N, points, 3]."""

    def __init__(self, boxes: nn.Module, points: int):
        super().__init__()
        self.boxes, self.points = boxes, points

    def forward(self, image: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        found = self.boxes(image)[0].t()
        scores, classes = found[:, 4 : -3 * self.points].max(1)
        return found[:, :4], scores, classes, found[:, -3 * self.points :].reshape(-1, self.points, 3)


@torch.no_grad()
def export(network: nn.Module, labels: list[str], size: tuple[int, int], folder: Path, points: int = 0) -> None:
    width, height = size
    example = torch.rand(1, 3, height, width)
    network = network.eval()
    found = network(example)
    module = Only(network) if isinstance(found, Tensor) else First(network)
    boxes = found if isinstance(found, Tensor) else found[0]
    outputs = with_points(boxes, labels, points) if points else only_boxes(boxes, labels)
    module = Points(module, points) if points else module
    # A program may branch and loop, and stays as it is; of a module, what it does with a picture is what counts.
    scripted = isinstance(network, torch.jit.ScriptModule)
    module = torch.jit.script(module.eval()) if scripted else traced(module, example)
    save(module, example, folder / "1/model.pt", config(size, *outputs))
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")


def only_boxes(boxes: Tensor, labels: list[str]) -> tuple[list[dict], dict]:
    """The outputs, and what is to be said of them."""
    output = {"name": "boxes", "data_type": "TYPE_FP32", "dims": list(boxes.shape), "label_filename": "labels.txt"}
    return [output], {"form": form(boxes, labels)}


def with_points(boxes: Tensor, labels: list[str], points: int) -> tuple[list[dict], dict]:
    wanted = 4 + len(labels) + 3 * points
    if boxes.dim() != 3 or boxes.shape[1] != wanted:
        raise SystemExit(f"an output of shape {list(boxes.shape)} is not [1, {wanted}, N]: {len(labels)} labels")
    count = boxes.shape[2]
    outputs = [
        {"name": "boxes", "data_type": "TYPE_FP32", "dims": [count, 4]},
        {"name": "scores", "data_type": "TYPE_FP32", "dims": [count]},
        {"name": "classes", "data_type": "TYPE_INT64", "dims": [count], "label_filename": "labels.txt"},
        {"name": "points", "data_type": "TYPE_FP32", "dims": [count, points, 3]},
    ]
    return outputs, {"form": "torchvision", "box": "cxcywh", "iou": "0.45"}


def form(boxes: Tensor, labels: list[str]) -> str:
    shape, classes = list(boxes.shape), len(labels)
    if len(shape) == 3 and shape[1] == 4 + classes:
        return "yolov8"
    if len(shape) == 3 and shape[2] == 5 + classes:
        return "yolov5"
    raise SystemExit(f"an output of shape {shape} is neither [1, {4 + classes}, N] nor [1, N, {5 + classes}]: {classes} labels")


def config(size: tuple[int, int], outputs: list[dict], said: dict) -> dict:
    width, height = size
    said = {"task": "detection", "resize": f"fit={width}x{height}", "interpolation": "bilinear"} | said
    return {
        "backend": "pytorch",
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 3, height, width]}],
        "output": outputs,
        "parameters": {f"frameserve.{key}": {"string_value": value} for key, value in said.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="a TorchScript archive")
    parser.add_argument("folder", type=Path, help="the model's folder in the repository")
    parser.add_argument("--labels", type=Path, required=True, help="a text file with the name of each class on a line")
    parser.add_argument("--size", default="640x640", help="WIDTHxHEIGHT of what the network sees")
    parser.add_argument("--points", type=int, default=0, help="how many points a box has")
    arguments = parser.parse_args()

    network = torch.jit.load(str(arguments.network), map_location="cpu")
    width, height = map(int, arguments.size.split("x"))
    labels = arguments.labels.read_text().splitlines()
    export(network, labels, (width, height), arguments.folder, arguments.points)


if __name__ == "__main__":
    main()
