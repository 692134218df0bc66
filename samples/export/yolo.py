"""Makes a model for the server of a YOLO network that is TorchScript already, with its configuration inside the archive.

    .deps/models/bin/python samples/export/yolo.py yolov8n.torchscript samples/models/yolo --labels coco.txt

The network sees a picture [1, 3, height, width], RGB from 0 to 1, and ends in boxes (centre and size, in pixels), in
one of the two forms that YOLO's heads have: [1, 4 + C, N] with a score for each of C classes, or [1, N, 5 + C] with how
sure a box is before these. Which one it is shows in the shape, and in how many labels there are. Overlapping boxes may
still be in it: the server keeps the best.

From Python, `export(network, labels, size, folder)` does the same for a module that can be traced.
"""

import argparse
from pathlib import Path

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


@torch.no_grad()
def export(network: nn.Module, labels: list[str], size: tuple[int, int], folder: Path) -> None:
    width, height = size
    example = torch.rand(1, 3, height, width)
    network = network.eval()
    found = network(example)
    module = Only(network) if isinstance(found, Tensor) else First(network)
    boxes = found if isinstance(found, Tensor) else found[0]
    # A program may branch and loop, and stays as it is; of a module, what it does with a picture is what counts.
    scripted = isinstance(network, torch.jit.ScriptModule)
    module = torch.jit.script(module.eval()) if scripted else traced(module, example)
    save(module, example, folder / "1/model.pt", config(size, list(boxes.shape), form(boxes, labels)))
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")


def form(boxes: Tensor, labels: list[str]) -> str:
    shape, classes = list(boxes.shape), len(labels)
    if len(shape) == 3 and shape[1] == 4 + classes:
        return "yolov8"
    if len(shape) == 3 and shape[2] == 5 + classes:
        return "yolov5"
    raise SystemExit(f"an output of shape {shape} is neither [1, {4 + classes}, N] nor [1, N, {5 + classes}]: {classes} labels")


def config(size: tuple[int, int], shape: list[int], form: str) -> dict:
    width, height = size
    boxes = {"name": "boxes", "data_type": "TYPE_FP32", "dims": shape, "label_filename": "labels.txt"}
    return {
        "backend": "pytorch",
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 3, height, width]}],
        "output": [boxes],
        "parameters": {
            "frameserve.task": {"string_value": "detection"},
            "frameserve.form": {"string_value": form},
            "frameserve.resize": {"string_value": f"fit={width}x{height}"},
            "frameserve.interpolation": {"string_value": "bilinear"},
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="a TorchScript archive")
    parser.add_argument("folder", type=Path, help="the model's folder in the repository")
    parser.add_argument("--labels", type=Path, required=True, help="a text file with the name of each class on a line")
    parser.add_argument("--size", default="640x640", help="WIDTHxHEIGHT of what the network sees")
    arguments = parser.parse_args()

    network = torch.jit.load(str(arguments.network), map_location="cpu")
    width, height = map(int, arguments.size.split("x"))
    export(network, arguments.labels.read_text().splitlines(), (width, height), arguments.folder)


if __name__ == "__main__":
    main()
