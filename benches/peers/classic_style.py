"""Writes the network of Johnson et al. that most style models are, with weights from a fixed seed, as TorchScript.

Speed depends on the shape alone, so no trained weights are fetched. The server and the others get the very module
that samples/export/transformer_net.py makes of trained ones.

    .deps/models/bin/python benches/peers/classic_style.py out/classic.pt
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples/export"))
from export import save  # noqa: E402
from transformer_net import Style, TransformerNet, config  # noqa: E402

SEED = 16
# What the network paints with, from 0 to 255.
LARGEST = 255.0


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.manual_seed(SEED)
    network = TransformerNet().eval()
    # With PyTorch's own start all pictures would be black, and the easiest that a JPEG can be.
    last = network.deconv3.conv2d
    torch.nn.init.normal_(last.weight, std=LARGEST / 5 / (last.weight[0].numel() / 2) ** 0.5)
    torch.nn.init.constant_(last.bias, LARGEST / 2)
    save(torch.jit.script(Style(network, LARGEST).eval()), torch.rand(1, 3, 122, 163), sys.argv[1], config(None))


if __name__ == "__main__":
    main()
