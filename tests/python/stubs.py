"""Makes Python stubs of our protocols when a script starts, so that none are kept that could be stale."""

import importlib
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROTOS = os.path.join(HERE, "..", "..", "protos")
EXAMPLES = os.path.join(HERE, "..", "..", "examples")
ORIGINAL_PROTOS = os.path.join(HERE, "original")


def load(folder=PROTOS, file="imageTest.proto", *imported):
    """The modules (messages, services) of a file in this folder, which may import others there."""
    with tempfile.TemporaryDirectory() as out:
        # A process of its own: in one with Debian's cv2, the two copies of libprotobuf get in each other's way.
        compiler = [sys.executable, "-s", "-m", "grpc_tools.protoc"]
        arguments = [f"-I{folder}", f"--python_out={out}", f"--grpc_python_out={out}", file, *imported]
        if subprocess.run(compiler + arguments).returncode != 0:
            sys.exit("no stubs: run `scripts/setup test`, then this script with .deps/venv/bin/python -s")
        module = file.removesuffix(".proto").replace("/", ".")
        sys.path.insert(0, out)
        try:
            return importlib.import_module(f"{module}_pb2"), importlib.import_module(f"{module}_pb2_grpc")
        finally:
            sys.path.remove(out)
