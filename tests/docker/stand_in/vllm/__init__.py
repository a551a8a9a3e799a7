"""Stands in for vLLM in tests: the same command line, answers and signals, and no model."""

__version__ = "0.32.0"
