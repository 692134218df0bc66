"""A TorchScript model that paints pictures as Python runs it: the same for the loop and for the server with OpenCV."""

import torch


def load(path, optimized, channels_last):
    """A function from a picture, BGR [height,width,3] of bytes, to another; several threads may call it at a time."""
    module = module_of(path, optimized)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format

    @torch.inference_mode()
    def paint(picture):
        seen = torch.from_numpy(picture).flip(2).permute(2, 0, 1).unsqueeze(0)
        painted = module(seen.to(torch.float32, memory_format=memory_format).div_(255))
        painted = painted[0].clamp(0, 1).mul_(255).round_().to(torch.uint8)
        return painted.permute(1, 2, 0).flip(2).contiguous().numpy()

    return paint


def module_of(path, optimized, device="cpu"):
    module = torch.jit.load(path, map_location=device).eval()
    return torch.jit.optimize_for_inference(module) if optimized else module
