"""Writes the TorchScript models of this folder, which tests/it/torch.rs loads.

    pip install torch==2.11.0 && python3 tests/models/make.py

They are kept in the repository, since this takes all of Python's torch, which nothing else here needs.
"""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent


class Add(nn.Module):
    """Two inputs, two outputs."""

    def forward(self, a: Tensor, b: Tensor) -> Tuple[Tensor, Tensor]:
        return a + b, a - b


class Same(nn.Module):
    """Gives back a tensor of any type."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Optionals(nn.Module):
    """One input that has to be there, and two that need not."""

    def forward(self, x: Tensor, scale: Optional[Tensor] = None, rounds: int = 2, shift: Optional[Tensor] = None) -> Tensor:
        for _ in range(rounds):
            x = x * 2
        if scale is not None:
            x = x * scale
        if shift is not None:
            x = x + shift
        return x


class Named(nn.Module):
    """Outputs by name, in a dict."""

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        return {"double": x * 2, "half": x / 2}


class Fields(NamedTuple):
    double: Tensor
    half: Tensor


class Tuples(nn.Module):
    """Outputs by name, in a named tuple."""

    def forward(self, x: Tensor) -> Fields:
        return Fields(x * 2, x / 2)


class Nested(nn.Module):
    """Outputs in tuples and lists, and something that is no tensor among them."""

    def forward(self, x: Tensor) -> Tuple[Tuple[Tensor, List[Tensor]], int, Optional[Tensor]]:
        return (x + 1, [x + 2, x + 3]), 7, None


class Listed(nn.Module):
    """Inputs in a list."""

    def forward(self, tensors: List[Tensor], unused: Optional[Tensor] = None) -> Tensor:
        return torch.stack(tensors).sum(0)


class Mapped(nn.Module):
    """Inputs in a dict."""

    def forward(self, tensors: Dict[str, Tensor]) -> Tensor:
        return tensors["a"] - tensors["b"]


class Raises(nn.Module):
    """Refuses negative numbers, and fails below a library for matrices that do not fit."""

    def forward(self, x: Tensor) -> Tensor:
        if bool((x < 0).any()):
            raise ValueError("x must not be negative")
        return torch.mm(x, x)


class Found(nn.Module):
    """As many rows as there is something to be found, whatever the rows of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.nonzero()


class Counts(nn.Module):
    """Knows how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.calls


class Weights(nn.Module):
    """Gives out a part of its own memory, and then writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.arange(4.0))

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        x += 1
        return self.weights, x


class Number(nn.Module):
    """Takes what no tensor is."""

    def forward(self, x: Tensor, scale: float) -> Tensor:
        return x * scale


class Network(nn.Module):
    """Convolutions and norms, such as are put together when a network is optimised."""

    def __init__(self) -> None:
        super().__init__()
        layers: List[nn.Module] = []
        for i in range(3):
            layers += [nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x).mean([2, 3])).softmax(1)


class Mixes(nn.Module):
    """Multiplies its input with numbers that it makes itself, which are 32-bit floats whatever it was changed to."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.mm(x.mean([2, 3]), torch.eye(3, device=x.device))


class Detects(nn.Module):
    """As torchvision's detectors have it: a list of pictures, and for each a dict of what was found."""

    def forward(
        self, images: List[Tensor], targets: Optional[List[Dict[str, Tensor]]] = None
    ) -> Tuple[Dict[str, Tensor], List[Dict[str, Tensor]]]:
        losses: Dict[str, Tensor] = {}
        found: List[Dict[str, Tensor]] = []
        for image in images:
            found.append({"boxes": image.nonzero().float(), "scores": image[image > 0]})
        return losses, found


class NoForward(nn.Module):
    """Has a method, but not the one that a server calls."""

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        return x


class Unknown(nn.Module):
    """Uses an operator of a library that the server does not have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.elsewhere.unknown(x)


def main() -> None:
    torch.manual_seed(1)
    torch.library.define("elsewhere::unknown", "(Tensor x) -> Tensor")
    models = {
        "add": Add(), "same": Same(), "optionals": Optionals(), "named": Named(), "tuples": Tuples(),
        "nested": Nested(), "listed": Listed(), "mapped": Mapped(), "raises": Raises(), "found": Found(),
        "counts": Counts(), "weights": Weights(), "number": Number(), "network": Network(), "detects": Detects(),
        "mixes": Mixes(), "noforward": NoForward(), "unknown": Unknown(),
    }
    for name, model in models.items():
        torch.jit.script(model.eval()).save(FOLDER / f"{name}.pt")
    traced = torch.jit.trace(Network().eval(), torch.rand(1, 3, 16, 16))
    traced.save(FOLDER / "traced.pt")
    # What is no TorchScript, though it comes in the same kind of file.
    torch.save(Network().state_dict(), FOLDER / "states.pt")


if __name__ == "__main__":
    main()
