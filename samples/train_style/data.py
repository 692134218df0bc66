"""Frames to train with, from a folder's pictures and videos."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm"}
# No more of each video, evenly spread: neighbours have little new.
FRAMES_OF_VIDEO = 60


def load(path: Path, short: int) -> Tensor:
    """A picture as [3, height, width] of bytes, whose shorter side is made `short`."""
    with Image.open(path) as image:
        return sized(image.convert("RGB"), short)


def sized(image: Image.Image, short: int) -> Tensor:
    scale = short / min(image.size)
    size = [max(round(side * scale), short) for side in image.size]
    return torch.from_numpy(np.array(image.resize(size, Image.Resampling.LANCZOS))).permute(2, 0, 1).contiguous()


def frames(path: Path) -> Iterator[Image.Image]:
    with av.open(str(path)) as video:
        for frame in video.decode(video=0):
            yield frame.to_image()


def some_frames(path: Path, short: int) -> list[Tensor]:
    with av.open(str(path)) as video:
        count = video.streams.video[0].frames or 10 * FRAMES_OF_VIDEO
    every = max(count // FRAMES_OF_VIDEO, 1)
    kept = []
    for number, frame in enumerate(frames(path)):
        if number % every == 0:
            kept.append(sized(frame, short))
        if len(kept) == FRAMES_OF_VIDEO:
            break
    return kept


class Content:
    """Random pieces of pictures and frames."""

    def __init__(self, folders: list[Path], short: int):
        paths = sorted(path for folder in folders for path in ([folder] if folder.is_file() else folder.rglob("*")))
        self.videos = [path for path in paths if path.suffix.lower() in VIDEOS]
        sources = [some_frames(path, short) for path in self.videos]
        pictures = [load(path, short) for path in paths if path.suffix.lower() in PICTURES]
        # A video counts as much as another, however long they are; pictures count as the frames of one.
        self.sources = [source for source in [*sources, pictures] if source]
        if not self.sources:
            known = " ".join(sorted(PICTURES | VIDEOS))
            raise SystemExit(f"nothing to learn with in {', '.join(map(str, folders))}: expected are {known}")

    def batch(self, count: int, size: int, random: np.random.Generator) -> Tensor:
        """`count` pieces [3, size, size] from 0 to 1, some of them mirrored, brighter or darker."""
        pieces = torch.stack([self.piece(size, random) for _ in range(count)]).float() / 255
        gamma = torch.from_numpy(random.uniform(0.7, 1.4, [count, 1, 1, 1])).float()
        return pieces**gamma

    def piece(self, size: int, random: np.random.Generator) -> Tensor:
        source = self.sources[random.integers(len(self.sources))]
        frame = source[random.integers(len(source))]
        top, left = (random.integers(side - size + 1) for side in frame.shape[1:])
        piece = frame[:, top : top + size, left : left + size]
        return piece.flip(2) if random.random() < 0.5 else piece

    def examples(self, count: int) -> list[Tensor]:
        """Whole frames, the same in every run, to look at."""
        chosen = [self.sources[number * len(self.sources) // count] for number in range(count)]
        return [source[len(source) // 2][None].float() / 255 for source in chosen]
