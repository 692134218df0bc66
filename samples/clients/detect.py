"""Lists what a detector finds in pictures, with plain gRPC and code that is made from the protocol's files.

    pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -Iprotos --python_out=samples/clients --grpc_python_out=samples/clients \
        protos/grpc_service.proto protos/model_config.proto
    python samples/clients/detect.py street.jpg --model things
"""

import argparse
import json
import sys
from pathlib import Path

import grpc
import grpc_service_pb2 as inference
import grpc_service_pb2_grpc as services


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+", help="JPEG, PNG or WebP files")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--model", default="things", help="things or faces, of samples/models")
    arguments = parser.parse_args()

    with grpc.insecure_channel(arguments.server) as channel:
        server = services.GRPCInferenceServiceStub(channel)
        try:
            for path in arguments.pictures:
                print(f"{path}:")
                for found in detect(server, arguments.model, path.read_bytes()):
                    x, y, width, height = found["box"]
                    print(f"  {found['label']:16} {found['score']:4.0%}  {width:.0f}x{height:.0f} at {x:.0f},{y:.0f}")
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    return 0


def detect(server: services.GRPCInferenceServiceStub, model: str, picture: bytes) -> list[dict]:
    request = inference.ModelInferRequest(
        model_name=model,
        inputs=[
            inference.ModelInferRequest.InferInputTensor(
                name="image",
                datatype="BYTES",
                shape=[1],
                contents=inference.InferTensorContents(bytes_contents=[picture]),
            )
        ],
        # The boxes, scores and classes that the model itself gives could be asked for too.
        outputs=[inference.ModelInferRequest.InferRequestedOutputTensor(name="detections")],
    )
    # What was sent in `contents` is answered in `contents`; for large tensors, raw_input_contents is faster.
    reply = server.ModelInfer(request, timeout=60)
    return json.loads(reply.outputs[0].contents.bytes_contents[0])


if __name__ == "__main__":
    sys.exit(main())
