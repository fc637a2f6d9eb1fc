# SPDX-License-Identifier: MIT
#
# Whom the examples talk to in their tests: clients that are slow or never end, servers that answer as
# they are told, and real ones on ports that nobody has.

import os
import socket
import subprocess
import threading
import time
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from checks import SECONDS_MAX, check, equal, parse


def start_server(run, name, *arguments):
    """Starts an example that tells where it listens; the program, and host and port."""
    program = run.start(name, *arguments)
    return program, parse(r"(?:listening on|forwarding from) ([\d.]+):(\d+).*", program.line())


def connect(host, port):
    return socket.create_connection((host, port), SECONDS_MAX)


def read_all(connection):
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def digest_of_all(connection):
    connection.sendall(sha256(read_all(connection)).hexdigest().encode() + b"\n")


def send_until_refused(connection, bytes, pause=0):
    try:
        while True:
            connection.sendall(bytes)
            time.sleep(pause)
    except OSError:
        pass


def until(file, expected):
    for line in file:
        if line == expected + "\n":
            return
    raise AssertionError(f"the connection ended before {expected!r}")


class Backend:
    """A server that does the same with each connection, one after the other, and closes it."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "%s:%d" % self.listener.getsockname()
        self.serve = serve
        self.served = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # it is over
            with connection:
                connection.settimeout(SECONDS_MAX)
                try:
                    self.serve(connection)
                except ConnectionError:
                    pass
            self.served.release()

    def await_connections(self, count):
        for _ in range(count):
            check(self.served.acquire(timeout=SECONDS_MAX), "a connection does not end")

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


class WebServer(ThreadingHTTPServer):
    """Serves the files of a folder: whole, or in parts, of which it sends the beginning only."""

    def __init__(self, folder, breaks_after=None):
        handler = Whole if breaks_after is None else Broken
        super().__init__(("127.0.0.1", 0), partial(handler, directory=folder))
        self.breaks_after = breaks_after
        self.thread = threading.Thread(target=self.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def handle_error(self, *_):
        pass  # a client may leave early

    def __exit__(self, *arguments):
        self.shutdown()
        self.thread.join()
        super().__exit__(*arguments)


class Whole(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Broken(Whole):
    def do_GET(self):
        content = Path(self.translate_path(self.path)).read_bytes()
        first, last = map(int, parse(r"bytes=(\d+)-(\d+)", self.headers["Range"]))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(content[first:last + 1][:self.server.breaks_after])
        self.close_connection = True


def start_on_free_port(run, make_command, ready):
    """Starts a server on a port that nobody has, which it tells; the port."""
    for _ in range(10):
        with socket.create_server(("127.0.0.1", 0)) as it:
            port = it.getsockname()[1]
        server = run.command(*make_command(port), stderr=subprocess.STDOUT)
        while (line := server.next()) is not None:
            if ready in line:
                return port
    raise AssertionError("the server finds no port")


def nginx(run, port):
    Path(run.folder, "nginx.conf").write_text(f"""
        daemon off; master_process off; pid nginx.pid; error_log stderr notice;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            server {{ listen 127.0.0.1:{port}; root {run.folder}; }}
        }}""")
    return ["nginx", "-p", run.folder, "-c", "nginx.conf", "-e", "stderr"]


def random_file(run, name, bytes):
    content = os.urandom(bytes)
    Path(run.folder, name).write_bytes(content)
    return content
