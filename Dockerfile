# The image of slaw, for a CPU:
#   docker build -t slaw .
#   docker run --rm -v "$PWD:/work" slaw run --mode quick
# For NVIDIA GPUs (docker run --gpus all ...), the index of a CUDA build of torch:
#   docker build -t slaw --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH=2.13.0
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch==$TORCH"

COPY pyproject.toml setup.py constraints.txt README.md LICENSE /src/
COPY scaling_law /src/scaling_law
COPY configs /src/configs
COPY experiments /src/experiments
# constraints.txt pins the CPU's torch by its version alone, which a CUDA build has, too
RUN pip install --no-cache-dir -c /src/constraints.txt /src && rm -r /src

# files belong to the user who starts the container, with: docker run --user "$(id -u):$(id -g)"
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["slaw"]
CMD ["help"]
