# One image: by default the dashboard, as on a Hugging Face Space; compose.yaml runs the API with it.
FROM python:3.11.13-slim-bookworm

# The OpenMP library that implicit's wheel expects, and the slim image lacks.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

ENV HOME=/tmp OPENBLAS_NUM_THREADS=1 PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
WORKDIR /app
COPY pyproject.toml requirements.txt ./
# The lock as constraints: of all that it pins with hashes, the core and what serving needs.
RUN sed -n '/^uv==/,/# via/p' requirements.txt > uv.txt \
    && python -m pip install --quiet --require-hashes -r uv.txt \
    && python -m uv pip install --python "$(command -v python)" --require-hashes \
        -r pyproject.toml --extra serve -c requirements.txt
COPY helpers/ helpers/
RUN mkdir -m 777 data

USER 1000:1000
EXPOSE 7860
HEALTHCHECK --start-period=10m CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/_stcore/health', timeout=5)"]
ENTRYPOINT ["python", "-m", "helpers"]
CMD ["dashboard", "--host=0.0.0.0", "--port=7860"]
