"""Turns a PyTorch module into the file that frameserve loads: a TorchScript archive, checked after it is written.

    from export import save
    save(module, torch.rand(1, 3, 224, 224), "models/mine/1/model.pt", config)

The archive keeps what the server makes its models fast with: the module is in eval mode, and it is not frozen
(the server freezes and optimizes it for the machine that it runs on). The names of `forward`'s arguments become
the names of the inputs.
"""

import json
import os
import warnings
from pathlib import Path

import torch
from torch import nn

# Where the server looks for the configuration of a model that has no config.pbtxt.
CONFIG_IN_ARCHIVE = "frameserve.json"


def save(module: nn.Module, example: torch.Tensor, path, config: dict | None = None) -> None:
    """Writes `module` to `path`, making the folder where there is none.

    A plain module is traced with `example`: it must do the same whatever is in the picture. One that branches or
    loops over what it sees has to come as the result of `torch.jit.script`, and `example` only checks it.

    `config` is Triton's ModelConfig in its JSON form; the server needs it unless config.pbtxt lies beside the
    version's folder.
    """
    if not isinstance(module, torch.jit.ScriptModule):
        module = traced(module, example)
    module.eval()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.new")
    extra = {} if config is None else {CONFIG_IN_ARCHIVE: json.dumps(config, indent=2)}
    module.save(str(unfinished), _extra_files=extra)
    check_same(module, torch.jit.load(str(unfinished)), example)
    os.replace(unfinished, path)


def traced(module: nn.Module, example: torch.Tensor) -> torch.jit.ScriptModule:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of every size that becomes a constant
        return torch.jit.trace(module.eval(), example, check_trace=False)


@torch.no_grad()
def check_same(module, loaded, example: torch.Tensor) -> None:
    for number, (expected, actual) in enumerate(zip(tensors(module(example)), tensors(loaded(example)), strict=True)):
        torch.testing.assert_close(actual, expected, msg=lambda text: f"output {number} of the saved model: {text}")


def tensors(outputs) -> tuple:
    """Outputs are one tensor or a tuple of them: what the server takes, in the order of the configuration."""
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    for number, output in enumerate(outputs):
        if not isinstance(output, torch.Tensor):
            raise TypeError(f"output {number} is a {type(output).__name__}, and not a tensor")
    return tuple(outputs)
