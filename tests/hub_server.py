"""A local stand-in for the Hugging Face Hub: what huggingface_hub asks it, from memory."""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Repositories = MutableMapping[str, Mapping[str, bytes]]  # "organisation/name" -> file -> content
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
MODEL = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
UPLOAD = re.compile(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main")
BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
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
        self.token: str | None = None  # what uploads must come with
        self.private: set[str] = set()  # repositories that nobody may read without the token
        self.cuts = 0  # downloads of large files still to be cut off half-way
        self.ranges: list[str] = []  # of the downloads asked for in part
        self.stored: dict[str, bytes] = {}  # large files by their sha256
        self.requests: list[str] = []  # "METHOD path" of each request answered

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """Of a process whose huggingface_hub asks this server; it reads its settings once."""
        return {
            **os.environ,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }

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

    def do_POST(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.allowed():
            return self.answer(HTTPStatus.UNAUTHORIZED, b'{"error": "Invalid credentials"}')
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories.setdefault(name, {})
            return self.send_json({"url": f"{self.server.url}/{name}"})
        if self.path == "/api/validate-yaml":
            return self.send_json({"errors": [], "warnings": []})
        if match := BATCH.fullmatch(self.path):
            return self.send_places(json.loads(body)["objects"])
        if match := UPLOAD.fullmatch(self.path):
            act = self.send_modes if match[2] == "preupload" else self.commit
            return act(match[1], body)
        return self.answer(HTTPStatus.NOT_FOUND)

    def allowed(self) -> bool:
        token = self.server.token
        return token is None or self.headers["Authorization"] == f"Bearer {token}"

    def do_PUT(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored[hashlib.sha256(body).hexdigest()] = body
        return self.answer(HTTPStatus.OK)

    def send_modes(self, repository: str, body: bytes) -> None:
        """Says which files are large."""
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return self.send_json({"files": files})

    def send_places(self, objects: list[dict[str, object]]) -> None:
        """Says where to put large files."""
        put = [
            {**o, "actions": {"upload": {"href": f"{self.server.url}/store/{o['oid']}"}}}
            for o in objects
        ]
        return self.send_json({"transfer": "basic", "objects": put})

    def commit(self, repository: str, body: bytes) -> None:
        files = dict(self.server.repositories[repository])
        for line in body.decode().splitlines():
            entry = json.loads(line)
            about = entry["value"]
            if entry["key"] == "file":
                files[about["path"]] = base64.b64decode(about["content"])
            elif entry["key"] == "lfsFile":
                files[about["path"]] = self.server.stored[about["oid"]]
        self.server.repositories[repository] = files
        commit = commit_of(files)
        return self.send_json(
            {"commitUrl": f"{self.server.url}/{repository}/commit/{commit}", "commitOid": commit}
        )

    def send_json(self, content: object) -> None:
        kind = {"Content-Type": "application/json"}
        return self.answer(HTTPStatus.OK, json.dumps(content).encode(), kind)

    def send_file(self, repository: str, revision: str, name: str) -> None:
        if repository in self.server.private and not self.allowed():
            return self.answer(HTTPStatus.UNAUTHORIZED, headers={"X-Error-Code": "GatedRepo"})
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
        self.server.ranges.append(span[0])
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
        if self.command == "HEAD":
            return
        if self.server.cuts and len(body) > 100_000:
            self.server.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
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
