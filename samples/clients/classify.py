"""Asks a classifier what a picture shows, with Triton's own Python client.

    pip install 'tritonclient[grpc]' pillow
    python samples/clients/classify.py cat.jpg

First the file is sent as it is, and the server decodes and prepares it; then the same picture as a tensor that was
prepared here, as any server of this protocol takes it.
"""

import argparse
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="a JPEG, PNG or WebP file")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--model", default="classifier")
    arguments = parser.parse_args()

    with triton.InferenceServerClient(arguments.server) as client:
        print("sent as a file:")
        classify(client, arguments.model, np.array([arguments.picture.read_bytes()], dtype=np.object_))
        print("sent as a tensor:")
        classify(client, arguments.model, prepare(arguments.picture))


def classify(client: triton.InferenceServerClient, model: str, pictures: np.ndarray) -> None:
    datatype = "BYTES" if pictures.dtype == np.object_ else "FP32"
    image = triton.InferInput("image", list(pictures.shape), datatype)
    image.set_data_from_numpy(pictures)
    # Asked for as a classification, the 1,000 scores come as the best five: "score:number:label".
    best = triton.InferRequestedOutput("probabilities", class_count=5)
    result = client.infer(model, [image], outputs=[best])
    for line in result.as_numpy("probabilities").flatten():
        score, _, label = line.decode().split(":", 2)
        print(f"  {float(score):6.1%}  {label}")


def prepare(path: Path) -> np.ndarray:
    """What the model's config.pbtxt says of its pictures: the shorter side becomes 256 pixels, of which 224 x 224
    are cut out of the middle, and the values (x - 127) / 128."""
    picture = Image.open(path).convert("RGB")
    scale = 256 / min(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    left, top = (width - 224) // 2, (height - 224) // 2
    values = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32)
    return ((values - 127) / 128).transpose(2, 0, 1)[np.newaxis].copy()


if __name__ == "__main__":
    main()
