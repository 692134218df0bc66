"""Exports a network that redraws pictures in a style, with its configuration inside the archive.

    .deps/models/bin/python samples/export/transformer_net.py mosaic.pth samples/models/mosaic

It is for weights of the architecture that most such networks have, of Johnson et al., Perceptual Losses for Real-Time
Style Transfer and Super-Resolution, 2016, with instance norms, and in the names that PyTorch's examples gave its
layers. They see RGB from 0 to 255, and draw so too; `--range 1` is for those that were trained with 0 to 1.

`--size 640x360` is for streams, where each picture costs time: it is drawn in that size. Without it, pictures keep
theirs.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from export import save


class Convolution(nn.Module):
    """With the edges mirrored, and perhaps in a picture that is enlarged before."""

    def __init__(self, channels: int, to: int, kernel: int, stride: int = 1, enlarge: int = 1):
        super().__init__()
        self.enlarge = nn.Upsample(scale_factor=enlarge) if enlarge > 1 else nn.Identity()
        self.mirror = nn.ReflectionPad2d(kernel // 2)
        self.conv2d = nn.Conv2d(channels, to, kernel, stride)

    def forward(self, picture: Tensor) -> Tensor:
        return self.conv2d(self.mirror(self.enlarge(picture)))


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.in1 = Convolution(channels, channels, 3), norm(channels)
        self.conv2, self.in2 = Convolution(channels, channels, 3), norm(channels)

    def forward(self, picture: Tensor) -> Tensor:
        drawn = torch.relu(self.in1(self.conv1(picture)))
        return picture + self.in2(self.conv2(drawn))


class TransformerNet(nn.Module):
    """A picture [1, 3, height, width] to one whose sides are the next multiples of four."""

    def __init__(self):
        super().__init__()
        self.conv1, self.in1 = Convolution(3, 32, 9), norm(32)
        self.conv2, self.in2 = Convolution(32, 64, 3, stride=2), norm(64)
        self.conv3, self.in3 = Convolution(64, 128, 3, stride=2), norm(128)
        for number in range(1, 6):
            self.add_module(f"res{number}", Residual(128))
        self.deconv1, self.in4 = Convolution(128, 64, 3, enlarge=2), norm(64)
        self.deconv2, self.in5 = Convolution(64, 32, 3, enlarge=2), norm(32)
        self.deconv3 = Convolution(32, 3, 9)

    def forward(self, picture: Tensor) -> Tensor:
        drawn = torch.relu(self.in1(self.conv1(picture)))
        drawn = torch.relu(self.in2(self.conv2(drawn)))
        drawn = torch.relu(self.in3(self.conv3(drawn)))
        drawn = self.res5(self.res4(self.res3(self.res2(self.res1(drawn)))))
        drawn = torch.relu(self.in4(self.deconv1(drawn)))
        drawn = torch.relu(self.in5(self.deconv2(drawn)))
        return self.deconv3(drawn)


class Style(nn.Module):
    """A picture [1, 3, height, width], RGB from 0 to 1, to one of the same size."""

    def __init__(self, network: TransformerNet, largest: float):
        super().__init__()
        self.network, self.largest = network, largest

    def forward(self, image: Tensor) -> Tensor:
        drawn = self.network(image * self.largest) / self.largest
        return drawn[:, :, : image.size(2), : image.size(3)].clamp(0.0, 1.0)


def norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def weights(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    # What a module wrote that was trained on several GPUs, and what the norms of old versions kept and never used.
    state = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in state.items() if not name.endswith(("running_mean", "running_var"))}


def config(size: tuple[int, int] | None) -> dict:
    width, height = size or (-1, -1)
    picture = [1, 3, height, width]
    return {
        "backend": "pytorch",
        "max_batch_size": 0,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": picture}],
        "output": [{"name": "drawn", "data_type": "TYPE_FP32", "dims": picture}],
        "parameters": {"frameserve.task": {"string_value": "image"}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="a state_dict, as torch.save wrote it")
    parser.add_argument("folder", type=Path, help="the model's folder in the repository")
    parser.add_argument("--range", type=float, default=255.0, help="the largest value that the network sees")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), help="WIDTHxHEIGHT")
    arguments = parser.parse_args()

    network = TransformerNet()
    network.load_state_dict(weights(arguments.weights))
    module = torch.jit.script(Style(network, arguments.range).eval())
    width, height = arguments.size or (163, 122)
    save(module, torch.rand(1, 3, height, width), arguments.folder / "1/model.pt", config(arguments.size))


if __name__ == "__main__":
    main()
