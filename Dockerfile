# The server:             docker build -t frameserve .
#   for NVIDIA's GPUs:    docker build -t frameserve:cuda --build-arg TORCH=cuda .
#   without libtorch:     docker build -t frameserve --build-arg TORCH=none .
# The client:             docker build -t frameserve-client --target client .
# BuildKit, which is Docker's default, builds only what the wanted image needs; the old builder builds all above it.

FROM rust:1.95-bookworm AS sources
ENV PIP_NO_CACHE_DIR=1
WORKDIR /frameserve
COPY scripts/setup scripts/
# Packages alone first: they are the same for both programs.
RUN TORCH=none scripts/setup build && rm -rf /var/lib/apt/lists/*
COPY .cargo .cargo
COPY protos protos
COPY Cargo.toml Cargo.lock build.rs ./
# Empty stand-ins for the sources, with which the dependencies are built in a layer of their own, which a
# change of the sources leaves alone.
RUN sed -n 's/^path = "\(.*\)"/\1/p' Cargo.toml | while read -r file; do \
      mkdir -p "$(dirname "$file")" && echo '#![allow(dead_code)] fn main() {}' > "$file"; done

FROM sources AS build-server
ARG TORCH=cpu
RUN TORCH=$TORCH scripts/setup build
# build.rs compiles them in the layer of the dependencies too.
COPY src/model/torch/*.cpp src/model/torch/*.h src/model/torch/
RUN test "$TORCH" = none && echo --no-default-features > features || touch features
RUN cargo build --release --locked --bin frameserve-server $(cat features)
COPY src src
# Cargo goes by the time of change, and the stand-ins are newer than the sources.
RUN find src -name '*.rs' -exec touch {} + && \
    cargo build --release --locked --bin frameserve-server $(cat features)
# The program looks for libraries in ../lib: those of libtorch that it needs go there.
RUN mkdir -p installed/bin installed/lib && cp target/release/frameserve-server installed/bin/ && \
    ldd installed/bin/frameserve-server | awk '$3 ~ /\/\.deps\// {print $3}' | xargs -r cp -Lt installed/lib
# Those of CUDA are loaded by name when the program runs, and load each other so: all of them.
RUN if [ "$TORCH" = cuda ]; then \
      find .deps/libtorch/torch/lib .deps/libtorch/nvidia -name '*.so*' ! -name 'libtorch_python*' ! -name 'libshm*' \
        -exec cp -Lt installed/lib {} + ; fi

FROM sources AS build-client
RUN cargo build --release --locked --bin frameserve-client --no-default-features
COPY src src
RUN find src -name '*.rs' -exec touch {} + && \
    cargo build --release --locked --bin frameserve-client --no-default-features

FROM debian:bookworm-slim AS client
# The client reads and writes video files.
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libopencv-imgcodecs406 libopencv-imgproc406 libopencv-objdetect406 libopencv-photo406 libopencv-video406 \
      libopencv-videoio406 && rm -rf /var/lib/apt/lists/*
COPY --from=build-client /frameserve/target/release/frameserve-client /opt/frameserve/bin/
RUN ! ldd /opt/frameserve/bin/frameserve-client | grep 'not found'
USER 10001:10001
WORKDIR /videos
ENTRYPOINT ["/opt/frameserve/bin/frameserve-client"]

FROM debian:bookworm-slim AS server
# No imgcodecs and no videoio: with them would come 280 MB of readers of file formats.
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libopencv-core406 libopencv-imgproc406 libopencv-objdetect406 libopencv-photo406 libopencv-video406 \
      opencv-data && rm -rf /var/lib/apt/lists/*
COPY --from=build-server /frameserve/installed /opt/frameserve
# libcuda.so.1 is the driver's: the container gets that of the machine it runs on.
RUN cd /opt/frameserve && ! LD_LIBRARY_PATH=lib ldd bin/* $(ls lib/libtorch_cuda.so 2>/dev/null) | \
      grep 'not found' | grep -v libcuda.so.1
USER 10001:10001
ENV FRAMESERVE_LISTEN=0.0.0.0:50051
# Which of a machine's GPUs `docker run --gpus` or NVIDIA's runtime may give it, and what of the driver.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 50051
ENTRYPOINT ["/opt/frameserve/bin/frameserve-server"]
