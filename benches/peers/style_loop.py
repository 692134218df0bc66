"""The loop that one writes first: a TorchScript module that paints decoded frames, one after the other.

Reads from standard input what to paint, a line of JSON each, and answers each with one: frames a second. Frames lie in
a file, BGR, and are in memory before the time is taken.

    OMP_NUM_THREADS=1 .deps/models/bin/python benches/peers/style_loop.py --model samples/models/wave/1/model.pt <<< \\
        '{"frames": "out/frames", "width": 320, "height": 240, "warm_up": 1, "seconds": 3}'
"""

import argparse
import itertools
import json
import sys
import time

import numpy as np
import style
import torch


def repeat(once, seconds):
    """At least one time; how many a second that is, and milliseconds of processor time for each."""
    began, cpu = time.perf_counter(), time.process_time()
    count = elapsed = 0
    while count == 0 or elapsed < seconds:
        once()
        count += 1
        elapsed = time.perf_counter() - began
    return count / elapsed, 1000 * (time.process_time() - cpu) / count


def of_frames(paint):
    """What does a task with frames: from bytes to bytes, on the CPU."""

    def once_for(task):
        frames = np.fromfile(task["frames"], np.uint8).reshape(-1, task["height"], task["width"], 3)
        turn = itertools.cycle(frames)
        return lambda: paint(next(turn))

    return once_for


def of_batches(model):
    """What does a task with batches on the GPU: the model alone, on pictures that are there already."""
    module = style.module_of(model, optimized=False, device="cuda")

    def once_for(task):
        batch = torch.rand(task["batch"], 3, task["height"], task["width"], device="cuda")

        @torch.inference_mode()
        def once():
            module(batch)
            torch.cuda.synchronize()

        return once

    return once_for


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a TorchScript file")
    parser.add_argument("--optimized", action="store_true", help="call torch.jit.optimize_for_inference first")
    parser.add_argument("--channels-last", action="store_true", help="the memory format, which suits some models")
    parser.add_argument("--cuda", action="store_true", help="batches on the GPU, with `batch` in place of `frames`")
    args = parser.parse_args()

    if args.cuda:
        once_for = of_batches(args.model)
    else:
        once_for = of_frames(style.load(args.model, args.optimized, args.channels_last))
    for line in sys.stdin:
        task = json.loads(line)
        once = once_for(task)
        repeat(once, task["warm_up"])
        rate, cpu_ms = repeat(once, task["seconds"])
        print(json.dumps({"frames_per_second": rate * task.get("batch", 1), "cpu_ms": cpu_ms}), flush=True)


if __name__ == "__main__":
    main()
