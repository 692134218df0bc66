"""Writes what torch-model-archiver makes archives of, and what TorchServe's handlers answer: a folder for the test
`archives`.

    FOLDER/NAME.pt, NAME.json, NAME.yaml     program, names of classes and options of each model
    FOLDER/pictures/...                      what is sent
    FOLDER/index.json                        the models, and the answer to each picture

The handlers' steps are those of image_classifier, object_detector and image_segmenter, with torchvision and PIL. It
runs with the Python of .deps/models.
"""

import argparse
import io
import json
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CROPPED = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
)
WHOLE = transforms.ToTensor()


# --- The models: the samples, as they would have been trained for the handlers -----------------------------


class Plain(nn.Module):
    """Undoes the handler's normalisation, to colors from 0 to 1."""

    def __init__(self):
        super().__init__()
        self.mean = torch.tensor(MEAN).reshape(1, 3, 1, 1)
        self.std = torch.tensor(STD).reshape(1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean


class Classifier(Plain):
    """Logits, from a model that gives probabilities."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        colors = x * self.std + self.mean
        return torch.log(self.model((colors * 255 - 127) / 128))


class Segmenter(Plain):
    """Logits of nothing, of a person, and of what is never there, in a dict as torchvision's have it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        colors = nn.functional.interpolate(x * self.std + self.mean, size=[256, 256], mode="bilinear")
        person = self.model(colors).reshape(x.shape[0], 1, 256, 256).clamp(0.0001, 0.9999)
        person = nn.functional.interpolate(person, size=[x.shape[2], x.shape[3]], mode="bilinear")
        out = torch.cat([torch.log(1 - person), torch.log(person), torch.full_like(person, -9.0)], 1)
        return {"out": out, "aux": out * 2}


class Detector(nn.Module):
    """A batch of pictures, to a dict for each."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> List[Dict[str, Tensor]]:
        found: List[Dict[str, Tensor]] = []
        for image in images:
            boxes, scores, points = self.model(image[None])
            labels = (torch.arange(len(scores), device=image.device) % 3 + 1).to(torch.int64)
            found.append({"boxes": boxes, "labels": labels, "scores": scores})
        return found


class ListDetector(nn.Module):
    """A list of pictures, to losses and a dict for each, as torchvision's detectors have it when they are scripted."""

    def __init__(self, model):
        super().__init__()
        self.model = Detector(model)

    def forward(
        self, images: List[Tensor], targets: Optional[List[Dict[str, Tensor]]] = None
    ) -> Tuple[Dict[str, Tensor], List[Dict[str, Tensor]]]:
        losses: Dict[str, Tensor] = {}
        return losses, self.model(torch.stack(images))


def sample(name):
    return torch.jit.load(str(ROOT / "samples/models" / name / "1/model.pt"))


# --- The handlers ----------------------------------------------------------------------------------------


def named(labels, number):
    return str(number) if labels is None else labels[str(number)]


def image_classifier(program, picture, labels):
    shares = torch.softmax(program(CROPPED(picture)[None]), dim=1)
    scores, classes = torch.topk(shares, 5, dim=1)
    pairs = zip(classes.tolist()[0], scores.tolist()[0])
    return {named(labels, number): score for number, score in pairs}


def object_detector(program, picture, labels):
    found = program(WHOLE(picture)[None])[0]
    kept = found["scores"] >= 0.5
    lists = [found[key][kept].tolist() for key in ("labels", "boxes", "scores")]
    return [{named(labels, number): box, "score": score} for number, box, score in zip(*lists)]


def listed_detector(program, picture, labels):
    return object_detector(lambda images: program(list(images))[1], picture, labels)


def image_segmenter(program, picture, labels):
    shares = torch.softmax(program(CROPPED(picture)[None])["out"], dim=1)
    best = torch.max(shares, dim=1)
    return torch.stack([best.indices.type(best.values.dtype), best.values], dim=3).tolist()[0]


# --- What is written -------------------------------------------------------------------------------------


def pictures(folder):
    """PNG, and JPEG of sides that nothing divides."""
    for path in sorted(folder.glob("*.png")):
        picture = Image.open(path).convert("RGB")
        yield path.name, path.read_bytes()
        for size, quality in ((picture.size, 90), ((picture.width - 7, picture.height - 40), 75)):
            data = io.BytesIO()
            picture.crop((0, 0, *size)).save(data, "JPEG", quality=quality)
            yield f"{path.stem}-{quality}.jpg", data.getvalue()


def models():
    names = (ROOT / "samples/models/classifier/labels.txt").read_text().splitlines()
    lists = {str(number): [f"n{number:08}", name] for number, name in enumerate(names)}
    things = {"object_type_names": ["nothing", "first", "second", "third"]}
    options = "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 4\nmaxBatchDelay: 10\nresponseTimeout: 60\ndeviceType: cpu\n"
    classifier = torch.jit.script(Classifier(sample("classifier")))
    yield "classifier", classifier, image_classifier, "image_classifier", "default", lists, options
    yield "unnamed", classifier, image_classifier, "image_classifier", "zip-store", None, None
    detector = torch.jit.script(Detector(sample("faces")))
    yield "detector", detector, object_detector, "object_detector", "tgz", things, None
    listed = torch.jit.script(ListDetector(sample("faces")))
    yield "listed", listed, listed_detector, "object_detector", "default", None, None
    segmenter = torch.jit.script(Segmenter(sample("person")))
    yield "segmenter", segmenter, image_segmenter, "image_segmenter", "no-archive", None, None


def mapping(labels):
    """As TorchServe reads it."""
    if labels is None:
        return None
    if "object_type_names" in labels:
        return {str(number): name for number, name in enumerate(labels["object_type_names"])}
    return {number: names[-1] for number, names in labels.items()}


@torch.inference_mode()
def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--pictures", type=Path, default=ROOT / ".deps/pictures")
    args = arguments.parse_args()
    torch.set_num_threads(1)
    (args.folder / "pictures").mkdir()
    sent = dict(pictures(args.pictures))
    for name, data in sent.items():
        (args.folder / "pictures" / name).write_bytes(data)
    index = []
    for name, program, function, handler, form, labels, options in models():
        program.eval().save(str(args.folder / f"{name}.pt"))
        program = torch.jit.load(str(args.folder / f"{name}.pt"))
        if labels is not None:
            folder = args.folder / f"{name}-labels"
            folder.mkdir()
            (folder / "index_to_name.json").write_text(json.dumps(labels))
        if options is not None:
            (args.folder / f"{name}.yaml").write_text(options)
        answers = {}
        for picture, data in sent.items():
            answer = function(program, Image.open(io.BytesIO(data)), mapping(labels))
            answers[picture] = json.dumps(answer, indent=2)
        files = {"labels": labels is not None, "options": options is not None}
        index.append({"name": name, "handler": handler, "form": form, "answers": answers, **files})
    (args.folder / "index.json").write_text(json.dumps(index))
    print(f"ok: {len(index)} models, {len(sent)} pictures")


if __name__ == "__main__":
    main()
