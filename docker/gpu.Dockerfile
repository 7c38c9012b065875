# gptjax on NVIDIA GPUs. Linted by hadolint; never run: no image has been built from it.
#
#   docker build --file docker/gpu.Dockerfile --tag gptjax:gpu .
#   docker run --gpus all --volume "$PWD/runs:/gptjax/runs" gptjax:gpu gptjax train --config=configs/smoke_gpu.py --workdir=runs/smoke
#
# The checkout is the working directory, as `python -m launch ... --on=jobset --on.image=NAME` needs it. CUDA comes with
# JAX's own packages; the machine must have NVIDIA's driver (525 or newer) and its container toolkit.
FROM python:3.12.12-slim-bookworm

# Runs write to mounted folders, so build with --build-arg UID=$(id -u) where the host's user is not 1000.
ARG UID=1000
RUN useradd --uid "$UID" --create-home gptjax && mkdir /gptjax && chown gptjax /gptjax
WORKDIR /gptjax
ENV PYTHONUNBUFFERED=1

# The packages come first, from what names them alone: another line of code does not install them again.
COPY pyproject.toml setup.py README.md LICENSE ./
COPY gptjax/version.py gptjax/
RUN mkdir configs && touch gptjax/__init__.py && pip install --no-cache-dir --editable '.[cuda12,cloud,analysis]'

COPY --chown=gptjax . .
USER $UID
CMD ["gptjax", "--help"]
