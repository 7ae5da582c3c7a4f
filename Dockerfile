# One image for every role: a container is one machine (docs/containers.md).
#   docker build -t gatepost .                    libraries from PyPI
#   make wheels && docker build -t gatepost .     from dist/wheels, which needs no network
#   docker build --target lab -t gatepost-lab .   with what only the lab uses: sample messages, SSH client, firewall
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY . /src
WORKDIR /src
# hadolint ignore=DL3013,SC2086
RUN set -eu; \
    python3 -m venv --without-pip /usr/lib/gatepost; \
    if [ -d dist/wheels ]; then \
        pip=$(echo dist/wheels/pip-*.whl)/pip; from="--no-index --find-links dist/wheels"; what=gatepost; \
    else \
        pip="-m pip --python /usr/lib/gatepost/bin/python3"; from=""; what=.; \
    fi; \
    run() { case $pip in -m*) python3 $pip "$@" ;; *) /usr/lib/gatepost/bin/python3 "$pip" "$@" ;; esac; }; \
    run install --no-cache-dir --no-compile $from "$what"; \
    lab=$(sed -n 's/^lab = \["\(.*\)"\]$/\1/p' pyproject.toml); \
    run install --no-cache-dir --no-compile $from --target /usr/lib/gatepost-lab "$lab"; \
    /usr/lib/gatepost/bin/python3 -m compileall -q -j 0 /usr/lib/gatepost/lib

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Gatepost" \
      org.opencontainers.image.description="Mail gateways, one central quarantine and remote support" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# What the console's network tools start. A base that has it all is taken as it is. The copy of ping has no file
# capability: without capabilities a container may not even start a program that has one, and ping needs none here.
# hadolint ignore=DL3008
RUN set -eu; \
    for tool in ip ss ping traceroute tcpdump; do \
        command -v "$tool" >/dev/null || { missing=yes; break; }; \
    done; \
    if [ -n "${missing-}" ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends ca-certificates iproute2 iputils-ping tcpdump traceroute; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    ping=$(command -v ping); cp "$ping" /usr/bin/ping.plain; mv /usr/bin/ping.plain "$ping"; \
    groupadd --gid 2500 gatepost; \
    useradd --uid 2500 --gid 2500 --home-dir /var/lib/gatepost --no-create-home --shell /usr/sbin/nologin gatepost; \
    install -d -o gatepost -g gatepost -m 0750 /var/lib/gatepost; \
    ln -s /usr/lib/gatepost/bin/gatepost /usr/bin/gatepost
COPY --from=build /usr/lib/gatepost /usr/lib/gatepost
ENV GATEPOST_CONFIG=/var/lib/gatepost/gatepost.toml \
    PYTHONDONTWRITEBYTECODE=1
USER 2500:2500
WORKDIR /
VOLUME /var/lib/gatepost
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["gatepost", "health"]
ENTRYPOINT ["gatepost"]
CMD ["serve"]

FROM runtime AS lab
USER 0
# hadolint ignore=DL3008
RUN set -eu; \
    if ! command -v nft >/dev/null || ! command -v ssh >/dev/null; then \
        apt-get update; \
        apt-get install -y --no-install-recommends nftables openssh-client; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    install -d -o gatepost -g gatepost -m 0750 /lab; \
    for name in esa1 esa2 sma bastion mailhost engineer; do install -d -o gatepost -g gatepost -m 0750 "/lab/$name"; done
COPY --from=build /usr/lib/gatepost-lab /usr/lib/gatepost/lib/python3.11/site-packages
USER 2500:2500
HEALTHCHECK NONE

FROM runtime AS gatepost
