"""Exports one of torchvision's networks for segmentation (DeepLabV3, LR-ASPP, FCN), with its configuration inside the
archive.

    .deps/models/bin/python samples/export/torchvision_segmenter.py lraspp_mobilenet_v3_large samples/models/lraspp

takes torchvision's weights, which it downloads from pytorch.org; `--weights mine.pth --labels mine.txt` takes the
state that you trained, and the names of your classes, one a line, the background first. `--short 256` makes pictures
smaller than the 520 pixels that torchvision's weights are for, and so the network faster.

The last step of these networks is left out: they enlarge their scores to the size of what they see, all classes of
them. The server makes of the small scores a mask in the size of the picture that was sent, for less.
"""

import argparse
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.segmentation import LRASPP, LRASPP_MobileNet_V3_Large_Weights

from export import save


class Segmenter(nn.Module):
    """A picture [1, 3, height, width] to scores [1, classes, ...] of an eighth or a sixteenth of its size."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.backbone, self.classifier = network.backbone, network.classifier

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.backbone(image)["out"])


class Lraspp(Segmenter):
    """The same for LR-ASPP, which looks at what the backbone sees in two sizes."""

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.backbone(image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", help="a name that torchvision.models.segmentation knows")
    parser.add_argument("folder", type=Path, help="the model's folder in the repository")
    parser.add_argument("--weights", type=Path, help="a state_dict, as torch.save wrote it")
    parser.add_argument("--labels", type=Path, help="a text file")
    parser.add_argument("--short", type=int, default=520, help="the shorter side of what the network sees")
    arguments = parser.parse_args()

    labels = arguments.labels.read_text().splitlines() if arguments.labels else voc()
    if arguments.weights:
        state = torch.load(arguments.weights, map_location="cpu", weights_only=True)
        # The head that helps in training and does nothing later.
        state = {name: value for name, value in state.items() if not name.startswith("aux_classifier.")}
        network = torchvision.models.get_model(
            arguments.architecture, weights=None, weights_backbone=None, num_classes=len(labels)
        )
        network.load_state_dict(state)
    else:
        network = torchvision.models.get_model(arguments.architecture, weights="DEFAULT")

    wrapped = Lraspp(network) if isinstance(network, LRASPP) else Segmenter(network)
    module = torch.jit.script(wrapped.eval())
    path = arguments.folder / "1/model.pt"
    save(module, torch.rand(1, 3, 120, 160), path, config(len(labels), arguments.short))
    (arguments.folder / "labels.txt").write_text("\n".join(labels) + "\n")


def voc() -> list[str]:
    return LRASPP_MobileNet_V3_Large_Weights.DEFAULT.meta["categories"]


def config(classes: int, short: int) -> dict:
    scores = {"name": "scores", "data_type": "TYPE_FP32", "dims": [1, classes, -1, -1], "label_filename": "labels.txt"}
    return {
        "backend": "pytorch",
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 3, -1, -1]}],
        "output": [scores],
        "parameters": {
            "frameserve.task": {"string_value": "segmentation"},
            "frameserve.resize": {"string_value": f"short={short}"},
            "frameserve.mean": {"string_value": "imagenet"},
            "frameserve.std": {"string_value": "imagenet"},
            "frameserve.activation": {"string_value": "softmax"},
        },
    }


if __name__ == "__main__":
    main()
