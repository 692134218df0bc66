"""Makes samples/models/pose: MoveNet, which finds 17 points of a person: nose, eyes, ears, shoulders, elbows, wrists,
hips, knees and ankles, of each pair the person's left one first.

It was made for one person; of several it takes the one in the middle.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from boxes import around
from export import save
from tfjs import Graph

SIZE = 192
# A point of a lower score is hidden or outside of the picture, and guessed.
SEEN = 0.2
# Of someone who is seen in part, so many points are sure; of what is no person, they are not.
SUREST = 5
# How much larger than its points a person is, to each side.
AROUND = 0.1


class Pose(nn.Module):
    """A picture [1, 3, 192, 192], RGB from 0 to 255, to a box [1, 4] (x1, y1, x2, y2), its score [1] and the points
    [1, 17, 3], x, y and score of each; in pixels."""

    def __init__(self, graph: Path):
        super().__init__()
        self.network = Graph(graph, ["Identity"])

    def forward(self, image):
        found = self.network(image.permute(0, 2, 3, 1)).reshape(17, 3).float()
        places, scores = found[:, [1, 0]] * SIZE, found[:, 2:]
        box = around(places, scores, SEEN, AROUND)
        points = torch.cat([places, scores], 1)
        return box[None], scores.flatten().topk(SUREST)[0].mean()[None], points[None]


if __name__ == "__main__":
    folder, graph = map(Path, sys.argv[1:])
    save(Pose(graph), torch.rand(1, 3, SIZE, SIZE) * 255.0, folder / "1/model.pt")
