"""The network that is trained: from a picture to a picture, small enough for video on one CPU core.

It has no instance norms: these look at the whole frame, so that all of it changes when a corner does. Batch norms
do not, and the server folds them into the convolutions.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What is repeated around the picture and cut off again, so that the convolutions' zeros stay out of sight.
MARGIN = 48
# The network halves a picture three times.
STRIDE = 8


class Stylist(nn.Module):
    """Pictures [n, 3, height, width], RGB from 0 to 1, to pictures of the same size, whatever that is."""

    margin: Final[int]
    stride: Final[int] = STRIDE

    def __init__(self, margin: int = MARGIN, half: int = 16, quarter: int = 32, eighth: int = 64):
        super().__init__()
        self.margin = margin
        self.to_half = convolution(3, half, size=5, stride=2)
        self.to_quarter = convolution(half, quarter, stride=2)
        self.to_eighth = convolution(quarter, eighth, stride=2)
        self.at_eighth = nn.Sequential(Residual(eighth), Residual(eighth))
        self.from_eighth = Doubled(eighth, quarter)
        self.at_quarter = nn.Sequential(Residual(quarter), Residual(quarter))
        self.from_quarter = Doubled(quarter, half)
        self.at_half = convolution(half, half)
        self.picture = Picture(half)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.size(2), image.size(3)
        edge = self.margin
        below, right = edge + -height % self.stride, edge + -width % self.stride
        half = self.to_half(F.pad(image, [edge, right, edge, below], mode="replicate"))
        quarter = self.to_quarter(half)
        eighth = self.at_eighth(self.to_eighth(quarter))
        quarter = self.at_quarter(quarter + self.from_eighth(eighth))
        half = self.at_half(half + self.from_quarter(quarter))
        return self.picture(half)[:, :, edge : edge + height, edge : edge + width].sigmoid()


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.change = nn.Sequential(
            convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class Doubled(nn.Module):
    """Twice the height and width, blended: learned pixels would leave their grid in the picture."""

    def __init__(self, channels: int, fewer: int):
        super().__init__()
        self.mix = nn.Conv2d(channels, fewer, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.mix(x), scale_factor=2.0, mode="bilinear", align_corners=False)


class Picture(nn.Sequential):
    """Colours, at twice the height and width. The four pixels that one becomes begin as equals."""

    def __init__(self, channels: int):
        colours = nn.Conv2d(channels, 3 * 4, 3, padding=1)
        with torch.no_grad():
            colours.weight.copy_(colours.weight[::4].repeat_interleave(4, 0))
            colours.bias.zero_()
        super().__init__(colours, nn.PixelShuffle(2))


def convolution(channels: int, more: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, more, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(more),
        nn.ReLU(),
    )
