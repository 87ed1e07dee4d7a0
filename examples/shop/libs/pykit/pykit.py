"""What the shop's Python services share: serving JSON, and calls to other services.

It stands on the standard library alone, so that images build without network.
"""

import json
import os
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TIMEOUT = 5.0  # seconds, of one call to another service
MAX_BODY = 1 << 20


class Refusal(Exception):
    """An answer that is not a success, with its status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def url(env, service):
    """Finds another service: <NAME>_URL where it is set, else the address that Kubernetes puts into each container as
    <NAME>_SERVICE_HOST and <NAME>_SERVICE_PORT, else its name in the cluster's DNS."""
    name = service.upper().replace("-", "_")
    if env.get(f"{name}_URL"):
        return env[f"{name}_URL"].rstrip("/")
    host = env.get(f"{name}_SERVICE_HOST")
    if not host:
        return f"http://{service}"
    return f"http://{f'[{host}]' if ':' in host else host}:{env.get(f'{name}_SERVICE_PORT', '80')}"


def get(base, path):
    """The JSON that a service answers; Refusal with its status, or with 502 when it cannot be reached."""
    try:
        with urllib.request.urlopen(base + path, timeout=TIMEOUT) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise Refusal(error.code, f"{base}{path} answered {error.code}") from error
    except (OSError, ValueError) as error:
        raise Refusal(502, f"{base}{path}: {error}") from error


def log(service, **line):
    print(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "service": service, **line}), flush=True)


def server(service, routes, address):
    """An HTTP server of routes: "GET /quotes/<country>" → function(path values, query, body) → value to answer as JSON."""
    compiled = []
    for route, function in routes.items():
        method, path = route.split(" ", 1)
        compiled.append((method, re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[\\w.-]+)", path) + "$"), function))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if self.path != "/healthz":
                log(service, level="info", msg="request", method=self.command, path=self.path, status=status)

        def body(self):
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY:
                raise Refusal(413, "the body is too large")
            return json.loads(self.rfile.read(length)) if length else None

        def route(self):
            where = urlsplit(self.path)
            if where.path == "/healthz":
                return {"status": "ok"}
            for method, pattern, function in compiled:
                found = pattern.match(where.path)
                if found and method == self.command:
                    query = {name: values[-1] for name, values in parse_qs(where.query).items()}
                    return function(found.groupdict(), query, self.body())
            raise Refusal(404, f"no {where.path} here")

        def serve(self):
            try:
                self.answer(200, self.route())
            except Refusal as refusal:
                self.answer(refusal.status, {"error": str(refusal)})
            except ValueError as error:
                self.answer(400, {"error": str(error)})
            except Exception as error:  # the service goes on
                log(service, level="error", msg=repr(error))
                self.answer(500, {"error": "something went wrong here"})

        do_GET = do_POST = do_PUT = do_DELETE = serve

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    return Server(address, Handler)


def main(service, routes):
    """Serves on PORT until it is told to stop."""
    serving = server(service, routes, ("", int(os.environ.get("PORT", "8080"))))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=serving.shutdown).start())
    log(service, level="info", msg="listening", port=serving.server_address[1])
    serving.serve_forever()
    sys.exit(0)
