"""A hostile submission for the sandbox's self-test: tries what a sandbox must refuse. It is no kata.

It does no damage even where everything succeeds. Each attempt gets a case with the paths and the process to try:
`outside` (a folder with a file "secret"), `references` (the folder solutions/) and `grader` (a pid).
"""

import os
from typing import Any


def attempt(case: Any) -> str:
    """Makes the attempt `case.attempt`: "done", or how it was refused."""
    try:
        done = ATTEMPTS[case.attempt](case)
        return "refused" if done is False else "done"
    except Exception as error:
        return f"refused ({type(error).__name__})"


def _read_file(case: Any) -> None:
    with open(os.path.join(case.outside, "secret")) as file:
        file.read()


def _list_references(case: Any) -> None:
    os.listdir(case.references)


def _write_file(case: Any) -> None:
    with open(os.path.join(case.outside, "planted"), "w") as file:
        file.write("here")


def _change_mode(case: Any) -> bool:
    file = os.path.join(case.outside, "secret")
    os.chmod(file, 0o640)
    return os.stat(file).st_mode & 0o777 == 0o640


def _read_command_line(case: Any) -> bool:
    with open(f"/proc/{case.grader}/cmdline", "rb") as file:
        return bool(file.read())


def _send_signal(case: Any) -> None:
    os.kill(case.grader, 0)


def _read_limits(case: Any) -> None:
    import resource

    resource.prlimit(case.grader, resource.RLIMIT_CORE)


def _fork(case: Any) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _start_program(case: Any) -> None:
    import subprocess

    subprocess.run(["/bin/true"], check=True)


def _connect_tcp(case: Any) -> None:
    import socket

    with socket.socket() as client, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


def _send_udp(case: Any) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"", ("127.0.0.1", 9))


def _is_same_user(case: Any) -> bool:
    return os.stat(case.outside).st_uid == os.getuid()


def _is_in_same_tree(case: Any) -> bool:
    return os.getppid() != 0 and os.getpid() > 50  # a tree of its own begins at 1


ATTEMPTS = {
    "read a file outside": _read_file,
    "read the references": _list_references,
    "write a file outside": _write_file,
    "change a file's mode outside": _change_mode,
    "read the grader's command line": _read_command_line,
    "signal the grader": _send_signal,
    "read the grader's limits": _read_limits,
    "start a process": _fork,
    "start a program": _start_program,
    "open a TCP connection": _connect_tcp,
    "send a UDP packet": _send_udp,
    "run as the grader's user": _is_same_user,
    "live in the grader's process tree": _is_in_same_tree,
}
