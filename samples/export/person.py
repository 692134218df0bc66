"""Makes samples/models/person: how much of each pixel belongs to a person, by MediaPipe's selfie segmentation."""

import sys
from pathlib import Path

import torch
from torch import nn

from export import save
from tfjs import Graph

SIZE = 256


class Person(nn.Module):
    """A picture [1, 3, 256, 256], RGB from 0 to 1, to a mask [1, 1, 256, 256] from 0 to 1."""

    def __init__(self, graph: Path):
        super().__init__()
        self.network = Graph(graph, ["activation_10"])

    def forward(self, image):
        return self.network(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


if __name__ == "__main__":
    folder, graph = map(Path, sys.argv[1:])
    save(Person(graph), torch.rand(1, 3, SIZE, SIZE), folder / "1/model.pt")
