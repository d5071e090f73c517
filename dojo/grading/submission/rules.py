"""What a kata may import and call. Data only, for the policy's child process and for people.

This is a hint for honest learners, not a security boundary: a cheat can write the same thing in ways that no list of
names covers, and then the sandbox holds. So everything that an honest answer might use is allowed, including files,
threads and pickles.
"""

import sys

LIBRARIES = {"torch", "numpy", "scipy", "jaxtyping", "typing_extensions"}
ALLOWED_MODULES = "A kata may import torch, numpy, scipy, jaxtyping and the standard library"

ALONE = "each kata is graded alone: copy what it needs into this file"
ANSWERS = "it holds the answers"
TESTS = "the tests and the trainer are not part of an answer; in a file of your own they are welcome"
NETWORK = "there is no network where katas are graded"
PROGRAMS = "an answer starts no other programs"
LOADERS = "an answer loads no code from elsewhere; write it into the file"
NATIVE = "an answer is written in Python and torch"
INTERPRETER = "an answer leaves the interpreter as it is"
SCREEN = "there is no screen where katas are graded"
PLOTS = f'{SCREEN}; remove it, or import it under `if __name__ == "__main__":`'
READY_MADE = "the rules of this repository ask for your own implementation"

# Refused modules and the reason. A name covers the modules below it; the longest name that fits decides.
REFUSED = {
    name: reason
    for reason, names in {
        ANSWERS: "solutions",
        TESTS: "dojo tests test conftest pytest _pytest",
        ALONE: "katas",
        READY_MADE: "sklearn torchmetrics transformers diffusers peft loralib accelerate torchvision",
        NETWORK: "socket ssl select selectors http urllib ftplib smtplib poplib imaplib nntplib telnetlib socketserver "
        "xmlrpc wsgiref cgi webbrowser requests torch.hub torch.utils.model_zoo torch.distributed.rpc",
        PROGRAMS: "subprocess multiprocessing pty signal concurrent.futures.process torch.multiprocessing "
        "torch.distributed.run torch.distributed.launch torch.distributed.launcher torch.distributed.elastic",
        LOADERS: "importlib imp runpy pkgutil zipimport site code codeop venv ensurepip pip distutils torch.package",
        NATIVE: "ctypes cffi numpy.ctypeslib numpy.f2py numpy.distutils torch.utils.cpp_extension torch._inductor "
        "scipy.LowLevelCallable",
        INTERPRETER: "atexit faulthandler bdb trace torch.testing._internal",
        SCREEN: "tkinter turtle turtledemo idlelib curses",
        PLOTS: "matplotlib",
    }.items()
    for name in names.split()
}

# Refused members of allowed modules. `sys.modules[__name__]` is allowed (names.py).
REFUSED_CALLS = {
    name: reason
    for reason, names in {
        PROGRAMS: "os.system os.popen os.fork os.forkpty os.posix_spawn os.posix_spawnp os.kill os.killpg os.abort os._exit "
        "os.execl os.execle os.execlp os.execlpe os.execv os.execve os.execvp os.execvpe os.spawnl os.spawnle os.spawnlp "
        "os.spawnlpe os.spawnv os.spawnve os.spawnvp os.spawnvpe os.startfile asyncio.create_subprocess_exec "
        "asyncio.create_subprocess_shell concurrent.futures.ProcessPoolExecutor",
        INTERPRETER: "sys._getframe sys._current_frames sys.modules sys.settrace sys.setprofile sys.meta_path "
        "sys.path_hooks sys.addaudithook threading.settrace threading.setprofile gc.get_objects "
        "gc.get_referrers inspect.currentframe inspect.stack inspect.trace inspect.getouterframes torch.os torch.sys "
        "torch.library.Library torch.library.impl",
        LOADERS: "builtins.eval builtins.exec builtins.compile builtins.__import__ torch.importlib",
    }.items()
    for name in names.split()
}

# Refused built-in names, unless the file binds the name itself.
REFUSED_NAMES = {
    "eval": "write the expression itself",
    "exec": "write the code itself",
    "compile": "write the code itself (re.compile and torch.compile are others)",
    "__import__": "use an import statement",
    "__builtins__": INTERPRETER,
    "__loader__": LOADERS,
    "__spec__": LOADERS,
}
REFUSED_ATTRIBUTES = {
    *("__globals__", "__builtins__", "__subclasses__", "__loader__", "__spec__", "__import__"),
    *("f_back", "f_globals", "f_locals", "f_builtins", "tb_frame", "gi_frame", "cr_frame", "ag_frame"),
}

# Calls that get advice and are not refused.
ADVICE_CALLS = {
    "input": "waits for a keyboard that the grader does not have",
    "breakpoint": "waits for a keyboard that the grader does not have",
    "pdb.set_trace": "waits for a keyboard that the grader does not have",
    "exit": "ends the program, and with it the grading of this kata",
    "quit": "ends the program, and with it the grading of this kata",
    "sys.exit": "ends the program, and with it the grading of this kata",
    "torch.compile": "needs a compiler, which the grader's worker does not have; leave the function as it is",
}


def why_not(module: str, neighbours: set[str]) -> str:
    """Why a kata may not import `module`; empty if it may."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if reason := REFUSED.get(".".join(parts[:length])):
            return reason
    first = parts[0]
    if first in LIBRARIES or (
        first in sys.stdlib_module_names and (not first.startswith("_") or first == "__future__")
    ):
        return ""
    if first in neighbours:
        return ALONE
    if first in sys.stdlib_module_names:
        return "it is an inner part of Python"
    return "it is not among what is installed for grading"
