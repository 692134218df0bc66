"""Makes samples/models/things: NanoDet-g, which finds the 80 everyday things of COCO."""

import sys
from pathlib import Path

import torch
from torch import nn
from torchvision.models._meta import _COCO_CATEGORIES

from export import save
from tfjs import Graph

SIZE = 416
STRIDES = (8, 16, 32)
# How far an edge is from the centre comes as the probability of each of 0 to 10 strides.
DISTANCES = 11
# Fewer boxes for the server to look at. The threshold in config.pbtxt, or of a stage, can only be higher.
LEAST_SCORE = 0.1

# Names that torchvision keeps so that its numbers stay those of the data set's files.
NOT_LABELS = ("__background__", "N/A")


class Things(nn.Module):
    """A picture [1, 3, 416, 416] to boxes [N, 4] (x1, y1, x2, y2, in pixels), scores [N] and classes [N]."""

    def __init__(self, graph: Path):
        super().__init__()
        outputs = ["Identity", "Identity_1", "Identity_2", "Identity_3", "Identity_4", "Identity_5"]
        self.network = Graph(graph, outputs)
        self.register_buffer("steps", torch.arange(float(DISTANCES)))
        grids = [grid(stride) for stride in STRIDES]
        self.register_buffer("centres", torch.cat([centres for centres, _ in grids]))
        self.register_buffer("strides", torch.cat([strides for _, strides in grids]))

    def forward(self, image):
        outputs = self.network(image)
        scores, classes = torch.cat(outputs[:3], 1)[0].max(1)
        likely = torch.nonzero(scores > LEAST_SCORE).flatten()
        # Places have 32 bits, also where the network has fewer.
        distances = torch.cat(outputs[3:], 1)[0][likely].reshape(-1, 4, DISTANCES).float()
        distances = distances.softmax(2) @ self.steps.float() * self.strides[likely]
        centres = self.centres[likely]
        boxes = torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], 1)
        return boxes.clamp(0.0, float(SIZE)), scores[likely], classes[likely]


def grid(stride: int):
    """The centres of all cells, row by row, and the stride of each of them."""
    middle = (torch.arange(SIZE // stride) + 0.5) * stride
    down, across = torch.meshgrid(middle, middle, indexing="ij")
    centres = torch.stack([across.flatten(), down.flatten()], 1)
    return centres, torch.full((len(centres), 1), float(stride))


if __name__ == "__main__":
    folder, graph = map(Path, sys.argv[1:])
    save(Things(graph), torch.randn(1, 3, SIZE, SIZE), folder / "1/model.pt")
    labels = [label for label in _COCO_CATEGORIES if label not in NOT_LABELS]
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
