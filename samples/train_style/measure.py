"""How fast the trained network is on one CPU thread, and how calm in time."""

import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from data import frames, sized

# Of a camera in good light.
NOISE = 2 / 255


@torch.no_grad()
def frames_per_second(path: Path, height: int = 360, width: int = 640) -> float:
    """Of the saved model, optimized as the server does it: the median of 20 runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.load(str(path), map_location="cpu").eval()))
    image = torch.rand(1, 3, height, width)
    seconds = []
    for _ in range(25):
        begin = time.perf_counter()
        model(image)
        seconds.append(time.perf_counter() - begin)
    torch.set_num_threads(threads)
    return 1 / statistics.median(seconds[5:])


@torch.no_grad()
def flicker(network, images: list[Tensor]) -> float:
    """How much the results of successive frames differ, against how much the frames themselves do."""
    results = [network(image) for image in images]
    return change(results) / change(images)


def change(images: list[Tensor]) -> float:
    pairs = zip(images, images[1:])
    return statistics.mean(float((after - before).abs().mean()) for before, after in pairs)


def still(image: Tensor, count: int = 8) -> list[Tensor]:
    """A scene in which nothing moves, as a camera sees it."""
    generator = torch.Generator().manual_seed(0)
    noise = (torch.randn(image.shape, generator=generator) * NOISE for _ in range(count))
    return [(image.cpu() + n).clamp(0, 1) for n in noise]


def clip(path: Path, short: int, count: int = 24) -> list[Tensor]:
    """The first frames of a video."""
    return [sized(frame, short)[None].float() / 255 for frame, _ in zip(frames(path), range(count))]
