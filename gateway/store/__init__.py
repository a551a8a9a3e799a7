"""Where counts, keys and settings survive: one protocol, an embedded SQLite and a Redis behind it."""
