"""Messages that nobody sends who means well, made by hand: each has to be refused with a clear error, and to cost
the server next to no memory.

The server has the models of tests/python/models, and lets clients load them. It runs on this machine, as process
--pid, so that its memory can be looked at.
"""

import json
import os
import re
import struct
import time
import uuid
import zlib
from pathlib import Path

import grpc

from checks import equal, holds, parser, run

MIB = 1 << 20
TIMEOUT_SECONDS = 60
# Beyond what a message itself takes: as it comes, and as it is read.
ROOM_AT_A_TIME = 32 * MIB
ROOM_FOR_GOOD = 64 * MIB
MALFORMED, UNKNOWN, LARGE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED
LONG = "n" * MIB
MOST_INT64 = (1 << 63) - 1


# --- Protobuf, as it lies on the wire --------------------------------------------------------------------


def varint(number):
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number, value):
    """One field: a number, a text, or bytes, which may be those of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def named(key, parameter):
    """An entry of a map of parameters."""
    return field(1, key) + field(2, parameter)


def int64_parameter(number):
    return field(2, number)


def string_parameter(text):
    return field(3, text)


def tensor(name="INPUT0", datatype="FP32", shape=(1, 1), more=b""):
    return field(5, field(1, name) + field(2, datatype) + field(3, b"".join(map(varint, shape))) + more)


def contents(number, value):
    """The data of a tensor, within its message."""
    return field(5, field(number, value))


def raw(data):
    return field(7, data)


def output(name, parameters=b""):
    return field(6, field(1, name) + parameters)


def request(*parts, model="identity"):
    return field(1, model) + b"".join(parts)


FLOAT = raw(bytes(4))


# --- The server ------------------------------------------------------------------------------------------


class Server:
    def __init__(self, address, pid):
        self.process = Path("/proc") / str(pid)
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options)
        for model in ("identity", "types", "pair"):
            self.call("RepositoryModelLoad", field(2, model))
        # What is there once is there: threads, and what the allocator keeps.
        for _ in range(20):
            self.call("ModelInfer", request(tensor(shape=(8, 1 << 17)), raw(bytes(4 * MIB))))
        self.before = self.memory("VmRSS")

    def call(self, name, message, **more):
        method = self.channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
        return method(message, timeout=TIMEOUT_SECONDS, **more)

    def memory(self, key):
        return int(re.search(rf"{key}:\s*(\d+) kB", (self.process / "status").read_text())[1]) * 1024

    def refuses(self, message, codes=MALFORMED, says="", call="ModelInfer", times=3):
        """What it must refuse, with what code and text, taking no more than `times` the message meanwhile."""
        (self.process / "clear_refs").write_text("5")  # VmHWM begins anew
        before = self.memory("VmRSS")
        try:
            self.call(call, message)
        except grpc.RpcError as error:
            code, text = error.code(), error.details()
        else:
            raise AssertionError(f"{call} of {message[:80]!r}... went well, and should have failed")
        codes = codes if isinstance(codes, tuple) else (codes,)
        holds(code in codes and says in text, f"{code} and `{text[:500]}` are {codes} and `{says}`")
        holds(0 < len(text) < 5000, f"the text has a length that clients take, and not {len(text)}")
        taken = self.memory("VmHWM") - before
        room = ROOM_AT_A_TIME + times * len(message)
        holds(taken <= room, f"{taken / MIB:.0f} MiB were taken for a message of {len(message)} bytes ({text[:200]})")
        self.works()

    def works(self):
        equal(self.call("ServerLive", b""), field(1, 1), "it lives")
        data = struct.pack("<f", 0.5)
        reply = self.call("ModelInfer", request(tensor(), raw(data)))
        holds(data in reply, "a good request is answered")


# --- The checks ------------------------------------------------------------------------------------------


def shapes_that_no_tensor_has(server):
    for shape, data, says in (
        ([1, 16], bytes(60), "Expected 64, got 60"),
        ([1, 16], bytes(68), "Expected 64, got 68"),
        ([1, 16], b"", "Expected 64, got 0"),
        ([1, -1], bytes(4), "All input dimensions should be specified"),
        ([-1, -1], bytes(4), "All input dimensions should be specified"),
        ([-(1 << 63), 1], bytes(4), "All input dimensions should be specified"),
        # What these have too much would be lost in 32 or 64 bits.
        ([1 << 16] * 4, b"", "input byte size mismatch"),
        ([1 << 32, 1 << 32], b"", "input byte size mismatch"),
        ([MOST_INT64, 2], bytes(8), "input byte size mismatch"),
        ([MOST_INT64] * 7, bytes(4), "input byte size mismatch"),
        ([1 << 62, 1], b"", "input byte size mismatch"),
        ([1 << 62, 4], bytes(16), "input byte size mismatch"),
        ([1 << 30, 1], b"", "Expected 4294967296, got 0"),
        # Two GiB, and what the model takes if there were as much.
        ([1, 1 << 29], bytes(4), "Expected 2147483648, got 4"),
        ([8, 1 << 26], bytes(1024), "Expected 2147483648, got 1024"),
        ([9, 1], bytes(36), "batch-size must be <= 8"),
        ([0, 1], b"", "batch-size"),
        ([0, MOST_INT64], b"", "batch-size"),
        ([], bytes(4), "unexpected shape"),
        ([1] * 100_000, bytes(4), "has 100000 dimensions, and the limit is 64"),
        ([1, 1, 0] + [MOST_INT64] * 1000, b"", "has 1003 dimensions, and the limit is 64"),
    ):  # fmt: skip
        server.refuses(request(tensor(shape=shape), raw(data)), says=says)


def data_that_is_not_that_of_the_tensor(server):
    one = struct.pack("<f", 1)
    typed = contents(6, one)
    for message, says in (
        (request(tensor()), "unable to find data"),
        (request(tensor(), FLOAT, FLOAT), "does not match the expected number of raw input contents"),
        (request(tensor(more=typed), FLOAT), "must not be specified when using raw_input_contents"),
        (request(tensor(more=contents(2, varint(1)))), "unexpected explicit tensor data"),
        (request(tensor(more=field(5, field(6, one) + field(7, bytes(8))))), "unexpected explicit tensor data"),
        (request(tensor(more=contents(6, one * 2))), "Expected 4, got 8"),
        # A field that counts in fours, with five bytes.
        (request(tensor(more=contents(6, one + b"\x01"))), "failed to decode"),
        (request(tensor(more=field(5, b""))), "Expected 4, got 0"),
        (request(tensor("IN_UINT8", "UINT8", [1], contents(4, varint(256))), model="types"), "256, which is no UINT8"),
        (request(tensor("IN_INT8", "INT8", [1], contents(2, varint(-129))), model="types"), "-129, which is no INT8"),
        (request(tensor("IN_FP16", "FP16", [1], contents(6, one)), model="types"), "unexpected explicit tensor data"),
        (request(tensor("IN_BOOL", "BOOL", [2]), raw(b"\x01\x02"), model="types"), "a BOOL is 0 or 1"),
    ):  # fmt: skip
        server.refuses(message, says=says)


def strings_that_are_longer_than_what_came(server):
    def strings(shape, data):
        return request(tensor("IN_BYTES", "BYTES", shape), raw(data), model="types")

    for shape, data, says in (
        ([1], struct.pack("<I", 0xFFFFFFFF) + b"x", "expecting string of length 4294967295 but only 1 bytes"),
        ([1], struct.pack("<I", 1 << 31), "expecting string of length 2147483648 but only 0 bytes"),
        ([2], struct.pack("<I", 4) + b"abcd" + struct.pack("<I", 0x7FFFFFFF), "expecting string of length 2147483647"),
        ([1], b"\x01\x00\x00", "incomplete string length indicator"),
        ([1 << 40], bytes(4 * 1000), "expected 1099511627776 string elements"),
        ([MOST_INT64], b"", "expected 9223372036854775807 string elements"),
        ([1 << 32, 1 << 32], b"", "more elements than can be counted"),
        ([1], bytes(4 * 100_000), "unexpected number of string elements 2"),
    ):  # fmt: skip
        server.refuses(strings(shape, data), says=says)


def what_nobody_knows(server):
    pair = [tensor(f"INPUT{number}", "INT32", [1, 16]) for number in (0, 1)]
    data = raw(bytes(64))
    for message, codes, says in (
        (b"", UNKNOWN, "unknown model: ''"),
        (request(model="no-such"), UNKNOWN, "unknown model: 'no-such'"),
        (request(model="../identity"), UNKNOWN, "unknown model: '../identity'"),
        (request(model="a\0b"), UNKNOWN, "unknown model"),
        (request(field(2, "7"), tensor(), FLOAT), UNKNOWN, "version 7 is not found"),
        (request(field(2, "99999999999999999999"), tensor(), FLOAT), MALFORMED, "failed to get model version"),
        (request(field(2, "1/../1"), tensor(), FLOAT), MALFORMED, "failed to get model version"),
        (request(tensor("X"), FLOAT), MALFORMED, "unexpected inference input 'X'"),
        (request(tensor(""), FLOAT), MALFORMED, "unexpected inference input ''"),
        (request(tensor(datatype="FP31"), FLOAT), MALFORMED, "data-type is 'FP31'"),
        (request(tensor(datatype=""), FLOAT), MALFORMED, "data-type is ''"),
        (request(tensor(datatype="fp32"), FLOAT), MALFORMED, "data-type is 'fp32'"),
        (request(tensor(), FLOAT, output("X")), MALFORMED, "unexpected inference output 'X'"),
        (request(tensor(), FLOAT, output("OUTPUT0"), output("OUTPUT0")), MALFORMED, "already exists"),
        (request(model="pair"), MALFORMED, "expected 2 inputs but got 0"),
        (request(pair[0], data, model="pair"), MALFORMED, "missing required input(s) ['INPUT1']"),
        (request(pair[0], pair[0], data, data, model="pair"), MALFORMED, "already exists"),
        (request(*pair, pair[0], data, data, data, model="pair"), MALFORMED, "already exists"),
    ):  # fmt: skip
        server.refuses(message, codes, says)


def parameters_that_make_no_sense(server):
    def with_parameter(key, value):
        return request(tensor(), FLOAT, field(4, named(key, value)))

    def with_output(key, value):
        return request(tensor(), FLOAT, output("OUTPUT0", field(2, named(key, value))))

    for message, says in (
        (with_parameter("timeout", int64_parameter(-1)), "'timeout'"),
        (with_parameter("timeout", string_parameter("1")), "'timeout'"),
        (with_parameter("priority", int64_parameter(-(1 << 63))), "'priority'"),
        (with_parameter("codec", string_parameter("bmp")), "'codec'"),
        (with_parameter("anything", b""), "invalid value type for 'anything'"),
        (with_parameter("triton_anything", field(1, 1)), "reserved"),
        (with_output("classification", int64_parameter(0)), "'classification'"),
        (with_output("classification", int64_parameter(-(1 << 63))), "'classification'"),
        (with_output("codec", string_parameter("jpeg")), "no picture"),
        (with_output("quality", int64_parameter(90)), "'quality'"),
    ):
        server.refuses(message, says=says)
    # As many classes as there can't be are all that there are.
    server.call("ModelInfer", with_output("classification", int64_parameter(MOST_INT64)))
    server.works()


def shared_memory_that_is_not_there(server):
    name = f"poison-{uuid.uuid4().hex}"
    region = Path("/dev/shm") / name
    region.write_bytes(bytes(64))

    def register(offset, size):
        return field(1, name) + field(2, "/" + name) + field(3, offset) + field(4, size)

    def window(region, offset, size):
        parameters = ("shared_memory_region", string_parameter(region)), ("shared_memory_offset", int64_parameter(offset))
        return [named(*each) for each in (*parameters, ("shared_memory_byte_size", int64_parameter(size)))]

    def given(region, offset, size, shape=(1, 1)):
        return request(tensor(shape=shape, more=b"".join(field(4, each) for each in window(region, offset, size))))

    def asked(region, offset, size):
        return request(tensor(), FLOAT, output("OUTPUT0", b"".join(field(2, each) for each in window(region, offset, size))))

    try:
        for offset, size in ((0, 65), (64, 1), ((1 << 64) - 1, 2), (1, (1 << 64) - 1), ((1 << 63), 1 << 63), (0, 1 << 31)):
            server.refuses(register(offset, size), says="failed to register", call="SystemSharedMemoryRegister")
        server.call("SystemSharedMemoryRegister", register(32, 32))
        refused = (MALFORMED, LARGE)
        for make in (given, asked):
            server.refuses(make("no-such", 0, 4), UNKNOWN, "Unable to find shared memory region")
            server.refuses(make(LONG, 0, 4), UNKNOWN, "Unable to find shared memory region")
            for offset, size in ((32, 4), (29, 4), (MOST_INT64, 4), (MOST_INT64, MOST_INT64), (-4, 4), (0, -4), (0, 1 << 31)):
                server.refuses(make(name, offset, size), refused)
        server.refuses(given(name, 0, 1 << 31, (1, 1 << 29)), refused)
        server.refuses(given(name, 0, 32), says="Expected 4, got 32")
        server.refuses(given(name, 0, 0), says="Expected 4, got 0")
        twice = tensor(more=b"".join(field(4, each) for each in window(name, 0, 4)) + contents(6, bytes(4)))
        server.refuses(request(twice), says="unexpected 'content'")
    finally:
        region.unlink()
        server.call("SystemSharedMemoryUnregister", b"")


def more_than_there_can_be_of_anything(server):
    few, many, very_many = 1000, 100_000, 2_000_000
    keys = lambda count: b"".join(field(4, named(f"key-{number}", field(1, 1))) for number in range(count))  # noqa: E731
    server.call("ModelInfer", request(tensor(), FLOAT, keys(few)))
    server.works()
    for count in (few, many):
        numbered = [tensor(f"INPUT{number}") for number in range(count)]
        server.refuses(request(*numbered, *[FLOAT] * count), (MALFORMED, LARGE))
        server.refuses(request(*[tensor()] * count, *[FLOAT] * count), (MALFORMED, LARGE))
        server.refuses(request(*[tensor()] * count), (MALFORMED, LARGE))
        server.refuses(request(tensor(), FLOAT, output("OUTPUT0") * count), (MALFORMED, LARGE))
        server.refuses(request(tensor(), FLOAT, *(output(f"O{number}") for number in range(count))), (MALFORMED, LARGE))
        server.refuses(request(tensor(), FLOAT * count), (MALFORMED, LARGE))
    # Of these, two bytes on the wire are hundreds in memory.
    for part in (5, 6, 7):
        server.refuses(request(field(part, b"") * very_many), LARGE, "the message has more than 65536")
    server.refuses(request(tensor(), FLOAT, keys(very_many // 10)), LARGE)
    parameters = b"".join(field(4, named(f"key-{number}", b"")) for number in range(very_many // 10))
    server.refuses(request(tensor(more=parameters), FLOAT), LARGE)
    server.refuses(field(3, field(1, "")) * very_many, LARGE, call="RepositoryModelLoad")
    # A number of one byte is one of eight, and a string of none is a handle of 32.
    server.refuses(request(tensor(shape=[1] * very_many), FLOAT), says="dimensions, and the limit is 64", times=20)
    empty = field(5, field(8, b"") * very_many)
    server.refuses(request(tensor("IN_BYTES", "BYTES", [1], empty), model="types"), says="string elements", times=24)


def names_of_a_megabyte(server):
    for message, codes, says in (
        (request(model=LONG), UNKNOWN, "unknown model: 'nnn"),
        (request(model="gray|" * (MIB // 5)), (UNKNOWN, MALFORMED), ""),
        (request(model="(" * MIB), (UNKNOWN, MALFORMED), ""),
        (request(field(2, LONG), tensor(), FLOAT), MALFORMED, "failed to get model version"),
        (request(field(3, LONG), tensor("X"), FLOAT), MALFORMED, "unexpected inference input 'X'"),
        (request(tensor(LONG), FLOAT), MALFORMED, "unexpected inference input 'nnn"),
        (request(tensor(datatype=LONG), FLOAT), MALFORMED, "data-type is 'nnn"),
        (request(tensor(), FLOAT, output(LONG)), MALFORMED, "unexpected inference output 'nnn"),
        (request(tensor(), FLOAT, field(4, named(LONG, b""))), MALFORMED, "invalid value type for 'nnn"),
        (request(tensor(), FLOAT, field(4, named("codec", string_parameter(LONG)))), MALFORMED, "'codec'"),
        # Each is three bytes of a header, which counts nine.
        (request(model="\u20ac" * (MIB // 3)), UNKNOWN, "unknown model"),
    ):
        server.refuses(message, codes, says)
    for call, message, codes in (
        ("ModelReady", field(1, LONG), UNKNOWN),
        ("ModelMetadata", field(1, LONG), UNKNOWN),
        ("ModelConfig", field(1, LONG), UNKNOWN),
        ("ModelStatistics", field(1, LONG), MALFORMED),
        ("RepositoryModelLoad", field(2, LONG), (MALFORMED, grpc.StatusCode.INTERNAL)),
        ("RepositoryIndex", field(1, LONG), grpc.StatusCode.UNIMPLEMENTED),
        ("SystemSharedMemoryRegister", field(1, LONG) + field(2, LONG) + field(4, 4), MALFORMED),
        ("SystemSharedMemoryStatus", field(1, LONG), UNKNOWN),
        ("TraceSetting", field(2, LONG), UNKNOWN),
        ("LogSettings", field(1, field(1, LONG) + field(2, field(1, 1))), MALFORMED),
    ):
        server.refuses(message, codes, call=call)


def messages_that_are_none(server):
    start, end = varint(15 << 3 | 3), varint(15 << 3 | 4)
    for message in (
        b"\xff" * 3,
        b"\xff" * 1000,
        field(1, "identity")[:-1],
        # A length of 2 GiB, of 4 GiB, and one that is negative.
        varint(1 << 3 | 2) + varint(1 << 31),
        varint(7 << 3 | 2) + varint((1 << 32) - 1) + bytes(1000),
        varint(5 << 3 | 2) + varint(-1),
        varint(5 << 3 | 2) + varint(MOST_INT64),
        # The last byte of a number is missing, or it has too many.
        field(1, "identity") + varint(3 << 3) + b"\x80",
        varint(100 << 3) + b"\x80" * 11 + b"\x01",
        # A text as a number, and a field of number 0.
        field(1, 7),
        b"\x00\x00",
        # Groups, which nobody uses any more, in one another; without an end; and an end without any.
        start * 10_000 + end * 10_000,
        start * 10_000,
        end,
        request(varint(4 << 3 | 3) * 10_000),
    ):
        server.refuses(message, says="failed to decode")
    server.refuses(start * MIB, LARGE)


def texts_that_are_no_texts(server):
    bad = b"a\xff\xfe"
    surrogate, overlong, cut = b"\xed\xa0\x80", b"\xc0\xaf", "\u20ac".encode()[:2]
    for text in (bad, surrogate, overlong, cut):
        server.refuses(field(1, text), says="failed to decode")
    for message in (
        request(field(2, bad)),
        request(field(3, bad), tensor(), FLOAT),
        request(tensor(bad), FLOAT),
        request(tensor(datatype=bad), FLOAT),
        request(tensor(), FLOAT, output(bad)),
        request(tensor(), FLOAT, field(4, named(bad, field(1, 1)))),
        request(tensor(), FLOAT, field(4, named("a", string_parameter(bad)))),
    ):
        server.refuses(message, says="failed to decode")
    for call in ("ModelReady", "ModelConfig", "SystemSharedMemoryRegister", "RepositoryIndex"):
        server.refuses(field(1, bad), says="failed to decode", call=call)


def what_unpacks_to_more_than_may_come(server):
    packed = request(tensor(shape=[1, 64 * MIB]), raw(bytes(256 * MIB)))
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        before = server.memory("VmRSS")
        (server.process / "clear_refs").write_text("5")
        try:
            server.call("ModelInfer", packed, compression=compression)
        except grpc.RpcError as error:
            equal(error.code(), LARGE, error.details())
        else:
            raise AssertionError("it went well, and should have failed")
        # As much as a message may have, and the same again while that grows.
        taken = server.memory("VmHWM") - before
        holds(taken < 2 * 64 * MIB + ROOM_AT_A_TIME, f"{taken / MIB:.0f} MiB were taken")
        server.works()


def pictures_that_are_larger_than_they_look(server):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def png(width, height, rows=b""):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    def jpeg(width, height):
        frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
        return b"\xff\xd8\xff\xc0" + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(100) + b"\xff\xd9"

    def webp(width, height):
        frame = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"RIFF" + struct.pack("<I", 4 + len(frame)) + b"WEBP" + frame

    def picture(data, model="gray"):
        return request(tensor("image", "BYTES", [1], contents(8, data)), model=model)

    small = png(2, 2, bytes(6))
    server.call("ModelInfer", picture(small))
    for data in (
        png(5000, 5000, bytes(5001 * 5000)),
        png((1 << 31) - 1, (1 << 31) - 1),
        png((1 << 32) - 1, 1),
        png(4000, 4000),
        png(0, 0),
        jpeg(65_500, 65_500),
        jpeg(0, 0),
        webp(1 << 24, 1 << 24),
        small[:-20],
        small[:20],
        b"\xff\xd8\xff",
        b"",
        bytes(MIB),
    ):
        # What the largest picture that may come needs is more than this.
        server.refuses(picture(data), (MALFORMED, LARGE), times=10)
    for model in ("resize=100000x100000", "pad=100000,100000,100000,100000", "gray=7", "gray|" * 100 + "gray", "gray | no-such"):
        server.refuses(picture(small, model), (MALFORMED, UNKNOWN, LARGE))
    sized = tensor("image", "UINT8", [MOST_INT64, MOST_INT64, 3])
    server.refuses(request(sized, raw(b""), model="gray"), (MALFORMED, LARGE))
    server.refuses(request(tensor("image", "UINT8", [1 << 15, 1 << 15, 1]), raw(b""), model="gray"), (MALFORMED, LARGE))


def streams_with_a_poisoned_message(server):
    method = server.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    good, refused = request(tensor(), FLOAT), request(tensor(shape=[1, 1 << 29]), FLOAT)
    # What can be read is answered in its place, and what can't be ends the stream.
    for poison, codes in ((b"\xff", MALFORMED), (field(1, b"\xff"), MALFORMED), (field(5, b"") * 100_000, LARGE)):
        replies = method(iter([good, refused, good, poison, good]), timeout=TIMEOUT_SECONDS)
        for says in (b"OUTPUT0", b"Expected 2147483648, got 4", b"OUTPUT0"):
            holds(says in next(replies), f"a reply says {says}")
        try:
            next(replies)
        except grpc.RpcError as error:
            equal(error.code(), codes, error.details())
        else:
            raise AssertionError("the stream went on")
        server.works()


def configurations_that_ask_for_the_impossible(server):
    def config(**more):
        port = {"data_type": "TYPE_FP32", "dims": [-1]}
        ports = {"input": [{"name": "INPUT0", **port}], "output": [{"name": "OUTPUT0", **port}]}
        return json.dumps({"backend": "identity", "max_batch_size": 8, **ports, **more})

    def load(text, *more):
        parameters = field(3, field(1, "config") + field(2, field(3, text))) + b"".join(more)
        return field(2, "unloaded") + parameters

    def zeros(dims):
        values = {"data_type": "TYPE_FP32", "dims": dims, "zero_data": True}
        return [{"name": "w", "batch_size": 1, "inputs": {"INPUT0": values}}]

    for text in (
        "", "{", "[]", "null", "{}", '{"backend":"no-such"}', "{" * MIB, "[" * MIB, '{"input":' * 100_000, LONG,
        config(instance_group=[{"count": (1 << 31) - 1, "kind": "KIND_CPU"}]),
        config(instance_group=[{"count": 1, "kind": "KIND_CPU"}] * 100_000),
        config(instance_group=[{"count": -1}]),
        config(max_batch_size=-1),
        config(max_batch_size=1 << 40),
        config(model_warmup=zeros([1 << 40])),
        config(model_warmup=zeros([1 << 29])),
        config(model_warmup=zeros([1 << 16] * 4)),
        config(model_warmup=[{**zeros([4])[0], "count": (1 << 32) - 1}] * 100),
        config(input=[{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-2]}]),
        config(input=[{"name": f"I{number}", "data_type": "TYPE_FP32", "dims": [1]} for number in range(20_000)]),
        config(default_model_filename="../../../etc/passwd"),
        config(dynamic_batching={"priority_levels": (1 << 64) - 1, "default_priority_level": 1}),
    ):  # fmt: skip
        server.refuses(load(text), (MALFORMED, grpc.StatusCode.INTERNAL, LARGE), call="RepositoryModelLoad")
    for key in ("file:../../x", "file:1/../../x", "file:/x", "file:", "file:1/" + LONG, "file:a\0b"):
        entry = field(3, field(1, key) + field(2, field(4, b"x")))
        server.refuses(load(config(), entry), (MALFORMED, grpc.StatusCode.INTERNAL), call="RepositoryModelLoad")
    equal(os.path.exists("/x"), False, "a file outside of the repository")


def nothing_is_left_of_it(server):
    # What is freed is kept for some seconds, for what comes next.
    end = time.monotonic() + TIMEOUT_SECONDS
    while True:
        server.works()
        grown = server.memory("VmRSS") - server.before
        if grown < ROOM_FOR_GOOD or time.monotonic() > end:
            break
    print(f"    it has grown by {grown / MIB:.1f} MiB")
    holds(grown < ROOM_FOR_GOOD, f"it has grown by {grown / MIB:.0f} MiB")


CHECKS = [
    shapes_that_no_tensor_has,
    data_that_is_not_that_of_the_tensor,
    strings_that_are_longer_than_what_came,
    what_nobody_knows,
    parameters_that_make_no_sense,
    shared_memory_that_is_not_there,
    more_than_there_can_be_of_anything,
    names_of_a_megabyte,
    messages_that_are_none,
    texts_that_are_no_texts,
    what_unpacks_to_more_than_may_come,
    pictures_that_are_larger_than_they_look,
    streams_with_a_poisoned_message,
    configurations_that_ask_for_the_impossible,
    nothing_is_left_of_it,
]


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--pid", type=int, required=True, help="the server's process")
    args = arguments.parse_args()
    run(CHECKS, args.check, Server(args.server, args.pid))


if __name__ == "__main__":
    main()
