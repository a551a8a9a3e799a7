"""What one of several workers may use of what the configuration gives the gateway. Pure.

Places at a backend, connections, waiting calls and the cache are divided, so that all workers together keep
to what is written; each gets at least one. Time-outs, breakers and the retry budget are each worker's own.
"""

from __future__ import annotations

from msgspec.structs import replace

from gateway.config import Backend, Config


def share(whole: int, worker: int, workers: int) -> int:
    """Of `whole`, for worker 0, 1, 2...: the first ones get what is left over; at least 1."""
    return max(1, whole // workers + (worker < whole % workers))


def divided(config: Config, worker: int, workers: int) -> Config:
    """The configuration as one worker keeps to it."""
    if workers == 1:
        return config

    def part(whole: int) -> int:
        return share(whole, worker, workers)

    def backend(whole: Backend, number: int) -> Backend:
        if whole.concurrency is None:
            return whole
        # Turned by the backend's number: what is left over does not always go to the same worker.
        return replace(whole, concurrency=share(whole.concurrency, (worker + number) % workers, workers))

    return replace(
        config,
        models=tuple(
            replace(model, backends=tuple(backend(each, n) for n, each in enumerate(model.backends)))
            for model in config.models
        ),
        http=replace(config.http, connections=part(config.http.connections)),
        upstream=replace(
            config.upstream,
            connections=part(config.upstream.connections),
            keep_alive=part(config.upstream.keep_alive),
        ),
        queue=replace(config.queue, waiting=part(config.queue.waiting)),
        cache=replace(
            config.cache, entries=part(config.cache.entries), memory_bytes=part(config.cache.memory_bytes)
        ),
    )


def warnings(config: Config, workers: int) -> list[str]:
    """Where dividing gives more than is there."""
    return [
        f"{backend.id} computes {backend.concurrency} at once, fewer than there are workers: "
        f"each of the {workers} may send it one"
        for model in config.models
        for backend in model.backends
        if backend.concurrency is not None and backend.concurrency < workers
    ]
