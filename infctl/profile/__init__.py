"""The YAML a person writes, read whole or refused whole.

values        how durations, sizes, counts and shares are written
schema/       what a profile may say (frozen; a file a section)
tree          YAML text -> nodes that know their line and column
interpolation ${VAR}, ${VAR:-default}, ${VAR:?message}
loading       files, overlays, variables -> LoadedProfile, or every error at once
check         what no single field can see: names used twice, ports that clash ...
secrets       which variables must be set, and where to set them
enforcement   what this version reads but does not enforce yet
json_schema   the same schema for editors
builtin       the profiles that come with infctl

Import from the modules: this one stays empty, because `infctl --help` must not wait for a schema.
"""
