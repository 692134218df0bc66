"""What can be chosen on the command line."""

import argparse
from pathlib import Path

import torch


def parse(description: str, around: int) -> argparse.Namespace:
    """`around` is what has to be around a piece, on every side, in the frame that it is cut from."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("painting", type=Path, help="the picture whose style is learned")
    parser.add_argument("model", type=Path, help="the model's folder in the repository; its name is the model's")
    parser.add_argument("--content", type=Path, nargs="+", required=True, metavar="PATH",
                        help="pictures, videos, and folders of both, to learn with")
    parser.add_argument("--out", type=Path, default=Path("out/styles"), help="for logs and samples (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from this training's checkpoint, if there is one")
    parser.add_argument("--from", dest="start", type=Path, metavar="CHECKPOINT",
                        help="begin with what was learned for another painting, which takes a third of the steps")

    looks = parser.add_argument_group("how it looks")
    looks.add_argument("--likeness", type=float, default=0.2,
                       help="more: nearer to the frame; less: nearer to the painting (%(default)s)")
    looks.add_argument("--tone", type=float, default=0.5, help="more: light stays light, dark dark (%(default)s)")
    looks.add_argument("--brush", type=int, default=360, metavar="PIXELS",
                       help="the shorter side that the painting is made: more gives broader strokes (%(default)s)")
    looks.add_argument("--frame", type=int, default=360, metavar="PIXELS",
                       help="the shorter side of the frames that it will paint (%(default)s)")
    looks.add_argument("--smooth", type=float, default=0.3, help="more: less grain (%(default)s)")
    looks.add_argument("--calm", type=float, default=5.0, help="more: less flicker, and fewer details (%(default)s)")

    work = parser.add_argument_group("how it is trained")
    work.add_argument("--steps", type=int, default=6000, help="(%(default)s)")
    work.add_argument("--batch", type=int, default=4, help="pieces of frames in each step (%(default)s)")
    work.add_argument("--size", type=int, default=128, help="side of a piece, a multiple of 16 (%(default)s)")
    work.add_argument("--rate", type=float, default=2e-3, help="learning rate at its highest (%(default)s)")
    work.add_argument("--every", type=int, default=250, metavar="STEPS", help="between samples (%(default)s)")
    work.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    work.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU (%(default)s)")
    work.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    arguments = parser.parse_args()
    largest = arguments.frame - 2 * around
    if arguments.size % 16 or not 64 <= arguments.size <= largest:
        most = f"{largest}, which is --frame less {2 * around}"
        parser.error(f"--size {arguments.size}: a multiple of 16 from 64 to {most}")
    for name in ("brush", "steps", "batch", "every", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} {getattr(arguments, name)}: at least 1")
    return arguments
