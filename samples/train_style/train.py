"""Trains a network that paints video frames like a picture of yours, and puts it where the server finds it.

    python samples/train_style/train.py painting.jpg samples/models/mine --content photos videos

It learns from frames of any kind: a folder of holiday pictures or a few videos do. While it trains, OUT/NAME has

    log.txt             the losses, and the time that is left
    00500.png ...       what it makes of some frames by then: above as they are, below as painted
    checkpoint.pt       to go on from with --resume, or to begin another painting with, by --from

and in the end samples/models/mine has 1/model.pt and config.pbtxt. README.md beside this file says more.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "export"))

from data import Content, load
from export import check_same, save
from losses import Features, Style, content_loss, roughness, tone_loss
from measure import clip, flicker, frames_per_second, still
from network import Stylist
from options import parse
from slim import slim

# How far a piece is shifted, and how strong its noise is at most, to see whether the result stays the same.
SHIFT = 16
NOISE = 6 / 255
# How much more it counts when nothing moves: there is less of it then, and it is seen more.
STILL = 4
# What is painted around a piece, and not looked at but for whether it stays the same: the network can tell where the
# edges are, and would put there what the painting has and the frame has no place for.
EDGE = 16
# Steps in which it learns to copy the frame, before it learns to paint.
COPYING = 150
# The part of the training in which batch norms are as they will be later.
SETTLED = 0.3
EXAMPLES = 4

CONFIG = """\
# Paints a picture in the style of {style}.
backend: "pytorch"
# Frames of several streams may be painted together on a GPU, up to 8. On a CPU they are painted one by one: on one thread,
# 2 of 640x360 took at most a tenth less time for each, 4 as much as one alone, and 8 a third more, out of the caches.
max_batch_size: 8
input [
  {{
    name: "image"
    data_type: TYPE_FP32
    dims: [ 3, -1, -1 ]
  }}
]
output [
  {{
    name: "painted"
    data_type: TYPE_FP32
    dims: [ 3, -1, -1 ]
  }}
]

parameters {{ key: "frameserve.task" value {{ string_value: "image" }} }}
parameters {{ key: "frameserve.cpu_batch" value {{ string_value: "1" }} }}

# It is loaded with a run of this size, and optimised if that is faster then.
model_warmup {{
  name: "640x360"
  batch_size: 1
  inputs {{
    key: "image"
    value {{ data_type: TYPE_FP32 dims: [ 3, 360, 640 ] zero_data: true }}
  }}
}}
"""


def main() -> None:
    arguments = parse(__doc__, EDGE + SHIFT)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    training = Training(arguments)
    if arguments.start:
        training.begin_with(arguments.start)
    if arguments.resume and training.checkpoint.exists():
        training.resume()
    training.run()
    training.export()


class Training:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.folder = arguments.out / arguments.model.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.folder / "checkpoint.pt"
        self.random = np.random.default_rng(arguments.seed)
        self.content = Content(arguments.content, arguments.frame)
        self.features = Features().to(arguments.device)
        painting = load(arguments.painting, arguments.brush)[None].to(arguments.device) / 255
        self.style = Style(self.features, painting)
        self.network = Stylist(margin=EDGE).to(arguments.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99))
        self.step = 0
        self.fresh = True

    def begin_with(self, path: Path) -> None:
        self.network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")["network"])
        self.fresh = False

    def resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.fresh = False
        self.random = np.random.default_rng([self.arguments.seed, self.step])

    def run(self) -> None:
        steps, every = self.arguments.steps, self.arguments.every
        if self.fresh:
            for _ in range(COPYING):
                self.learn(self.arguments.rate, self.copying)
        began = time.monotonic()
        while self.step < steps:
            losses = self.learn(self.rate(), self.painting)
            self.step += 1
            if self.step % 50 == 0:
                began, before = time.monotonic(), began
                self.log(losses, (began - before) / 50)
            if self.step % every == 0 or self.step == steps:
                self.save_checkpoint()
                self.show()

    def rate(self) -> float:
        """Up over the first steps, then down along half a wave."""
        done = self.step / self.arguments.steps
        return self.arguments.rate * min(1, (self.step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done) + 0.005)

    def learn(self, rate: float, judge: Callable[["Views"], dict[str, Tensor]]) -> dict[str, Tensor]:
        self.network.train()
        if self.step >= self.arguments.steps * (1 - SETTLED):
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        losses = judge(self.views())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        return losses

    def views(self) -> "Views":
        arguments = self.arguments
        size = arguments.size + 2 * (EDGE + SHIFT)
        wide = self.content.batch(arguments.batch, size, self.random).to(arguments.device)
        # Every other time nothing moves: the noise of a camera alone is much less, and must not drown.
        furthest = SHIFT * int(self.random.integers(2))
        across, down = (int(x) for x in self.random.integers(-furthest, furthest + 1, 2))
        frames, others = moved(wide, 0, 0), moved(wide, across, down)
        both = torch.cat([frames, others])
        noise = torch.rand(arguments.batch, 1, 1, 1, device=arguments.device).repeat(2, 1, 1, 1) * NOISE
        painted, others = self.network((both + torch.randn_like(both) * noise).clamp(0, 1)).chunk(2)
        return Views(frames, painted, others, across, down)

    def copying(self, views: "Views") -> dict[str, Tensor]:
        return {"copy": (views.painted - views.frames).square().mean()}

    def painting(self, views: "Views") -> dict[str, Tensor]:
        # Not always the same piece, so that all pixels count alike in what sees only every other one.
        size, (top, left) = self.arguments.size, self.random.integers(EDGE // 2, EDGE * 3 // 2, 2)
        frames, painted = (x[:, :, top : top + size, left : left + size] for x in (views.frames, views.painted))
        seen = self.features(painted)
        with torch.no_grad():
            wanted = self.features(frames)
        return {
            "style": self.style.loss(painted, seen),
            "content": content_loss(seen, wanted) * self.arguments.likeness,
            "tone": tone_loss(painted, frames) * self.arguments.tone,
            "roughness": roughness(painted) * self.arguments.smooth,
            "flicker": views.apart() * self.arguments.calm * (1 if views.across or views.down else STILL),
        }

    def log(self, losses: dict[str, Tensor], pace: float) -> None:
        left = pace * (self.arguments.steps - self.step) / 60
        parts = "  ".join(f"{name} {float(loss.detach()):.3f}" for name, loss in losses.items())
        line = f"{self.step:6}/{self.arguments.steps}  {parts}  {pace:.2f} s a step, {left:.0f} min left"
        print(line, flush=True)
        with open(self.folder / "log.txt", "a") as file:
            file.write(line + "\n")

    def save_checkpoint(self) -> None:
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        unfinished = self.checkpoint.with_suffix(".new")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def trained(self) -> Stylist:
        network = Stylist().to(self.arguments.device).eval()
        network.load_state_dict(self.network.state_dict())
        return network

    @torch.no_grad()
    def show(self) -> None:
        network = self.trained()
        rows = []
        for frame in self.content.examples(EXAMPLES):
            painted = network(frame.to(self.arguments.device)).cpu()
            rows.append(torch.cat([frame, painted], 2)[0])
        width = min(row.shape[2] for row in rows)
        sheet = torch.cat([row[:, :, :width] for row in rows], 2)
        Image.fromarray((sheet.permute(1, 2, 0) * 255).round().byte().numpy()).save(self.folder / f"{self.step:05}.png")

    def export(self) -> None:
        """Writes the model, and says how big, fast and calm it is."""
        folder = self.arguments.model
        path = folder / "1/model.pt"
        network = self.trained().cpu()
        # Scripted, since sizes that a trace has seen would stay.
        example = torch.rand(1, 3, 123, 161)
        save(torch.jit.script(network), example, path)
        slim(path)
        check_same(network, torch.jit.load(str(path)), example)
        (folder / "config.pbtxt").write_text(CONFIG.format(style=self.arguments.painting.stem))
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
        print(f"frames of 640x360 in a second, on one CPU thread: {frames_per_second(path):.1f}")
        scenes = [flicker(network, still(frame)) for frame in self.content.examples(EXAMPLES)]
        print("flicker of still scenes with a camera's noise: " + ", ".join(f"{scene:.2f}" for scene in scenes))
        for video in self.content.videos:
            print(f"flicker of {video.name}: {flicker(network, clip(video, self.arguments.frame)):.2f}")


@dataclass
class Views:
    """Pieces of frames, what is painted for them, and what is painted for the same ones moved, with other noise."""

    frames: Tensor
    painted: Tensor
    others: Tensor
    across: int
    down: int

    def apart(self) -> Tensor:
        """How much the paintings differ, where both are. Not squared: what shimmers is small and everywhere."""
        across, down = self.across, self.down
        height, width = self.painted.shape[2:]
        here = self.painted[:, :, max(down, 0) : height + min(down, 0), max(across, 0) : width + min(across, 0)]
        there = self.others[:, :, max(-down, 0) : height + min(-down, 0), max(-across, 0) : width + min(-across, 0)]
        return (here - there).abs().mean()


def moved(wide: Tensor, across: int, down: int) -> Tensor:
    """The middle of pieces that are SHIFT wider on every side, moved."""
    height, width = (side - 2 * SHIFT for side in wide.shape[2:])
    return wide[:, :, SHIFT + down :, SHIFT + across :][:, :, :height, :width]


if __name__ == "__main__":
    main()
