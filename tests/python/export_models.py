"""Runs the scripts of samples/export that take a network of one's own, each with a small one of random weights, and
writes what the networks give without them: a folder for torch_outputs.py.

    FOLDER/models/NAME/...     what the scripts have written
    FOLDER/cases.json          the requests, as torch_models.py writes them

It runs with the Python of .deps/models.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
import torchvision
from torch import nn

from torch_models import ROOT, Cases, Port

EXPORT = ROOT / "samples/export"
sys.path.insert(0, str(EXPORT))

from heatmap_pose import Heatmaps  # noqa: E402
from transformer_net import TransformerNet  # noqa: E402

LABELS = ["nothing", "cat", "dog"]
POINTS = 5
# Of what most of the networks see.
WIDTH, HEIGHT = 96, 64


class Grid(nn.Module):
    """As a YOLO network ends: boxes in pixels, and scores, for each cell of a grid."""

    def __init__(self, rows: int, last: bool):
        super().__init__()
        self.look = nn.Conv2d(3, rows, 16, stride=16)
        self.last = last

    def forward(self, image):
        found = self.look(image * 8 - 4).flatten(2).sigmoid()
        found = torch.cat([found[:, :4] * HEIGHT, found[:, 4:]], 1)
        # The older form has rows of numbers, and gives what they come from, too.
        return (found.transpose(1, 2), found) if self.last else found


# --- The networks, each with the script for it and what it gives --------------------------------------------


def style(files):
    network = TransformerNet().eval()
    # As after training: the last layer brings what the norms made small to the range of colors.
    network.deconv3.conv2d.weight.mul_(60)
    network.deconv3.conv2d.bias.fill_(127)
    torch.save({f"module.{name}": value for name, value in network.state_dict().items()}, files / "style.pth")
    export("transformer_net.py", files / "style.pth", files / "models/style", "--size", f"{WIDTH}x{HEIGHT}")
    image = picture()
    yield "style", image, {"drawn": (network(image * 255) / 255).clamp(0, 1)}


def classifier(files):
    network = torchvision.models.get_model("mobilenet_v3_small", weights=None, num_classes=len(LABELS))
    settle(network, lambda: network(torch.randn(4, 3, 224, 224)))
    network.classifier[-1].weight.mul_(100)
    own(files, "torchvision_classifier.py", "mobilenet_v3_small", network)
    image = torch.randn(2, 3, 224, 224)
    yield "torchvision_classifier", image, {"scores": network(image)}


def detector(files):
    architecture = "ssdlite320_mobilenet_v3_large"
    network = torchvision.models.get_model(
        architecture, weights=None, weights_backbone=None, num_classes=len(LABELS)
    )
    settle(network, lambda: network.head(list(network.backbone(torch.randn(4, 3, 320, 320)).values())))
    # Sure of some boxes, and unsure of others.
    for head in network.head.classification_head.module_list:
        head[1].weight.mul_(10)
    own(files, "torchvision_detector.py", architecture, network)
    image = picture(320, 240)
    [found] = network([image[0]])
    yield "torchvision_detector", image, {name: found[name] for name in ("boxes", "scores", "labels")}


def segmenter(files):
    architecture = "lraspp_mobilenet_v3_large"
    network = torchvision.models.get_model(
        architecture, weights=None, weights_backbone=None, num_classes=len(LABELS)
    )
    settle(network, lambda: network(torch.randn(4, 3, 2 * HEIGHT, 2 * WIDTH)))
    own(files, "torchvision_segmenter.py", architecture, network, "--short", HEIGHT)
    image = torch.randn(1, 3, HEIGHT, WIDTH)
    yield "torchvision_segmenter", image, {"scores": network.classifier(network.backbone(image))}


def yolo(files):
    (files / "labels.txt").write_text("\n".join(LABELS))
    for name, rows, points in (("yolov8", 4, 0), ("yolov5", 5, 0), ("yolo_pose", 4, POINTS)):
        network = Grid(rows + len(LABELS) + 3 * points, name == "yolov5").eval()
        image = picture()
        torch.jit.trace(network, image).save(str(files / "yolo.torchscript"))
        options = ["--labels", files / "labels.txt", "--size", f"{WIDTH}x{HEIGHT}", "--points", points]
        export("yolo.py", files / "yolo.torchscript", files / "models" / name, *options)
        found = network(image)
        if not points:
            yield name, image, {"boxes": found[0] if name == "yolov5" else found}
            continue
        boxes, scores, places = found[0].split([4, len(LABELS), 3 * points])
        best, classes = scores.max(0)
        places = places.reshape(points, 3, -1).permute(2, 0, 1)
        yield name, image, {"boxes": boxes.t(), "scores": best, "classes": classes, "points": places}


def heatmaps(files):
    network = Heatmaps("resnet18", POINTS)
    settle(network, lambda: network(torch.randn(4, 3, HEIGHT, WIDTH)))
    network.final_layer.bias.fill_(0.5)
    torch.save(network.state_dict(), files / "heatmaps.pth")
    options = ["--backbone", "resnet18", "--points", POINTS, "--size", f"{WIDTH}x{HEIGHT}"]
    export("heatmap_pose.py", files / "heatmaps.pth", files / "models/heatmap_pose", *options)
    image = torch.randn(1, 3, HEIGHT, WIDTH)
    points = []
    for brightness in network(image)[0]:
        down, across = divmod(int(brightness.argmax()), WIDTH // 4)
        points.append([across * 4.0, down * 4.0, float(brightness.max())])
    points = torch.tensor(points)
    (left, upper), (right, lower) = points[:, :2].amin(0), points[:, :2].amax(0)
    more = torch.tensor([left - right, upper - lower, right - left, lower - upper]) / 10
    box = torch.stack([left, upper, right, lower]) + more
    yield "heatmap_pose", image, {"boxes": box[None], "scores": points[:, 2].mean()[None], "points": points[None]}


# --- What they are made of ----------------------------------------------------------------------------------


def settle(network, look):
    """Has the norms learn what comes, as in training: what is deep would give the same for everything."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    look()
    network.eval()


def picture(width=WIDTH, height=HEIGHT):
    return torch.rand(1, 3, height, width)


def own(files, script, architecture, network, *more):
    """Has a script export one of torchvision's networks with weights and labels of one's own."""
    torch.save(network.state_dict(), files / "weights.pth")
    (files / "labels.txt").write_text("\n".join(LABELS))
    given = ["--weights", files / "weights.pth", "--labels", files / "labels.txt"]
    export(script, architecture, files / "models" / script.removesuffix(".py"), *given, *more)


def export(script, *arguments):
    subprocess.run([sys.executable, "-s", "-B", EXPORT / script, *map(str, arguments)], check=True)


def port(name, tensor):
    return Port(name, "INT64" if tensor.dtype == torch.int64 else "FP32", []), tensor.contiguous()


@torch.no_grad()
def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    torch.manual_seed(1)
    torch.set_num_threads(1)
    cases = Cases(folder)
    for network in (style, classifier, detector, segmenter, yolo, heatmaps):
        for name, image, outputs in network(folder):
            inputs = "x" if name == "torchvision_classifier" else "image"
            cases.add(name, [port(inputs, image)], [port(*output) for output in outputs.items()])
    cases.write()
    print(f"ok: {len(cases.cases)} networks")


if __name__ == "__main__":
    main()
