# ruff: noqa: T201, PTH123
"""A small service: listens after `--load-s`, answers /health, forks on demand, dies as it is told."""

import argparse
import http.server
import os
import signal
import sys
import threading
import time
from typing import NoReturn

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--load-s", type=float, default=0.0)
parser.add_argument("--worker", action="store_true", help="fork one, and end when it ends, as vLLM does")
parser.add_argument("--lag-s", type=float, default=0.0, help="the worker ends so long after its SIGTERM")
parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
parser.add_argument("--fail", default="", help="print this and exit with code 1")
parser.add_argument("--mark", default="", help="append load begin and end to this file")
parser.add_argument("--say", default="hello")
options = parser.parse_args()


def mark(what: str) -> None:
    if options.mark:
        with open(options.mark, "a") as file:
            file.write(f"{what} {os.environ.get('INFCTL_SERVICE')}\n")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.partition("?")[2]
        body = os.environ.get(name, "").encode() if name else b"ok"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def end(*_: object) -> NoReturn:
    print("stopping", flush=True)
    os._exit(0)


print(options.say, flush=True)
if options.fail:
    print(options.fail, flush=True)
    sys.exit(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN if options.deaf else end)
if options.worker:
    worker = os.fork()
    if worker == 0:
        # Its own session: only the mark in its environment tells whose it is.
        os.setsid()
        if options.lag_s:
            # Said with the clock of the test: what it wrote last is when it was gone.
            signal.signal(signal.SIGTERM, lambda *_: (time.sleep(options.lag_s), mark("gone"), os._exit(0)))
        while True:
            time.sleep(60)
mark("begin")
time.sleep(options.load_s)
server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
mark("end")
if options.worker:

    def watch() -> None:
        os.waitpid(worker, 0)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGHUP, lambda *_: print("reloaded", flush=True))
server.serve_forever()
