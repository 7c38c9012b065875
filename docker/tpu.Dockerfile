# gptjax on Cloud TPUs. Linted by hadolint; never run: no image has been built from it.
#
#   docker build --file docker/tpu.Dockerfile --tag gptjax:tpu .
#   docker run --privileged --network host gptjax:tpu gptjax train --config=configs/gpt2_124m.py --workdir=gs://BUCKET/runs/124m
#
# The checkout is the working directory, as `python -m launch ... --on=jobset --on.image=NAME` needs it. libtpu comes with
# JAX's own packages. On a TPU VM the container must see the chips (--privileged); on GKE the node pool arranges that.
FROM python:3.12.12-slim-bookworm

# Runs write to mounted folders, so build with --build-arg UID=$(id -u) where the host's user is not 1000.
ARG UID=1000
RUN useradd --uid "$UID" --create-home gptjax && mkdir /gptjax && chown gptjax /gptjax
WORKDIR /gptjax
ENV PYTHONUNBUFFERED=1

# The packages come first, from what names them alone: another line of code does not install them again.
COPY pyproject.toml setup.py README.md LICENSE ./
COPY gptjax/version.py gptjax/
RUN mkdir configs && touch gptjax/__init__.py && pip install --no-cache-dir --editable '.[tpu,cloud,analysis]'

COPY --chown=gptjax . .
USER $UID
CMD ["gptjax", "--help"]
