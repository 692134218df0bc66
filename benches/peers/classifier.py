"""A TorchScript classifier as Python runs it on one thread: the same for every peer."""

import os

import torch

# One thread for each instance, as in frameserve. Torch has to read so when it is imported: what is set later holds
# for the thread that sets it, and a convolution on another thread takes all cores again, and six times the
# processor time where they are busy.
assert os.environ.get("OMP_NUM_THREADS") == "1", "OMP_NUM_THREADS=1 is not set"
torch.set_num_threads(1)

SHAPE = (1, 3, 224, 224)


def load(path, optimized):
    """A function from a FP32 array [n,3,224,224] to one of [n,1000]; several threads may call it at a time."""
    module = torch.jit.load(path, map_location="cpu").eval()
    if optimized:
        module = torch.jit.optimize_for_inference(module)

    def classify(pictures):
        with torch.inference_mode():
            return module(torch.from_numpy(pictures)).numpy()

    # The interpreter optimises a graph in its first runs.
    for _ in range(3):
        classify(torch.zeros(SHAPE).numpy())
    return classify
