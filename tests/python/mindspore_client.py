"""A client that sends what mindspore_serving.client sends, and reads replies as it does; and the examples that
its documentation has, held against a server with the sample models `add`, `classifier`, `faces` and `wave`, the test
models `fields` and `pair`, and the pipeline `edges`.
"""

import io
import struct
from pathlib import Path

import grpc
import numpy as np
from PIL import Image

import stubs
from checks import equal, holds, parser, run

pb, services = stubs.load(file="mindspore/ms_service.proto")

MOST_BYTES = 512 << 20
TIMEOUT_SECONDS = 120
NUMPY = {
    pb.MS_BOOL: np.bool_,
    pb.MS_INT8: np.int8,
    pb.MS_UINT8: np.uint8,
    pb.MS_INT16: np.int16,
    pb.MS_UINT16: np.uint16,
    pb.MS_INT32: np.int32,
    pb.MS_UINT32: np.uint32,
    pb.MS_INT64: np.int64,
    pb.MS_UINT64: np.uint64,
    pb.MS_FLOAT16: np.float16,
    pb.MS_FLOAT32: np.float32,
    pb.MS_FLOAT64: np.float64,
}
MINDSPORE = {np.dtype(numpy): mindspore for mindspore, numpy in NUMPY.items()}


class Client:
    """A servable's method on a server."""

    def __init__(self, channel, servable, method, version=0):
        self.stub = services.MSServiceStub(channel)
        self.spec = pb.ServableSpec(name=servable, method_name=method, version_number=version)

    def request(self, instances):
        """Instances are dicts, or one dict."""
        if isinstance(instances, dict):
            instances = [instances]
        items = [{name: tensor(value) for name, value in instance.items()} for instance in instances]
        return pb.PredictRequest(servable_spec=self.spec, instances=[pb.Instance(items=item) for item in items])

    def infer(self, instances):
        try:
            return parse(self.stub.Predict(self.request(instances), timeout=TIMEOUT_SECONDS))
        except grpc.RpcError as error:
            return {"error": f"Grpc Error, {error.code().value}, {error.details()}"}

    def infer_async(self, instances):
        return self.stub.Predict.future(self.request(instances), timeout=TIMEOUT_SECONDS)


def tensor(value):
    """A value as that client writes it."""
    if isinstance(value, str):
        return pb.Tensor(shape=dims([1]), dtype=pb.MS_STRING, bytes_val=[value.encode()])
    if isinstance(value, bytes):
        return pb.Tensor(shape=dims([1]), dtype=pb.MS_BYTES, bytes_val=[value])
    if isinstance(value, (bool, int, float)):
        value = np.array((value,))
    return pb.Tensor(shape=dims(value.shape), dtype=MINDSPORE[value.dtype], data=value.tobytes())


def dims(shape):
    return pb.TensorShape(dims=list(shape))


def parse(reply):
    """A reply as that client reads it: a list of dicts, or one with an error."""
    errors = reply.error_msg
    if len(errors) == 1 and errors[0].error_code != 0:
        return {"error": errors[0].error_msg.decode()}
    if len(errors) not in (0, len(reply.instances)):
        raise AssertionError(f"{len(errors)} errors for {len(reply.instances)} instances")
    results = []
    for index, instance in enumerate(reply.instances):
        if errors and errors[index].error_code != 0:
            results.append({"error": errors[index].error_msg.decode()})
        else:
            results.append({name: value(item) for name, item in instance.items.items()})
    return results


def value(item):
    if item.dtype in (pb.MS_STRING, pb.MS_BYTES):
        values = [text.decode() if item.dtype == pb.MS_STRING else text for text in item.bytes_val]
        return values[0] if len(values) == 1 else values
    return np.frombuffer(item.data, NUMPY[item.dtype]).reshape(list(item.shape.dims))


def twos(kind, number):
    return np.full((2, 2), number, kind)


# --- The checks ------------------------------------------------------------------------------------------


def three_sums_are_added(channel, _):
    add = Client(channel, "add", "add_common")
    results = add.infer([{"x1": twos(np.float32, n), "x2": twos(np.float32, n)} for n in (1, 2, 3)])
    for number, result in zip((2, 4, 6), results, strict=True):
        equal(result["y"].tolist(), [[number] * 2] * 2, "y")
        equal(result["y"].dtype, np.float32, "its type")


def a_wrong_type_fails_for_itself(channel, _):
    add = Client(channel, "add", "add_common")
    instances = [{"x1": twos(np.float32, n), "x2": twos(np.float32, n)} for n in (1, 2, 3)]
    instances[1]["x1"] = twos(np.int32, 2)
    first, second, third = add.infer(instances)
    equal((first["y"].tolist(), third["y"].tolist()), ([[2, 2], [2, 2]], [[6, 6], [6, 6]]), "the others")
    text = "Given model input 0 data type kMSI_Int32 not match the data type kMSI_Float32 defined in model"
    equal(second, {"error": text}, "the second")
    instances[1]["x1"] = np.ones((3,), np.float32)
    equal(
        add.infer(instances)[1], {"error": "Given model input 0 size 12 not match the size 16 defined in model"}, "size"
    )
    equal(add.infer(instances[1]), add.infer([instances[1]] * 2), "all fail for one reason: one error")


def whole_numbers_are_cast(channel, _):
    add = Client(channel, "add", "add_cast")
    result = add.infer({"x1": np.ones((2, 2), np.int32), "x2": np.ones((2, 2), np.int32)})
    equal(result[0]["y"].tolist(), [[2, 2], [2, 2]], "y")


def futures_work(channel, _):
    add = Client(channel, "add", "add_common")
    futures = [
        add.infer_async({"x1": twos(np.float32, n), "x2": twos(np.float32, 1)}) for n in range(20)
    ]
    sums = [parse(future.result())[0]["y"][0, 0] for future in futures]
    equal(sums, [n + 1 for n in range(20)], "sums")


def whole_requests_fail_with_one_error(channel, _):
    good = {"x1": twos(np.float32, 1), "x2": twos(np.float32, 1)}
    asked = "Request servable({}) method({}) {}, {} is not available"
    for servable, method, version, text in [
        ("none", "add_common", 0, asked.format("none", "add_common", "", "servable")),
        ("add", "none", 0, asked.format("add", "none", "", "method")),
        ("add", "add_common", 9, asked.format("add", "add_common", " version(9) ", "servable")),
    ]:
        equal(Client(channel, servable, method, version).infer(good), {"error": text}, text)
    add = Client(channel, "add", "add_common")
    equal(
        add.infer([]),
        {"error": "Instances count of request cannot be 0, servable: add, method: add_common"},
        "no instances",
    )
    equal(
        add.infer([good, {"x1": good["x1"]}]),
        {"error": "Cannot find input x2 in instance input , servable add, method add_common"},
        "a missing input",
    )
    request = add.request(good)
    request.instances[0].items["x1"].data = b"123"
    equal(
        parse(add.stub.Predict(request)),
        {"error": "Instances input x1 check failed, detail: Tensor check failed: input data size 3 invalid"},
        "data that is too short",
    )


def every_type_comes_back_as_it_went(channel, _):
    arrays = {
        "BOOL": np.array([True, False]),
        "FP32": np.array([0.5, -2], np.float32),
        "FP64": np.array([0.1, -0.1]),
        "BYTES": b"\xff\x00bytes",
    }
    for bits in (8, 16, 32, 64):
        arrays[f"INT{bits}"] = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1], f"int{bits}")
        arrays[f"UINT{bits}"] = np.array([0, 2**bits - 1], f"uint{bits}")
    fields = Client(channel, "fields", "predict")
    (result,) = fields.infer({f"IN_{name}": array for name, array in arrays.items()})
    for name, array in arrays.items():
        found = result[f"OUT_{name}"]
        if name == "BYTES":
            equal(found, array, name)
        else:
            equal((found.tolist(), found.dtype), (array.tolist(), array.dtype), name)


def scalars_are_one_number(channel, _):
    arrays = {name: np.zeros(1, kind) for name, kind in [("INT8", "int8"), ("INT16", "int16"), ("INT32", "int32")]}
    arrays |= {name: np.zeros(1, name.lower()) for name in ("UINT8", "UINT16", "UINT32", "UINT64")}
    arrays |= {"BOOL": True, "INT64": 7, "FP64": 0.25, "FP32": np.float32(1.5), "BYTES": "text"}
    (result,) = Client(channel, "fields", "predict").infer({f"IN_{name}": value for name, value in arrays.items()})
    equal(result["OUT_BOOL"].tolist(), [True], "bool")
    equal(result["OUT_INT64"].tolist(), [7], "int")
    equal(result["OUT_FP64"].tolist(), [0.25], "float")
    equal(result["OUT_FP32"].tolist(), [1.5], "a numpy scalar, which has no dimensions")
    equal(result["OUT_BYTES"], b"text", "a string")


def instances_are_rows_of_a_batch(channel, _):
    pair = Client(channel, "pair", "predict")
    rows = [{"INPUT0": np.full(16, n, np.int32), "INPUT1": np.full(16, -n, np.int32)} for n in range(20)]
    results = pair.infer(rows)
    equal([result["OUTPUT0"].tolist() for result in results], [[n] * 16 for n in range(20)], "as they went")


def a_folder_of_pictures_is_classified(channel, pictures):
    files = sorted(path for path in Path(pictures).iterdir() if path.name in ("chelsea.png", "coffee.png"))
    instances = [{"image": path.read_bytes()} for path in files]
    labels = [result["label"] for result in Client(channel, "classifier", "classify_top1").infer(instances)]
    holds("cat" in labels[0] and "espresso" in labels[1], f"a cat and a coffee: {labels}")
    best = Client(channel, "classifier", "classify_top5").infer(instances + [{"image": b"no picture"}])
    for label, result in zip(labels, best):
        equal(result["label"].split(";")[0], label, "the first of five")
        scores = result["score"].tolist()
        equal((len(result["label"].split(";")), scores), (5, sorted(scores, reverse=True)), "five, in order")
    holds("no JPEG, PNG or WebP" in best[2]["error"], f"bytes that are no picture: {best[2]}")


def faces_are_found(channel, pictures):
    images = [(Path(pictures) / name).read_bytes() for name in ("astronaut.png", "chelsea.png")]
    one, none = Client(channel, "faces", "detect").infer([{"image": image} for image in images])
    equal((one["boxes"].shape, one["scores"].shape, one["labels"]), ((1, 4), (1,), "face"), "a face")
    x, y, width, height = one["boxes"][0]
    holds(150 < x < 250 and 40 < y < 140 and 50 < width < 150 and 60 < height < 180, f"where it is: {one['boxes']}")
    equal((none["boxes"].shape, none["labels"]), ((0, 4), ""), "a cat has none")


def pictures_become_pictures(channel, pictures):
    image = (Path(pictures) / "chelsea.png").read_bytes()
    size = Image.open(io.BytesIO(image)).size
    (painted,) = Client(channel, "wave", "transform").infer({"image": image})
    opened = Image.open(io.BytesIO(painted["image"]))
    equal((opened.format, opened.size), ("PNG", size), "painted")
    (edges,) = Client(channel, "edges", "transform").infer({"image": image})
    equal(Image.open(io.BytesIO(edges["image"])).size, (160, 120), "through a pipeline")
    error = Client(channel, "edges", "transform").infer({"image": struct.pack("<I", 7)})
    holds("no JPEG, PNG or WebP" in error["error"], f"bytes that are no picture: {error}")


CHECKS = [
    three_sums_are_added,
    a_wrong_type_fails_for_itself,
    whole_numbers_are_cast,
    futures_work,
    whole_requests_fail_with_one_error,
    every_type_comes_back_as_it_went,
    scalars_are_one_number,
    instances_are_rows_of_a_batch,
    a_folder_of_pictures_is_classified,
    faces_are_found,
    pictures_become_pictures,
]


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--pictures", required=True, help="a folder with chelsea.png and others")
    arguments.add_argument("--ca", help="certificate of the server's authority; without it there is no TLS")
    arguments.add_argument("--cert", help="certificate of this client")
    arguments.add_argument("--key", help="its key")
    options = arguments.parse_args()
    run(CHECKS, options.check, channel(options), options.pictures)


def channel(options):
    """A channel as that client's SSLConfig makes it, or without TLS as it does without."""
    limits = [("grpc.max_send_message_length", MOST_BYTES), ("grpc.max_receive_message_length", MOST_BYTES)]
    if not options.ca:
        return grpc.insecure_channel(options.server, options=limits)
    ca, key, cert = (Path(file).read_bytes() if file else None for file in (options.ca, options.key, options.cert))
    credentials = grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)
    return grpc.secure_channel(options.server, credentials, options=limits)


if __name__ == "__main__":
    main()
