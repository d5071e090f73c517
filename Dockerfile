# `kata room` in a container: docker build -t katas . && docker run --rm -it -p 127.0.0.1:8722:8722 -v katas:/home/learner/mine katas
FROM python:3.11-slim

RUN useradd --create-home learner
USER learner
WORKDIR /home/learner/katas
ENV PATH=/home/learner/venv/bin:$PATH \
    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    PIP_NO_CACHE_DIR=1
COPY --chown=learner . .
# The pins of what a learner needs, and those of the room, which stand among the developers'.
RUN python -m venv /home/learner/venv \
    && grep -h "==" requirements.txt requirements-dev.txt > /tmp/pins.txt \
    && pip install --quiet --constraint /tmp/pins.txt --editable ".[room]" \
    && kata init /home/learner/mine
WORKDIR /home/learner/mine
EXPOSE 8722
CMD ["kata", "room", "--no-open", "--container", "--port", "8722"]
