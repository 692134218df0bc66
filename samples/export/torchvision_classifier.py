"""Exports one of torchvision's classifiers, with its configuration inside the archive.

    .deps/models/bin/python samples/export/torchvision_classifier.py resnet18 samples/models/resnet18

takes torchvision's weights, which it downloads from pytorch.org; `--weights mine.pth --labels mine.txt` takes the
state that you trained, and the names of your classes, one a line. Without them the names are ImageNet's.
"""

import argparse
from pathlib import Path

import torch
import torchvision

from export import save

SIZE = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", help="a name that torchvision.models knows")
    parser.add_argument("folder", type=Path, help="the model's folder in the repository")
    parser.add_argument("--weights", type=Path, help="a state_dict, as torch.save wrote it")
    parser.add_argument("--labels", type=Path, help="a text file")
    arguments = parser.parse_args()

    labels = arguments.labels.read_text().splitlines() if arguments.labels else imagenet()
    if arguments.weights:
        module = torchvision.models.get_model(arguments.architecture, weights=None, num_classes=len(labels))
        module.load_state_dict(torch.load(arguments.weights, weights_only=True))
    else:
        module = torchvision.models.get_model(arguments.architecture, weights="DEFAULT")

    save(module, torch.rand(2, 3, SIZE, SIZE), arguments.folder / "1/model.pt", config(len(labels)))
    (arguments.folder / "labels.txt").write_text("\n".join(labels) + "\n")


def imagenet() -> list[str]:
    return torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]


def config(classes: int) -> dict:
    """What samples/models/classifier/config.pbtxt says, for a network with torchvision's usual preparation."""
    return {
        "backend": "pytorch",
        "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3, SIZE, SIZE]}],
        "output": [
            {"name": "scores", "data_type": "TYPE_FP32", "dims": [classes], "label_filename": "labels.txt"}
        ],
        "dynamic_batching": {},
        "parameters": {
            "frameserve.task": {"string_value": "classification"},
            "frameserve.resize": {"string_value": "short=256"},
            "frameserve.crop": {"string_value": f"{SIZE}x{SIZE}"},
            "frameserve.mean": {"string_value": "imagenet"},
            "frameserve.std": {"string_value": "imagenet"},
            "frameserve.activation": {"string_value": "softmax"},
        },
    }


if __name__ == "__main__":
    main()
