"""Saves `add`, the smallest model there can be: y = x1 + x2, of 2x2 floats. Run it with a Python that has torch.

    python samples/export/add.py samples/models/add/1/model.pt
"""

import argparse

import torch
from torch import Tensor, nn


class Add(nn.Module):
    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return x1 + x2


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", help="where the model goes")
    torch.jit.script(Add()).save(arguments.parse_args().out)


if __name__ == "__main__":
    main()
