"""The two models in KServe's Python SDK: what the program `kserve` beside this starts, with the SDK's own arguments.

Inferences run on threads, since `predict` is called on the server's event loop.
"""

import asyncio
import concurrent.futures
import logging
import os

import classifier
import kserve


class Identity(kserve.Model):
    """What comes goes back."""

    def get_input_types(self):
        return [{"name": "input", "datatype": "FP32", "shape": [-1, -1, -1, -1]}]

    def get_output_types(self):
        return [{"name": "output", "datatype": "FP32", "shape": [-1, -1, -1, -1]}]

    async def predict(self, request, headers=None):
        return reply(self, request, "output", request.inputs[0].as_numpy())


class Classifier(kserve.Model):
    """The TorchScript file, on as many threads as there are instances."""

    def __init__(self, name):
        super().__init__(name)
        self.classify = classifier.load(os.environ["PEER_MODEL"], bool(os.environ["PEER_OPTIMIZED"]))
        self.threads = concurrent.futures.ThreadPoolExecutor(int(os.environ["PEER_INSTANCES"]))

    def get_input_types(self):
        return [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 224, 224]}]

    def get_output_types(self):
        return [{"name": "scores", "datatype": "FP32", "shape": [-1, 1000]}]

    async def predict(self, request, headers=None):
        pictures = request.inputs[0].as_numpy()
        scores = await asyncio.get_running_loop().run_in_executor(self.threads, self.classify, pictures)
        return reply(self, request, "scores", scores)


def reply(model, request, name, array):
    output = kserve.InferOutput(name, list(array.shape), "FP32")
    output.set_data_from_numpy(array, binary_data=True)
    return kserve.InferResponse(request.id, model.name, [output])


def main():
    models = [Identity("identity"), Classifier("classifier")]
    for model in models:
        model.load()
    server = kserve.ModelServer()
    # Else there is a line for each request of gRPC too.
    logging.getLogger("kserve").setLevel(logging.WARNING)
    server.start(models)


if __name__ == "__main__":
    main()
