# syntax=docker/dockerfile:1
# Two images: `docker build --target api .` (without torch) and `docker build --target worker .` (with torch).

FROM python:3.11.14-slim-bookworm AS python
ENV PYTHONUNBUFFERED=1 PATH=/opt/collapse/bin:$PATH

FROM python AS environment
ENV PIP_CACHE_DIR=/pip-cache
RUN python -m venv /opt/collapse
WORKDIR /source
COPY constraints.txt pyproject.toml ./
# What pyproject.toml asks for, as requirements: installed before the sources are copied, so that a change in these does
# not load hundreds of megabytes again.
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    write = lambda name, wanted: open(name, 'w').write('\n'.join(text for text in wanted if text != 'collapse-client')); \
    extras = project['optional-dependencies']; \
    write('api.txt', project['dependencies'] + extras['otel']); write('worker.txt', extras['worker'])"

FROM environment AS api-environment
RUN --mount=type=cache,target=/pip-cache pip install -c constraints.txt -r api.txt
COPY . .
RUN --mount=type=cache,target=/pip-cache pip install -c constraints.txt ./client '.[otel]'

FROM environment AS worker-environment
# constraints.txt pins the version of torch, the index its build. The default index has the CUDA build, which computes on
# CPUs too; for a worker without a GPU, give PyTorch's index of CPU builds and save gigabytes.
ARG TORCH_INDEX_URL=""
RUN --mount=type=cache,target=/pip-cache pip install -c constraints.txt ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} torch
RUN --mount=type=cache,target=/pip-cache pip install -c constraints.txt -r api.txt -r worker.txt
COPY . .
RUN --mount=type=cache,target=/pip-cache pip install -c constraints.txt ./client '.[worker,otel]'

FROM python AS service
# One user in both images: API and worker share the files under /data. A new volume takes the folder's owner over.
RUN useradd --uid 10001 --create-home collapse && install --directory --owner=collapse --group=collapse --mode=700 /data
ENV COLLAPSE_DATA_DIR=/data
VOLUME /data
WORKDIR /home/collapse
USER collapse

FROM service AS api
COPY --from=api-environment /opt/collapse /opt/collapse
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["collapse", "api", "--host", "0.0.0.0", "--port", "8000"]

FROM service AS worker
COPY --from=worker-environment /opt/collapse /opt/collapse
# Healthy is a worker that answers over the broker, by the name of this very container; also while it computes.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s CMD ["python", "-c", \
    "import socket, sys; from jobs.queue import create_celery; from jobs.settings import Settings; \
    answers = create_celery(Settings().broker_url).control.ping(timeout=5); \
    sys.exit(not any(name.endswith('@' + socket.gethostname()) for answer in answers for name in answer))"]
CMD ["collapse", "worker"]
