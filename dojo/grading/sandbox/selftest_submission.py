"""The canary: a submission that tries what a hostile one would, and tells what came of it. It harms nothing if let.

The grader runs it first, in the same cage, and reports the level that it was held to. Not a kata.
"""

import os


def attempt(name: str, outside: str, parent: int) -> str:
    """ "done", or the class of the exception that refused it."""
    try:
        result = ATTEMPTS[name](outside, parent)
        return "refused" if result is False else "done"
    except Exception as error:
        return f"refused ({type(error).__name__})"


def _read(outside: str, parent: int) -> None:
    with open(os.path.join(outside, "secret")) as file:
        file.read()


def _write(outside: str, parent: int) -> None:
    with open(os.path.join(outside, "planted"), "w") as file:
        file.write("here")


def _mode(outside: str, parent: int) -> bool:
    file = os.path.join(outside, "secret")
    os.chmod(file, 0o640)
    return os.stat(file).st_mode & 0o777 == 0o640


def _parent_file(outside: str, parent: int) -> bool:
    with open(f"/proc/{parent}/cmdline", "rb") as file:
        return bool(file.read())


def _signal(outside: str, parent: int) -> None:
    os.kill(parent, 0)


def _limit(outside: str, parent: int) -> None:
    import resource

    resource.prlimit(parent, resource.RLIMIT_CORE)


def _fork(outside: str, parent: int) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _program(outside: str, parent: int) -> None:
    import subprocess

    subprocess.run(["/bin/true"], check=True)


def _tcp(outside: str, parent: int) -> None:
    import socket

    with socket.socket() as s, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        s.connect(server.getsockname())


def _udp(outside: str, parent: int) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"", ("127.0.0.1", 9))


def _same_user(outside: str, parent: int) -> bool:
    return os.stat(outside).st_uid == os.getuid()


def _sees_others(outside: str, parent: int) -> bool:
    return os.getppid() != 0 and os.getpid() > 50  # a tree of one's own begins at 1


ATTEMPTS = {
    "read a file outside": _read,
    "write a file outside": _write,
    "change a file's mode outside": _mode,
    "read the grader's command line": _parent_file,
    "signal the grader": _signal,
    "read the grader's limits": _limit,
    "start a process": _fork,
    "start a program": _program,
    "open a TCP connection": _tcp,
    "send a UDP packet": _udp,
    "run as the grader's user": _same_user,
    "live in the grader's process tree": _sees_others,
}
