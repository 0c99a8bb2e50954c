# Runs edgesynth on a workstation or server. docker/README.md has the commands; built from the root of the repository.
# CPU by default. With an NVIDIA GPU: --build-arg EXTRA=gpu --build-arg TORCH_INDEX=https://pypi.org/simple

# The Python that constraints.txt was tested with.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
# One of edgesynth's extras cpu and gpu.
ARG EXTRA=cpu
# PyPI's torch for x86 brings CUDA; this index has the one without, a tenth of the size.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY edgesynth edgesynth
COPY profiles profiles
# hatchling first, since constraints do not reach into an isolated build.
RUN python -m venv /opt/edgesynth \
    && /opt/edgesynth/bin/pip install --no-cache-dir -c constraints.txt hatchling \
    && /opt/edgesynth/bin/pip install --no-cache-dir -c constraints.txt --no-build-isolation \
        --extra-index-url "${TORCH_INDEX}" ".[${EXTRA}]"

FROM python:${PYTHON}-slim-bookworm
# The links to boards go through this client. Debian keeps no old versions, so the release is what is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/edgesynth /opt/edgesynth
# The id of who runs it: ssh reads keys that belong to its own user, and runs belong to that user too.
ARG UID=1000
RUN useradd --create-home --uid "${UID}" edgesynth \
    && install --directory --owner edgesynth /work
# What the NVIDIA runtime gives where it runs: CUDA, and NVML for power. Without it these say nothing.
ENV PATH=/opt/edgesynth/bin:${PATH} \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER edgesynth
WORKDIR /work
ENTRYPOINT ["edgesynth"]
