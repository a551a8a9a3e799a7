"""The eight practices of running such a platform safely, one file each."""

from __future__ import annotations

from infctl.doctor.check import Check
from infctl.doctor.security import (
    audit,
    certificate,
    exposure,
    images,
    keys,
    quotas,
    redaction,
    rotation,
)

CHECKS = (
    Check("keys", "is any key a default, weak, or used twice", keys.look, needs=("profile",)),
    Check("certificate", "is the certificate strong and trusted", certificate.look, needs=("profile",)),
    Check("exposure", "what answers beyond this machine, and to whom", exposure.look, needs=("profile",)),
    Check("redaction", "is personal data taken out of logs", redaction.look, needs=("profile",)),
    Check("rotation", "how old are the keys", rotation.look, needs=("profile",)),
    Check("quotas", "does anybody's usage stand out", quotas.look, needs=("profile",)),
    Check("audit", "is there a trail of who asked what", audit.look, needs=("profile",)),
    Check("images", "how old are the images", images.look, "docker", ("stack", "docker")),
)
