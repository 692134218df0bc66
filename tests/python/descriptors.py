"""Compares what a server's reflection says of the KServe V2 protocol with Triton's own client, field by field.

Everything that the client knows has to be there, with the same numbers and types. What is there beyond that has to
stand in ADDED.
"""

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tritonclient.grpc import model_config_pb2, service_pb2

from checks import equal, parser, run

SERVICE = "inference.GRPCInferenceService"
# KServe's clients read these.
ADDED = {
    "inference.RepositoryModelLoadResponse": {"model_name", "isLoaded"},
    "inference.RepositoryModelUnloadResponse": {"model_name", "isUnloaded"},
}
TIMEOUT_SECONDS = 30


def every_message_is_tritons(pool):
    for file in (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR):
        for message in file.message_types_by_name.values():
            compare_message(message, pool.FindMessageTypeByName(message.full_name))


def every_enum_is_tritons(pool):
    for name, enum in model_config_pb2.DESCRIPTOR.enum_types_by_name.items():
        compare_enum(enum, pool.FindEnumTypeByName(f"inference.{name}"))


def every_call_is_tritons(pool):
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    ours = pool.FindServiceByName(SERVICE)

    def calls(service):
        return {
            method.name: (
                method.input_type.full_name,
                method.client_streaming,
                method.output_type.full_name,
                method.server_streaming,
            )
            for method in service.methods
        }

    equal(calls(ours), calls(theirs), "calls")


CHECKS = [every_message_is_tritons, every_enum_is_tritons, every_call_is_tritons]


# --- What they are made of ---------------------------------------------------------------------------------


def compare_message(theirs, ours):
    added = ADDED.get(theirs.full_name, set())
    equal(set(ours.fields_by_name) - added, set(theirs.fields_by_name), f"fields of {theirs.full_name}")
    for name, field in theirs.fields_by_name.items():
        equal(shape(ours.fields_by_name[name]), shape(field), f"{theirs.full_name}.{name}")
    equal(set(ours.nested_types_by_name), set(theirs.nested_types_by_name), f"messages in {theirs.full_name}")
    for name, nested in theirs.nested_types_by_name.items():
        compare_message(nested, ours.nested_types_by_name[name])
    for name, enum in theirs.enum_types_by_name.items():
        compare_enum(enum, ours.enum_types_by_name[name])


def compare_enum(theirs, ours):
    values = {name: value.number for name, value in theirs.values_by_name.items()}
    equal({name: value.number for name, value in ours.values_by_name.items()}, values, theirs.full_name)


def shape(field):
    """What has to agree for two fields to be the same on the wire and in code."""
    kind = field.message_type or field.enum_type
    # Older and newer protobuf say it in different ways, the message form in the same.
    declared = descriptor_pb2.DescriptorProto()
    field.containing_type.CopyToProto(declared)
    proto = next(each for each in declared.field if each.name == field.name)
    oneof = field.containing_oneof.name if field.containing_oneof else None
    return field.number, proto.type, proto.label, kind.full_name if kind else None, oneof


def reflected(channel):
    """A pool with the files of the service, as the server's reflection gives them."""
    request, response = reflection_messages()
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )

    def ask(**what):
        [reply] = call(iter([request(**what)]), timeout=TIMEOUT_SECONDS)
        equal(reply.error_response.error_message, "", f"reflection of {what}")
        files = reply.file_descriptor_response.file_descriptor_proto
        return [descriptor_pb2.FileDescriptorProto.FromString(file) for file in files]

    known, missing = {}, ask(file_containing_symbol=SERVICE)
    pool = descriptor_pool.DescriptorPool()

    def add(file):
        for dependency in file.dependency:
            if dependency not in known:
                [found] = ask(file_by_filename=dependency)
                add(found)
        if file.name not in known:
            known[file.name] = file
            pool.Add(file)

    for file in missing:
        add(file)
    return pool


def reflection_messages():
    """The parts of grpc.reflection.v1 that are needed here, so that no further package is."""
    field = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        made = descriptor_pb2.DescriptorProto(name=name)
        for number, label, kind, name, type_name in fields:
            made.field.add(number=number, label=label, type=kind, name=name, type_name=type_name)
        return made

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(name="reflection_parts.proto", package="parts", syntax="proto3")
    file.message_type.extend([
        message(
            "Request",
            (3, one, field.TYPE_STRING, "file_by_filename", None),
            (4, one, field.TYPE_STRING, "file_containing_symbol", None),
        ),
        message("Files", (1, many, field.TYPE_BYTES, "file_descriptor_proto", None)),
        message("Error", (2, one, field.TYPE_STRING, "error_message", None)),
        message(
            "Response",
            (4, one, field.TYPE_MESSAGE, "file_descriptor_response", ".parts.Files"),
            (7, one, field.TYPE_MESSAGE, "error_response", ".parts.Error"),
        ),
    ])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("parts.Request", "parts.Response")
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


def main():
    args = parser(__doc__).parse_args()
    with grpc.insecure_channel(args.server) as channel:
        run(CHECKS, args.check, reflected(channel))


if __name__ == "__main__":
    main()
