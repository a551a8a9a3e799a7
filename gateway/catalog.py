"""The models of one configuration, by every name a client may use, and which paths each serves."""

from __future__ import annotations

from typing import Final

from gateway.config import Config, Model, Task
from gateway.refusal import Refusal

PATHS: Final[dict[str, frozenset[Task]]] = {
    "/v1/chat/completions": frozenset(("chat", "text2sql")),
    "/v1/completions": frozenset(("chat", "text2sql")),
    "/v1/responses": frozenset(("chat", "text2sql")),
    "/v1/text2sql": frozenset(("text2sql",)),
    "/v1/embeddings": frozenset(("embed",)),
    "/v1/rerank": frozenset(("rerank",)),
    "/v1/score": frozenset(("rerank", "embed")),
    "/tokenize": frozenset(("chat", "text2sql", "embed", "rerank")),
    "/detokenize": frozenset(("chat", "text2sql", "embed", "rerank")),
}
"""Paths of the data plane, and the tasks whose models serve them."""

SHOWN_CHARS: Final = 64
"""Of a name that a client made up, in our messages and logs."""


def paths_of(model: Model) -> tuple[str, ...]:
    return tuple(path for path, tasks in PATHS.items() if tasks.intersection(model.tasks))


class Catalog:
    """Look-ups. Never changed: a reload makes a new one."""

    def __init__(self, config: Config) -> None:
        self.models = config.models
        self.prefixes = config.balancing.policy == "prefix_hash"
        """Calls are told apart by how their prompts begin."""
        self.caches = config.cache.enabled
        self.counts = config.store is not None
        """Tokens are reserved before a call is sent."""
        header = config.balancing.session_header
        self.session = None if header is None else header.encode()
        """The header that keeps calls together."""
        self._by_name = {name: model for model in config.models for name in (model.name, *model.aliases)}
        self._served: dict[tuple[str, str | None], Model] = {
            (path, name): model for name, model in self._by_name.items() for path in paths_of(model)
        }
        self._default = {
            "/v1/text2sql": next((model for model in config.models if "text2sql" in model.tasks), None)
        }

    def find(self, path: str, name: str | None) -> Model:
        """The model for a call. Raises Refusal (400, 404)."""
        served = self._served.get((path, name))
        if served is not None:
            return served
        if name is None:
            model = self._default.get(path)
            if model is None:
                message = f"`model` is missing. Served here: {self._names()}."
                raise Refusal(400, "invalid_request", message, param="model")
            return model
        model = self._by_name.get(name)
        if model is None:
            shown = name if len(name) <= SHOWN_CHARS else f"{name[:SHOWN_CHARS]}..."
            message = f"There is no model {shown!r}. Served here: {self._names()}."
            raise Refusal(404, "model_not_found", message, param="model")
        paths = ", ".join(paths_of(model))
        raise Refusal(404, "not_found", f"{name} does not serve {path}. It serves {paths}.", param="model")

    def get(self, name: str) -> Model | None:
        return self._by_name.get(name)

    def _names(self) -> str:
        return ", ".join(self._by_name) or "nothing yet"
