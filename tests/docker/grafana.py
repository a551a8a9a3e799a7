"""Stands in for Grafana: starts with its password file alone, and says that it is well on its port."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"database": "ok"}'
        self.send_response(200 if self.path == "/api/health" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


assert Path(os.environ["GF_SECURITY_ADMIN_PASSWORD__FILE"]).read_text("utf-8")
Path("/var/lib/grafana/started").touch()  # it keeps its boards there
ThreadingHTTPServer(("0.0.0.0", 3000), Handler).serve_forever()
