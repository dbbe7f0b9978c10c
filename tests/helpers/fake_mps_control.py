"""Stands in for nvidia-cuda-mps-control where there is no GPU: the same commands and files.

Copied into a folder of PATH under that name. What it is asked is written to control.asked in the
log folder. FAKE_MPS=refuse makes it refuse to start, FAKE_MPS=mute start nothing that answers,
FAKE_MPS=stubborn ignore that it should quit.
"""

import os
import signal
import socket
import sys
from pathlib import Path

PIPE_DIR = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
LOG_DIR = Path(os.environ["CUDA_MPS_LOG_DIRECTORY"])
KIND = os.environ.get("FAKE_MPS", "")


def daemon() -> None:
    control = socket.socket(socket.AF_UNIX)
    control.bind(str(PIPE_DIR / "control"))
    control.listen()
    if os.fork() != 0:
        return
    os.setsid()
    (PIPE_DIR / "nvidia-cuda-mps-control.pid").write_text(str(os.getpid()))
    while True:
        connection, _ = control.accept()
        with connection:
            question = connection.recv(1000).decode().strip()
            with (LOG_DIR / "control.asked").open("a") as asked:
                asked.write(question + "\n")
            connection.sendall(answer(question).encode() + b"\n")
        if question == "quit" and KIND != "stubborn":
            os.kill(os.getpid(), signal.SIGTERM)


def answer(question: str) -> str:
    """One server, the daemon itself, and every tenant is its client."""
    match question.split():
        case ["get_server_list"]:
            return str(os.getpid())
        case ["get_client_list", _]:
            return (LOG_DIR / "clients").read_text() if (LOG_DIR / "clients").exists() else ""
    return ""


def ask(question: str) -> int:
    control = socket.socket(socket.AF_UNIX)
    try:
        control.connect(str(PIPE_DIR / "control"))
    except OSError as error:
        print(f"Cannot find MPS control daemon process: {error}", file=sys.stderr)
        return 1
    control.sendall(question.encode())
    print(control.recv(1000).decode().strip())
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["-d"]:
        if KIND == "refuse":
            print("Failed to start: the GPU is busy", file=sys.stderr)
            sys.exit(1)
        if KIND != "mute":
            daemon()
        sys.exit(0)
    sys.exit(ask(sys.stdin.readline()))
