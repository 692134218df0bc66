"""Writes a TorchScript classifier with the shape of ResNet-18 and weights from a fixed seed: what benchmarks run.

Speed depends on the shape alone, so no trained weights are fetched. The archive says how a server is to offer
it: one input `image`, FP32 [n,3,224,224], and one output `scores`, FP32 [n,1000].

    .deps/models/bin/python benches/peers/resnet18.py out/resnet18.pt
"""

import json
import sys

import torch
from torch import nn

SEED = 18
CONFIG = {
    "name": "classifier",
    "platform": "pytorch_libtorch",
    "max_batch_size": 8,
    "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, 224, 224]}],
    "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": [1000]}],
}


class Block(nn.Module):
    """Two convolutions, and the input added to what comes out of them (He et al., arXiv:1512.03385, figure 5)."""

    def __init__(self, inner, outer, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(inplace=True),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.shortcut = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """From pictures [n,3,224,224] to scores [n,1000] (table 1 of the same paper)."""

    def __init__(self):
        super().__init__()
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        blocks = []
        for inner, outer, stride in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]:
            blocks += [Block(inner, outer, stride), Block(outer, outer, 1)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
        self.layers = nn.Sequential(*stem, *blocks, *head)
        for module in self.modules():
            # With PyTorch's own start the signal fades away, and the scores hardly depend on the picture.
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image):
        return self.layers(image)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.manual_seed(SEED)
    module = torch.jit.script(ResNet18().eval())
    torch.jit.save(module, sys.argv[1], _extra_files={"frameserve.json": json.dumps(CONFIG)})


if __name__ == "__main__":
    main()
