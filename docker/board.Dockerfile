# The on-board agent in a container, for every L4T release: docker/README.md has BASE and PYTHON of each, and the
# command that runs it. Built from the root of the repository, on the board or for linux/arm64.

ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}
# That of the release: TensorRT's bindings are made for it alone, and on R32 they are the host's own.
ARG PYTHON=3.10
# NumPy is what TensorRT's bindings hand weights and types over as. Ubuntu keeps no old versions: its release is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-numpy \
    && rm -rf /var/lib/apt/lists/* \
    && test "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "${PYTHON}"
# The same tree as the zipapp that edgesynth sends over a link; the agent starts itself again from here.
COPY edgesynth/agent/__main__.py /opt/edgesynth/__main__.py
COPY edgesynth/agent/*.py /opt/edgesynth/edgesynth/agent/
# L4T gives the GPU's device files to the group video.
RUN useradd --create-home --groups video edgesynth \
    && install --directory --owner edgesynth /home/edgesynth/.cache
ENV PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=all
USER edgesynth
WORKDIR /home/edgesynth
ENTRYPOINT ["python3", "/opt/edgesynth"]
