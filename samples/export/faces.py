"""Makes samples/models/faces: MTCNN, which finds faces of 40 pixels and more, and in each the eyes, the nose and
the corners of the mouth.

The three networks are those of facenet-pytorch; the cascade around them is written anew, as TorchScript, after
Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks, 2016.
"""

import sys
from pathlib import Path
from typing import Final, List, Tuple

import torch
import torch.nn.functional as F
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import Tensor, nn

from boxes import nms
from export import save

class Faces(nn.Module):
    """A picture [1, 3, height, width], RGB from 0 to 1, to boxes [N, 4] (x1, y1, x2, y2), scores [N] and points
    [N, 10] (x and y of each), in pixels. The networks may be of less than 32 bits; places always have these."""

    smallest_face: Final[float] = 40.0
    # The first network sees windows of this size, moved by the stride, in pictures that get ever smaller.
    window: Final[float] = 12.0
    stride: Final[float] = 2.0
    shrink: Final[float] = 0.709
    # Of what the last network looked at, what is less is no answer. The threshold in config.pbtxt, or of a stage, can
    # only be higher.
    least_score: Final[float] = 0.1

    def __init__(self):
        super().__init__()
        self.propose, self.refine, self.decide = PNet(), RNet(), ONet()

    def forward(self, image: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        image = (image * 255.0 - 127.5) / 128.0
        boxes, scores = self.proposals(image)

        if len(boxes) == 0:
            return none(image)
        moves, faceness = self.refine(crops(image, boxes, 24))
        moves, faceness = moves.float(), faceness.float()
        kept = torch.nonzero(faceness[:, 1] > 0.7).flatten()
        boxes, scores, moves = boxes[kept], faceness[kept, 1], moves[kept]
        kept = nms(boxes, scores, 0.7)
        boxes = squares(moved(boxes[kept], moves[kept]))

        if len(boxes) == 0:
            return none(image)
        moves, points, faceness = self.decide(crops(image, boxes, 48))
        moves, points, faceness = moves.float(), points.float(), faceness.float()
        kept = torch.nonzero(faceness[:, 1] > self.least_score).flatten()
        boxes, scores, moves, points = boxes[kept], faceness[kept, 1], moves[kept], points[kept]
        width, height = sizes(boxes)
        across = points[:, :5] * width[:, None] + boxes[:, 0:1] - 1.0
        down = points[:, 5:] * height[:, None] + boxes[:, 1:2] - 1.0
        points = torch.stack([across, down], 2).flatten(1)
        boxes = moved(boxes, moves)
        kept = nms(boxes, scores, 0.7, "smaller")
        return boxes[kept], scores[kept], points[kept]

    def proposals(self, image: Tensor) -> Tuple[Tensor, Tensor]:
        """What may be a face, by the first network, which looks at every place at every size."""
        found = [torch.zeros(0, 9, device=image.device)]
        scale = self.window / self.smallest_face
        while min(image.size(2), image.size(3)) * scale >= self.window:
            size = [int(image.size(2) * scale + 1.0), int(image.size(3) * scale + 1.0)]
            moves, faceness = self.propose(F.interpolate(image, size=size, mode="area"))
            moves, faceness = moves.float(), faceness.float()
            places = torch.nonzero(faceness[0, 1] >= 0.6)
            down, across = places[:, 0], places[:, 1]
            corner = torch.stack([across, down], 1) * self.stride
            boxes = torch.floor(torch.cat([corner + 1.0, corner + self.window], 1) / scale)
            scores = faceness[0, 1, down, across]
            kept = nms(boxes, scores, 0.5)
            found.append(torch.cat([boxes, moves[0, :, down, across].t(), scores[:, None]], 1)[kept])
            scale *= self.shrink
        candidates = torch.cat(found)
        candidates = candidates[nms(candidates[:, :4], candidates[:, 8], 0.7)]
        boxes, moves = candidates[:, :4], candidates[:, 4:8]
        size = boxes[:, 2:] - boxes[:, :2]
        return squares(boxes + moves * size.repeat(1, 2)), candidates[:, 8]


def none(image: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """No faces. The networks can't be asked about no pictures at all."""
    nothing = torch.zeros(0, device=image.device)
    return nothing.new_zeros(0, 4), nothing, nothing.new_zeros(0, 10)


def sizes(boxes: Tensor) -> Tuple[Tensor, Tensor]:
    """Width and height as the second and third network were trained with them: both edges are in the box."""
    return boxes[:, 2] - boxes[:, 0] + 1.0, boxes[:, 3] - boxes[:, 1] + 1.0


def moved(boxes: Tensor, moves: Tensor) -> Tensor:
    width, height = sizes(boxes)
    return boxes + moves * torch.stack([width, height, width, height], 1)


def squares(boxes: Tensor) -> Tensor:
    """Around the same centre, as large as the longer side."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdim=True)[0]
    corner = boxes[:, :2] + (size - side) / 2.0
    return torch.cat([corner, corner + side], 1)


def crops(image: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Each box cut out, as far as it is in the picture, and made `size` x `size`; black where nothing of it is."""
    cut: List[Tensor] = [image.new_zeros(0, image.size(1), size, size)]
    edges: List[List[int]] = boxes.trunc().long().tolist()
    for x1, y1, x2, y2 in edges:
        x1, y1 = max(x1 - 1, 0), max(y1 - 1, 0)
        piece = image[:, :, y1 : max(y2, 0), x1 : max(x2, 0)]
        if piece.numel() == 0:
            piece = image.new_zeros(1, image.size(1), 1, 1)
        cut.append(F.interpolate(piece, size=[size, size], mode="area"))
    return torch.cat(cut)


if __name__ == "__main__":
    (folder,) = map(Path, sys.argv[1:])
    save(torch.jit.script(Faces()), torch.rand(1, 3, 120, 160), folder / "1/model.pt")
