"""Nothing is told to anybody: connections of the commands are counted beneath Python, too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gatedpose

# Notes what a process asks of the net, libraries written in C included.
COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static void note(const char *what, const char *whom) {
    char line[300];
    int n = snprintf(line, sizeof line, "%s %.200s\n", what, whom ? whom : "");
    int file = open(getenv("CONNECTIONS"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file >= 0) { if (write(file, line, n) < 0) {} close(file); }
}
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && strcmp(node, "127.0.0.1") && strcmp(node, "localhost")) note("look up", node);
    return real(node, service, hints, found);
}
int connect(int socket, const struct sockaddr *address, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    if (address->sa_family == AF_INET || address->sa_family == AF_INET6) {
        char host[200] = "";
        getnameinfo(address, length, host, sizeof host, 0, 0, NI_NUMERICHOST);
        if (strcmp(host, "127.0.0.1") && strcmp(host, "::1")) note("connect", host);
    }
    return real(socket, address, length);
}
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if not (compiler and sys.platform == "linux"):
        pytest.skip("needs a C compiler on Linux")
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.c").write_text(COUNTER)
    library = folder / "counter.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, folder / "counter.c", "-ldl"], check=True
    )
    return library


def connections(code: str, counter: Path, folder: Path) -> list[str]:
    """What a program asks of the net."""
    log, home = folder / "connections", folder / "home"
    home.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")},
        "LD_PRELOAD": str(counter), "CONNECTIONS": str(log), "HOME": str(home),
        "PYTHONPATH": str(Path(gatedpose.__file__).parents[1]),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return log.read_text().splitlines() if log.exists() else []


def call(*arguments: object) -> str:
    """Python that runs a command."""
    return f"from gatedpose.cli import main; main({[str(a) for a in arguments]!r})"


def test_the_counter_counts(counter: Path, tmp_path: Path) -> None:
    code = "import socket\ntry: socket.getaddrinfo('nowhere.invalid', 1)\nexcept OSError: pass"
    assert connections(code, counter, tmp_path) == ["look up nowhere.invalid"]


@pytest.mark.slow
def test_predict_train_export_and_the_page_ask_nobody(
    counter: Path, people: Path, tmp_path: Path
) -> None:
    phase = ("--phase", "64,8,4,1.0", "--recipe", "finetune", "--set", "init=null")
    page = (
        "from gatedpose.demo.page import build_page\n"
        "from gatedpose.demo.viewer import PoseFinder\n"
        "page = build_page(PoseFinder('gated_hg_1s_68.lsp'))\n"
        "page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False); page.close()\n"
    )
    for code in (
        call("predict", people / "images", "--out", "poses"),
        call("train", "gated_hg_1s_68", "--data", f"own={people}", "--out", "run", *phase),
        call("export", "gated_hg_1s_68.lsp", "--size", "64x64", "--out", "a.onnx"),
        call("export", "gated_hg_1s_68.lsp", "--size", "64x64", "--format", "openvino"),
        call("predict", people / "images", "--out", "o", "--whole", "--engine", "openvino"),
        call("predict", people / "images", "--out", "x", "--whole", "--engine", "onnxruntime"),
        page,
    ):
        assert connections(code, counter, tmp_path) == [], code
    assert (tmp_path / "a.onnx").exists()
    assert (tmp_path / "gated_hg_1s_68.lsp.xml").exists()
    assert (tmp_path / "run" / "model").exists()
    kept = [path.name.lower() for path in (tmp_path / "home").rglob("*")]
    assert not [name for name in kept if "device" in name or "intel" in name or name == "stats"]


def test_openvino_comes_without_its_reporter() -> None:
    code = (
        "from gatedpose.engines.runtimes import openvino; openvino(); import sys\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.Telemetry.__module__)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("openvino.tools.ovc.telemetry_stub")
