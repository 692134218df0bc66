"""Makes samples/models/background: keeps the person in a picture sharp and blurs what is behind.

The person is found by MediaPipe's selfie segmentation, a network for one or a few people near the camera.
"""

import sys
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export import save, traced
from tfjs import Graph

# The network sees every picture at this size.
SEEN = 256


class Background(nn.Module):
    """A picture [1, 3, height, width], RGB from 0 to 1, to the same picture with its background blurred."""

    seen: Final[int] = SEEN

    def __init__(self, graph: Path):
        super().__init__()
        self.network = traced(Graph(graph, ["activation_10"]), torch.rand(1, SEEN, SEEN, 3))

    def forward(self, image: Tensor) -> Tensor:
        seen = F.interpolate(image, size=[self.seen, self.seen], mode="bilinear", align_corners=False)
        person = self.network(seen.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        size = [image.size(2), image.size(3)]
        person = F.interpolate(person, size=size, mode="bilinear", align_corners=False)
        return image * person + blurred(image, 1.0 - person) * (1.0 - person)


def blurred(image: Tensor, weight: Tensor) -> Tensor:
    """A blur in which every pixel counts by its weight, so that the person leaves no halo around it. It is
    computed in a picture of an eighth the size."""
    height, width = image.size(2), image.size(3)
    coarse = [max(height // 8, 1), max(width // 8, 1)]
    both = F.interpolate(torch.cat([image * weight, weight], 1), size=coarse, mode="area")
    for _ in range(2):
        both = F.avg_pool2d(both, 5, stride=1, padding=2, count_include_pad=False)
    both = F.interpolate(both, size=[height, width], mode="bilinear", align_corners=False)
    return both[:, :3] / both[:, 3:].clamp(min=1e-3)


if __name__ == "__main__":
    folder, graph = map(Path, sys.argv[1:])
    save(torch.jit.script(Background(graph)), torch.rand(1, 3, 120, 160), folder / "1/model.pt")
