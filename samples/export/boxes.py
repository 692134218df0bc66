"""What detectors do with boxes, in plain PyTorch: torchvision's non-maximum suppression is an operation that libtorch
alone does not have."""

import torch


@torch.jit.script
def overlaps(box: torch.Tensor, boxes: torch.Tensor, relative_to: str) -> torch.Tensor:
    """How much of them `box` shares with each of `boxes` (x1, y1, x2, y2), relative to their `union` or to the
    `smaller` of both."""
    corner = torch.maximum(box[:2], boxes[:, :2])
    size = (torch.minimum(box[2:], boxes[:, 2:]) - corner).clamp(min=0.0)
    common = size[:, 0] * size[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    whole = torch.minimum(areas, area) if relative_to == "smaller" else areas + area - common
    return common / whole.clamp(min=1e-6)


@torch.jit.script
def nms(boxes: torch.Tensor, scores: torch.Tensor, most: float, relative_to: str = "union") -> torch.Tensor:
    """The numbers of the boxes to keep, best first: none of them overlaps a better one by more than `most`."""
    kept = torch.empty(0, dtype=torch.long, device=boxes.device)
    rest = scores.argsort(descending=True)
    while rest.numel() > 0:
        best = rest[:1]
        kept = torch.cat([kept, best])
        rest = rest[1:]
        rest = rest[overlaps(boxes[best][0], boxes[rest], relative_to) <= most]
    return kept


def around(points: torch.Tensor, scores: torch.Tensor, least: float, margin: float) -> torch.Tensor:
    """The box around those of the points [K, 2] that have at least this score [K, 1], or around the surest one if none
    has, made larger by a part of itself on each side."""
    seen = scores >= scores.max().clamp(max=least)
    first = torch.where(seen, points, float("inf")).amin(0)
    last = torch.where(seen, points, float("-inf")).amax(0)
    more = (last - first) * margin
    return torch.cat([first - more, last + more])
