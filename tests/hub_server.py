"""A local stand-in for the Hugging Face Hub: what hf_hub_download asks for, from memory."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Repositories = Mapping[str, Mapping[str, bytes]]  # "organisation/name" -> file -> content
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
MODEL = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def commit_of(files: Mapping[str, bytes]) -> str:
    """The commit of a repository that has these files: 40 hexadecimal digits."""
    digest = hashlib.sha1()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves repositories, each with one commit that is also its "main"."""

    daemon_threads = True

    def __init__(self, repositories: Repositories) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = repositories
        self.requests: list[str] = []  # "METHOD path" of each request answered

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def find(self, repository: str, revision: str | None) -> tuple[Mapping[str, bytes], str, str]:
        """Files and commit of a revision, and the Hub's error code ("" if there is none)."""
        files = self.repositories.get(repository)
        if files is None:
            return {}, "", "RepoNotFound"
        commit = commit_of(files)
        if revision not in (None, "main", commit):
            return {}, "", "RevisionNotFound"
        return files, commit, ""


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of files (Range too), GET of a model's description."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if match := FILE.fullmatch(self.path):
            self.send_file(*match.groups())
        elif match := MODEL.fullmatch(self.path):
            self.send_description(*match.groups())
        else:
            self.answer(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815

    def send_file(self, repository: str, revision: str, name: str) -> None:
        files, commit, error = self.server.find(repository, revision)
        if not error and name not in files:
            error = "EntryNotFound"
        if error:
            found = {"X-Repo-Commit": commit} if commit else {}
            return self.answer(HTTPStatus.NOT_FOUND, headers={"X-Error-Code": error, **found})
        content = files[name]
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        span = RANGE.fullmatch(self.headers.get("Range", ""))
        if span is None:
            return self.answer(HTTPStatus.OK, content, headers)
        start, stop = int(span[1]), int(span[2] or len(content) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self.answer(HTTPStatus.PARTIAL_CONTENT, content[start:stop], headers)

    def send_description(self, repository: str, revision: str | None) -> None:
        files, commit, error = self.server.find(repository, revision)
        if error:
            return self.answer(HTTPStatus.NOT_FOUND, headers={"X-Error-Code": error})
        siblings = [{"rfilename": name} for name in files]
        about = {"_id": commit, "id": repository, "sha": commit, "siblings": siblings}
        return self.answer(
            HTTPStatus.OK, json.dumps(about).encode(), {"Content-Type": "application/json"}
        )

    def answer(
        self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@contextmanager
def serve(repositories: Repositories) -> Iterator[Hub]:
    """Serves `repositories` on 127.0.0.1 until the block ends; `Hub.url` is the HF_ENDPOINT."""
    with Hub(repositories) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
