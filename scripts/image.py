"""Builds the gateway's image from the checkout: `python scripts/image.py [ARGUMENTS OF docker build]`.

The same build context as in a rendered folder (`infctl render` writes it to gateway/image), handed over
without writing it anywhere.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import PurePosixPath

import infctl
from infctl.profile.schema.gateway import Gateway
from infctl.render import gateway_image


def main(arguments: Sequence[str]) -> int:
    tag = Gateway.model_fields["image"].default
    argv = ["docker", "build", "--tag", tag, "--build-arg", f"VERSION={infctl.__version__}", *arguments, "-"]
    try:
        return subprocess.run(argv, input=context(), check=False).returncode
    except FileNotFoundError:
        sys.stderr.write("error: docker is not installed\n")
        return 5


def context() -> bytes:
    """The files of the build, as docker build reads them from its input."""
    files = gateway_image.files()
    folder = next(PurePosixPath(file.path).parent for file in files if file.path.endswith("/Dockerfile"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            data = file.text.encode()
            entry = tarfile.TarInfo(str(PurePosixPath(file.path).relative_to(folder)))
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
