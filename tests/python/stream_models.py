"""What Python's torch makes of frames with the sample models, for a test that streams the same frames.

It reads FOLDER/frames.json (name, width, height and count of each lot) and FOLDER/NAME.bgr, which holds the pixels of
the frames one after the other, and writes

    FOLDER/NAME.bgr      the pictures that are to come back: of person, cutout, background and the styles
    FOLDER/found.json    for each frame the faces, and the best classes; and those that may be faces of the coarse lot

The frames have the size that each model takes, so that nothing is left to how pictures are resized. It runs with the
Python of .deps/models.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
# As samples/models/faces/config.pbtxt has it, and what samples/export/faces.py leaves out.
LEAST_SCORE, NO_SCORE = 0.9, 0.1
STYLES = ("wave", "starry", "composition")
CROP = 224
BEST = 3
# What covers, and what a cutout stands on, as blue, green and red.
COLOR = (30, 20, 240)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    lots = {lot["name"]: frames(folder, lot) for lot in json.loads((folder / "frames.json").read_text())}
    with torch.inference_mode():
        for name in ("background", *STYLES):
            write(folder / f"{name}.bgr", redrawn(name, lots["wide"]))
        write(folder / "person.bgr", [covered(frame, mask, COLOR) for frame, mask in masked(lots["square"])])
        cutouts = [covered(frame, 255 - mask, COLOR) for frame, mask in masked(lots["square"])]
        write(folder / "cutout.bgr", cutouts)
        found = {"faces": list(faces(lots["wide"], LEAST_SCORE)), "classes": list(classes(lots["square"]))}
        found["perhaps"] = list(faces(lots["coarse"], NO_SCORE))
    (folder / "found.json").write_text(json.dumps(found))
    print(f"ok: {sum(map(len, lots.values()))} frames")


def frames(folder, lot):
    values = np.fromfile(folder / f"{lot['name']}.bgr", np.uint8)
    return values.reshape(lot["count"], lot["height"], lot["width"], 3)


def write(path, pictures):
    np.stack(list(pictures)).tofile(path)


def load(model):
    torch.set_num_threads(1)
    return torch.jit.load(str(ROOT / "samples/models" / model / "1/model.pt"))


def rgb(frame):
    """Values from 0 to 255 as a batch of one."""
    return torch.from_numpy(frame[:, :, ::-1].transpose(2, 0, 1)[np.newaxis].astype(np.float32))


def pixels(values):
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


# --- The models ------------------------------------------------------------------------------------------


def redrawn(name, lot):
    model = load(name)
    for frame in lot:
        yield pixels(model(rgb(frame) / 255))[0].transpose(1, 2, 0)[:, :, ::-1]


def masked(lot):
    """Each frame, and how much of each pixel is the person, of 255."""
    model = load("person")
    for frame in lot:
        yield frame, pixels(model(rgb(frame) / 255))[0, 0]


def covered(frame, mask, color):
    share = mask[:, :, np.newaxis].astype(np.float32) / 255
    return (frame * (1 - share) + np.float32(color) * share).round().astype(np.uint8)


def faces(lot, least):
    model = load("faces")
    height, width = lot.shape[1:3]
    most = np.float32([width, height, width, height])
    for frame in lot:
        boxes, scores, points = (tensor.numpy() for tensor in model(rgb(frame) / 255))
        order = [number for number in np.argsort(-scores, kind="stable") if scores[number] >= least]
        boxes = np.clip(boxes, 0, most)
        yield [
            {"box": boxes[each].tolist(), "score": float(scores[each]), "points": points[each].tolist()}
            for each in order
        ]


def classes(lot):
    model = load("classifier")
    side = (lot.shape[1] - CROP) // 2
    for frame in lot:
        scores = model((rgb(frame[side : side + CROP, side : side + CROP]) - 127) / 128)[0].numpy()
        best = np.argsort(-scores, kind="stable")[:BEST]
        yield [{"class": int(each), "score": float(scores[each])} for each in best]


if __name__ == "__main__":
    main()
