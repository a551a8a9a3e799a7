"""What engines measured here when they started, kept for the next plan: `.infctl/calibration.json`.

known   the values: entries by key, what of them holds for another engine. Pure
lookup  a plan's question: the arguments as the profile has them -> Measured. Pure
said    vLLM's metrics and its start-up log -> Measured. Pure
store   the file: a newer one is refused, a damaged one is set aside, at most 500 entries
"""

from __future__ import annotations

from infctl.calibration.known import Calibration, Entry, key, model_name
from infctl.calibration.lookup import Lookup, lookup
from infctl.calibration.store import load, save

__all__ = ["Calibration", "Entry", "Lookup", "key", "load", "lookup", "model_name", "save"]
