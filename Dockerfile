# One image for every role: a container is one machine (docs/containers.md).
#   docker build -t gatepost .                    libraries from PyPI
#   make wheels && docker build -t gatepost .     from dist/wheels, which needs no network
#   docker build --target lab -t gatepost-lab .   with what only the lab uses: sample messages, SSH client, firewall
ARG BASE=python:3.11-slim-bookworm

# Libraries first and our own wheel last, so that a change of the code makes two small layers anew.
FROM ${BASE} AS libraries
COPY pyproject.toml dist/wheel[s]/[^g]*.whl dist/wheel[s]/g[^a]*.whl /libraries/
WORKDIR /libraries
# What is compiled is taken without a look at its source's time: nothing can be compiled at a daemon's start.
# hadolint ignore=DL3013,SC2086
RUN set -eu; \
    python3 -m venv --without-pip /usr/lib/gatepost; \
    python3 -c 'import tomllib; \
        project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
        open("run.txt", "w").write("\n".join(project["dependencies"])); \
        open("lab.txt", "w").write("\n".join(project["optional-dependencies"]["lab"]))'; \
    set -- pip-*.whl; \
    if [ -e "$1" ]; then \
        pip="/usr/lib/gatepost/bin/python3 $1/pip install --no-index --find-links ."; \
    else \
        pip="python3 -m pip --python /usr/lib/gatepost/bin/python3 install --no-cache-dir"; \
    fi; \
    $pip --no-compile --requirement run.txt; \
    $pip --no-compile --requirement lab.txt --target /usr/lib/gatepost-lab; \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /usr/lib/gatepost/lib /usr/lib/gatepost-lab

FROM libraries AS build
COPY . /src
WORKDIR /src
# hadolint ignore=DL3013
RUN set -eu; \
    if [ -d dist/wheels ]; then \
        /usr/lib/gatepost/bin/python3 "$(echo /libraries/pip-*.whl)/pip" install --no-index --no-deps --no-compile \
            --root /own dist/wheels/gatepost-*.whl; \
    else \
        python3 -m pip --python /usr/lib/gatepost/bin/python3 install --no-cache-dir --no-deps --no-compile --root /own .; \
    fi; \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /own -p / /own

FROM ${BASE} AS system
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
COPY --from=libraries /usr/lib/gatepost /usr/lib/gatepost
ENV GATEPOST_CONFIG=/var/lib/gatepost/gatepost.toml \
    PYTHONDONTWRITEBYTECODE=1
USER 2500:2500
WORKDIR /
VOLUME /var/lib/gatepost
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["gatepost", "health"]
ENTRYPOINT ["gatepost"]
CMD ["serve"]

FROM system AS lab
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
COPY --from=libraries /usr/lib/gatepost-lab /usr/lib/gatepost/lib/python3.11/site-packages
COPY --from=build /own/usr/lib/gatepost /usr/lib/gatepost
USER 2500:2500
HEALTHCHECK NONE

FROM system AS gatepost
COPY --from=build /own/usr/lib/gatepost /usr/lib/gatepost
