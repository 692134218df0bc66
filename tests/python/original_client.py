"""The service's first client, as far as the wire can tell: stubs that know img = 1 and reply = 1 and nothing
else, gray 1280x720 frames as bare bytes, and a reply printed for each. It must go on working unchanged.

Nothing on the wire says how large the frames are; the server has to be started with --raw-size 1280x720, or
has to be told by --metadata.
"""

import argparse
import sys

import cv2
import grpc

import stubs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--metadata", action="store_true", help="send frame-width and frame-height")
    args = parser.parse_args()

    messages, services = stubs.load(stubs.ORIGINAL_PROTOS)
    video = cv2.VideoCapture(args.video)
    width, height = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if not width:
        sys.exit(f"{args.video} can't be read")
    metadata = [("frame-width", str(width)), ("frame-height", str(height))] if args.metadata else None

    sent = 0

    def requests():
        nonlocal sent
        while True:
            more, frame = video.read()
            if not more:
                return
            sent += 1
            yield messages.MsgRequest(img=bytes(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)))

    replies = []
    with grpc.insecure_channel(args.server) as channel:
        try:
            for response in services.ImageTestStub(channel).Analyse(requests(), metadata=metadata):
                print(response.reply)
                replies.append(response.reply)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
    if replies != list(range(1, sent + 1)):
        sys.exit(f"{sent} frames were sent, and the replies are {replies}")
    print(f"ok: {sent} frames of {width}x{height}, a reply to each, counting from 1")


if __name__ == "__main__":
    main()
