"""Exports a network that finds points of a person as heat maps, with its configuration inside the archive.

    .deps/models/bin/python samples/export/heatmap_pose.py pose_resnet_50.pth samples/models/points

It is for weights of the architecture of Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, 2018, in
the names that its authors gave the layers: a ResNet (`--backbone resnet50`), three deconvolutions, and a map for each of
17 points (`--points 17`) that is brightest where the point is. It sees one person, who should fill the picture: for
several, a detector and `crop-boxes` come before it.

Any other network that ends in heat maps does as well: put it in the place of `Heatmaps`.
"""

import argparse
from pathlib import Path
from typing import Tuple

import torch
import torchvision
from torch import Tensor, nn

from boxes import around
from export import save

# A point of a lower score is hidden or outside of the picture, and guessed.
SEEN = 0.2
# How much larger than its points a person is, to each side.
AROUND = 0.1


class Heatmaps(nn.Module):
    """A picture [1, 3, height, width] to maps [1, points, height / 4, width / 4]."""

    def __init__(self, backbone: str, points: int):
        super().__init__()
        network = torchvision.models.get_model(backbone, weights=None)
        for name in ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(network, name))
        layers, channels = [], network.fc.in_features
        for _ in range(3):
            layers += [nn.ConvTranspose2d(channels, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
            channels = 256
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(channels, points, 1)

    def forward(self, image: Tensor) -> Tensor:
        found = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        found = self.layer4(self.layer3(self.layer2(self.layer1(found))))
        return self.final_layer(self.deconv_layers(found))


class Points(nn.Module):
    """A picture [1, 3, height, width] to a box [1, 4] (x1, y1, x2, y2), its score [1] and the points [1, points, 3], x, y
    and score of each; in pixels."""

    def __init__(self, heatmaps: nn.Module):
        super().__init__()
        self.heatmaps = heatmaps

    def forward(self, image: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        maps = self.heatmaps(image)[0].float()
        wide = maps.shape[2]
        scores, brightest = maps.flatten(1).max(1, keepdim=True)
        places = torch.cat([brightest % wide, torch.div(brightest, wide, rounding_mode="floor")], 1)
        places = places * (image.shape[3] / wide)
        box = around(places, scores, SEEN, AROUND)
        return box[None], scores.mean()[None], torch.cat([places, scores], 1)[None]


def config(size: tuple[int, int], points: int) -> dict:
    width, height = size
    return {
        "backend": "pytorch",
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [1, 3, height, width]}],
        "output": [
            {"name": "boxes", "data_type": "TYPE_FP32", "dims": [1, 4]},
            {"name": "scores", "data_type": "TYPE_FP32", "dims": [1]},
            {"name": "points", "data_type": "TYPE_FP32", "dims": [1, points, 3]},
        ],
        "parameters": {
            "frameserve.task": {"string_value": "detection"},
            "frameserve.labels": {"string_value": "labels.txt"},
            "frameserve.resize": {"string_value": f"fit={width}x{height}"},
            "frameserve.mean": {"string_value": "imagenet"},
            "frameserve.std": {"string_value": "imagenet"},
            "frameserve.threshold": {"string_value": "0.3"},
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="a state_dict, as torch.save wrote it")
    parser.add_argument("folder", type=Path, help="the model's folder in the repository")
    parser.add_argument("--backbone", default="resnet50", help="one of torchvision's ResNets")
    parser.add_argument("--points", type=int, default=17, help="how many maps there are")
    parser.add_argument("--size", default="192x256", help="WIDTHxHEIGHT of what the network sees")
    arguments = parser.parse_args()

    network = Heatmaps(arguments.backbone, arguments.points)
    network.load_state_dict(torch.load(arguments.weights, map_location="cpu", weights_only=True))
    width, height = map(int, arguments.size.split("x"))
    path = arguments.folder / "1/model.pt"
    save(Points(network), torch.rand(1, 3, height, width), path, config((width, height), arguments.points))
    (arguments.folder / "labels.txt").write_text("person\n")


if __name__ == "__main__":
    main()
