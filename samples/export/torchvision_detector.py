"""Exports one of torchvision's one-stage detectors (SSD, SSDlite, RetinaNet, FCOS), with its configuration inside
the archive.

    .deps/models/bin/python samples/export/torchvision_detector.py ssdlite320_mobilenet_v3_large samples/models/ssd

takes torchvision's weights, which it downloads from pytorch.org; `--weights mine.pth --labels mine.txt` takes the
state that you trained, and the names of your classes, one a line, the background first.

Two things make a module that libtorch alone can run and the server understands: torchvision's own operation for
non-maximum suppression is replaced by ours, and the list of dictionaries becomes a tuple of tensors.
"""

import argparse
from pathlib import Path
from typing import Tuple

import torch
import torchvision
from torch import Tensor, nn

import boxes
from export import save


class Detector(nn.Module):
    """A picture [1, 3, height, width], RGB from 0 to 1, to boxes [N, 4] in pixels, scores [N] and labels [N]."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        # Scripted, torchvision's detectors give their losses too.
        _, detections = self.detector([image[0]])
        found = detections[0]
        return found["boxes"], found["scores"], found["labels"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", help="a name that torchvision.models.detection knows")
    parser.add_argument("folder", type=Path, help="the model's folder in the repository")
    parser.add_argument("--weights", type=Path, help="a state_dict, as torch.save wrote it")
    parser.add_argument("--labels", type=Path, help="a text file")
    arguments = parser.parse_args()

    labels = arguments.labels.read_text().splitlines() if arguments.labels else coco()
    if arguments.weights:
        detector = torchvision.models.get_model(
            arguments.architecture, weights=None, weights_backbone=None, num_classes=len(labels)
        )
        detector.load_state_dict(torch.load(arguments.weights, weights_only=True))
    else:
        detector = torchvision.models.get_model(arguments.architecture, weights="DEFAULT")

    torchvision.ops.boxes.nms = boxes.nms
    module = torch.jit.script(Detector(detector).eval())
    save(module, torch.rand(1, 3, 320, 320), arguments.folder / "1/model.pt", config())
    (arguments.folder / "labels.txt").write_text("\n".join(labels) + "\n")


def coco() -> list[str]:
    return torchvision.models.detection.SSDLite320_MobileNet_V3_Large_Weights.DEFAULT.meta["categories"]


def config() -> dict:
    return {
        "backend": "pytorch",
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 3, -1, -1]}],
        "output": [
            {"name": "boxes", "data_type": "TYPE_FP32", "dims": [-1, 4]},
            {"name": "scores", "data_type": "TYPE_FP32", "dims": [-1]},
            {"name": "labels", "data_type": "TYPE_INT64", "dims": [-1]},
        ],
        "parameters": {
            "frameserve.task": {"string_value": "detection"},
            "frameserve.labels": {"string_value": "labels.txt"},
            "frameserve.threshold": {"string_value": "0.5"},
        },
    }


if __name__ == "__main__":
    main()
