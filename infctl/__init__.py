"""infctl: one YAML profile in; a running, metered, observable LLM platform out."""

__version__ = "0.1.0"
