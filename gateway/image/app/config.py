"""The gateway's settings, as a person looks at them from inside its container.

    docker exec inference-gateway python -c "from app.config import settings; settings.validate()"

`settings` has every field of gateway.yaml (`settings.models`, `settings.timeouts.drain_s`), read when it is
first asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway.config import Config, ConfigError, load
from gateway.settings import read_settings

FILE = "/etc/infctl/gateway.yaml"
"""Where GATEWAY_CONFIG names no other."""
WRONG = 3
"""The gateway's own exit code for it."""


class Settings:
    """One gateway.yaml, with the keys that it names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.file = Path(environ.get("GATEWAY_CONFIG") or FILE)
        self._environ = environ

    @cached_property
    def config(self) -> Config:
        """Raises ConfigError."""
        return load(self.file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)

    def validate(self) -> None:
        """Say that nothing is wrong; or what is, and exit with 3. Keys are read, and not shown."""
        try:
            config = read_settings(self.file, self._environ).config
        except ConfigError as error:
            for problem in error.problems:
                sys.stderr.write(f"error: {error.file}: {problem}\n")
            raise SystemExit(WRONG) from None
        for model in config.models:
            backends = ", ".join(f"{backend.id} ({backend.url})" for backend in model.backends)
            sys.stdout.write(f"{model.name}: {', '.join(model.tasks)}: {backends}\n")
        sys.stdout.write(f"{self.file}: {len(config.models)} models, nothing wrong\n")


settings = Settings(os.environ)
