"""The model `classifier` for Triton's Python backend, where each instance is a process with a torch of its own."""

import os
import sys

import triton_python_backend_utils as triton

# The process that runs this does not read PYTHONPATH.
sys.path.append(os.environ["PYTHONPATH"])
import classifier


class TritonPythonModel:
    def initialize(self, args):
        self.classify = classifier.load(os.environ["PEER_MODEL"], bool(os.environ["PEER_OPTIMIZED"]))

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        pictures = triton.get_input_tensor_by_name(request, "image").as_numpy()
        return triton.InferenceResponse([triton.Tensor("scores", self.classify(pictures))])
