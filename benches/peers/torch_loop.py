"""The loop that one writes first: a TorchScript module called in one Python process, on so many threads.

Prints one line of JSON with inferences a second: what a server in front of the same module is measured against.

    OMP_NUM_THREADS=1 .deps/models/bin/python benches/peers/torch_loop.py --model out/resnet18.pt --threads 2
"""

import argparse
import concurrent.futures
import json
import threading
import time

import classifier
import numpy as np


def repeat(classify, picture, span):
    """How many inferences began within `span` seconds, and how many a second that is."""
    began = time.perf_counter()
    count = elapsed = 0
    while elapsed < span:
        classify(picture)
        count += 1
        elapsed = time.perf_counter() - began
    return count, count / elapsed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a TorchScript file")
    parser.add_argument("--optimized", action="store_true", help="call torch.jit.optimize_for_inference first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3, help="that count")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds before them that do not")
    args = parser.parse_args()

    classify = classifier.load(args.model, args.optimized)
    picture = np.random.default_rng(0).random(classifier.SHAPE, np.float32)
    together = threading.Barrier(args.threads)

    def work():
        repeat(classify, picture, args.warmup)
        together.wait()
        cpu = time.thread_time()
        count, rate = repeat(classify, picture, args.seconds)
        return count, rate, time.thread_time() - cpu

    with concurrent.futures.ThreadPoolExecutor(args.threads) as pool:
        threads = [pool.submit(work) for _ in range(args.threads)]
        counts, rates, cpus = zip(*(thread.result() for thread in threads))
    result = {
        "threads": args.threads,
        "inferences_per_second": round(sum(rates), 3),
        "cpu_ms": round(1000 * sum(cpus) / sum(counts), 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
