# audiopatch on a CPU: music comes in read-only, tables go out.
#   docker build -t audiopatch .
#   docker run --rm -v ~/Music:/music:ro -v "$PWD":/out audiopatch tag /music -o /out/audiopatch.out
FROM python:3.11-slim AS build
WORKDIR /source
RUN python -m venv /opt/audiopatch
# torch from its own index of CPU builds: the default wheels bring several GB of CUDA
RUN /opt/audiopatch/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY pyproject.toml README.md LICENSE THIRD_PARTY.md CHANGELOG.md constraints.txt ./
COPY src ./src
COPY packaging/man ./packaging/man
RUN /opt/audiopatch/bin/pip install --no-cache-dir -c constraints.txt '.[write]'

FROM python:3.11-slim
COPY --from=build /opt/audiopatch /opt/audiopatch
RUN useradd --create-home --uid 1000 audiopatch && mkdir /music /out && chown audiopatch /out
ENV PATH=/opt/audiopatch/bin:$PATH \
    AUDIOPATCH_CACHE=/home/audiopatch/.cache/audiopatch \
    PYTHONUNBUFFERED=1
USER audiopatch
WORKDIR /out
VOLUME /music
HEALTHCHECK --interval=5m --timeout=60s --start-period=2m CMD audiopatch doctor --json -o /out > /dev/null
ENTRYPOINT ["audiopatch"]
CMD ["--help"]
