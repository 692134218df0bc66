"""Starts a server of models in a process of its own, says where it listens when its models answer, and ends it.

What the programs `triton`, `mlserver` and `kserve` have in common. It needs no package, only Python 3.9.
"""

import argparse
import contextlib
import ctypes
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
DEPS = HERE.parent.parent / ".deps"
MODELS = ("identity", "classifier")
# The same as frameserve's default. The KServe SDK's own limit is 8 MiB, and MLServer's 4 MiB.
MAX_MESSAGE_BYTES = 64 << 20

SECONDS_TO_START = 120
SECONDS_TO_END = 10
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """It could not be started, or ended unasked."""


class Place:
    """What a server is told: its model and instances, ports that are free, and a folder of its own."""

    def __init__(self, args, folder):
        self.model = args.model.resolve()
        self.instances = args.instances
        self.optimized = args.optimized
        self.folder = pathlib.Path(folder)
        self.grpc, self.http, self.metrics = free_ports(args.port)


def run(description, command):
    """Runs what `command` gives for a Place, its arguments and its environment, until a signal says to end."""
    name = pathlib.Path(sys.argv[0]).name
    args = arguments(description)
    # Wherever this waits, what was started is ended on the way out.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        try:
            place = Place(args, folder)
            serve(*command(place), place)
        except (Failure, OSError) as error:
            sys.exit(f"{name}: {error}")


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="for gRPC; 0, the default, for one that is free")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a TorchScript classifier")
    parser.add_argument("--instances", type=int, default=1, help="inferences at a time, each on one thread")
    parser.add_argument("--optimized", action="store_true", help="call torch.jit.optimize_for_inference first")
    args = parser.parse_args()
    if not args.model.is_file():
        parser.error(f"--model {args.model} is no file")
    if args.instances < 1:
        parser.error(f"--instances {args.instances} is less than 1")
    return args


def free_ports(first):
    """Three of them, of which the first may be asked for. None of the servers can be handed an open socket."""
    sockets = [socket.create_server(("127.0.0.1", port)) for port in (first, 0, 0)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def environment(venv, place):
    """For a program of a folder in .deps, which finds its own `python` first."""
    if not (DEPS / venv).is_dir():
        raise Failure(f"there is no .deps/{venv}: run scripts/setup peers")
    return {
        **os.environ,
        "PATH": f"{DEPS / venv / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "PEER_MODEL": str(place.model),
        "PEER_INSTANCES": str(place.instances),
        "PEER_OPTIMIZED": "1" if place.optimized else "",
    }


def serve(command, env, place):
    log = place.folder / "log"
    with open(log, "wb") as output:
        files = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        child = subprocess.Popen(command, env=env, cwd=place.folder, preexec_fn=settle, **files)
    try:
        if not wait_until_ready(child, place):
            sys.stderr.write(log.read_text(errors="replace"))
            how = f"did not get ready within {SECONDS_TO_START} s" if child.poll() is None else "could not start"
            raise Failure(f"{how}: what it said is above")
        print(f"listening on 127.0.0.1:{place.grpc}", flush=True)
        raise Failure(f"it ended by itself, with {child.wait()}")
    finally:
        end(child, place)


def settle():
    """In the child: it ends with this process, and leads a group in which all that it starts will be."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until_ready(child, place):
    deadline = time.monotonic() + SECONDS_TO_START
    while child.poll() is None and time.monotonic() < deadline:
        if all(is_ready(place.http, model) for model in MODELS) and listens(place.grpc):
            return True
        time.sleep(0.05)
    return False


def is_ready(port, model):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/v2/models/{model}/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


def end(child, place):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    child.terminate()
    try:
        child.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    # What it left behind: Triton leaves its shared memory where it is told to end before it has started.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for region in pathlib.Path("/dev/shm").glob(f"{place.folder.name}*"):
        region.unlink(missing_ok=True)
