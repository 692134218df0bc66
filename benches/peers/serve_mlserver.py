"""The two models in MLServer: what the program `mlserver` beside this starts. Settings come from the environment.

Inferences run on threads, since without parallel workers a runtime shares its process with the server's event loop.
MLServer makes a list of Python numbers of every tensor that comes as raw bytes, and bytes of such a list for the
reply; a runtime has no way around it.
"""

import asyncio
import concurrent.futures
import os

import classifier
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse, MetadataTensor, ResponseOutput
from mlserver.utils import install_uvloop_event_loop


class Identity(MLModel):
    """What comes goes back."""

    async def load(self):
        self.inputs = [MetadataTensor(name="input", datatype="FP32", shape=[-1, -1, -1, -1])]
        self.outputs = [MetadataTensor(name="output", datatype="FP32", shape=[-1, -1, -1, -1])]
        return True

    async def predict(self, request):
        tensor = request.inputs[0]
        output = ResponseOutput(name="output", datatype=tensor.datatype, shape=tensor.shape, data=tensor.data)
        return InferenceResponse(model_name=self.name, outputs=[output])


class Classifier(MLModel):
    """The TorchScript file, on as many threads as there are instances."""

    async def load(self):
        self.inputs = [MetadataTensor(name="image", datatype="FP32", shape=[-1, 3, 224, 224])]
        self.outputs = [MetadataTensor(name="scores", datatype="FP32", shape=[-1, 1000])]
        self.classify = classifier.load(os.environ["PEER_MODEL"], bool(os.environ["PEER_OPTIMIZED"]))
        self.threads = concurrent.futures.ThreadPoolExecutor(int(os.environ["PEER_INSTANCES"]))
        return True

    async def predict(self, request):
        pictures = NumpyCodec.decode_input(request.inputs[0])
        scores = await asyncio.get_running_loop().run_in_executor(self.threads, self.classify, pictures)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])


async def main():
    models = [ModelSettings(name="identity", implementation=Identity)]
    models.append(ModelSettings(name="classifier", implementation=Classifier))
    await MLServer(Settings()).start(models)


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(main())
