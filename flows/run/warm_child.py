"""The warm process of a run: `python -m flows.run.warm_child FD`. It has the heavy imports done and forks one stage child for each job.

The socket FD speaks in packets: `job` with three descriptors (stdin, stdout, messages) comes in, `pid N` and later `exit CODE` go out, and
`reap` lets go of a child that has ended: until then its process id cannot become another's. It ends with the socket.

A fork copies memory and one thread, so nothing that starts threads is imported here (OpenBLAS, which would, is told to wait), and where
there is a second thread all the same it says `refused`. No GPU is touched: torch is imported by the child that needs it. Between two
imports it looks for a job, so that the first stage does not wait for all of them.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import socket
import sys
from collections import deque
from pathlib import Path

WARMED = ("numpy", "cv2", "scipy.spatial", "scipy.ndimage", "scipy.sparse.linalg", "scipy.optimize", "numba", "trimesh")
"""libraries that several stages import; each was seen to start no thread. Not pyarrow, which does"""
STAGES, KERNELS = "stages", "kernels"
"""what is done after those imports: all stages imported, numba made ready"""
DESCRIPTORS = 3


def main() -> int:
    """Serve until the run is gone; in a forked child: run its stage."""
    from flows.run import stage_child

    stage_child.die_with_parent(int(sys.argv[2]))
    control, warm = socket.socket(fileno=int(sys.argv[1])), os.getpid()
    messages = _serve(control)
    if messages is None:
        return 0
    stage_child.die_with_parent(warm)
    return stage_child.main(messages)


def _serve(control: socket.socket) -> int | None:
    """None once the run is gone; in a forked child the descriptor for its messages."""
    waiting = deque((*WARMED, STAGES, KERNELS) if "TWIN_STAGES" not in os.environ else (STAGES,))
    child: int | None = None
    while True:
        watched = [control.fileno()] + ([child] if child is not None else [])
        ready = select.select(watched, [], [], 0 if waiting else None)[0]
        if child is not None and child in ready:
            control.send(f"exit {_exit_code(child)}".encode())
            os.close(child)
            child = None
        if control.fileno() in ready:
            word, handles, _, _ = socket.recv_fds(control, 64, DESCRIPTORS)
            if not word:
                return None
            if word == b"reap":
                with contextlib.suppress(ChildProcessError):
                    os.wait()
                continue
            pid = _forked(control)
            if pid == 0:
                return _become(control, handles)
            for handle in handles:
                os.close(handle)
            child = os.pidfd_open(pid) if pid else child
        elif waiting:
            _warm(waiting.popleft())


def _warm(what: str) -> None:
    """Import one library or all stages, or make numba ready."""
    if what == STAGES:
        from flows.run.stage_child import load_stages

        load_stages()
        return
    with contextlib.suppress(ImportError):  # the stage that needs it says so
        if what == KERNELS:
            _make_kernels_ready()
        else:
            importlib.import_module(what)


def _make_kernels_ready() -> None:
    """What numba does before the first kernel of a process, cached or not: 0.8 core seconds in each stage that has one."""
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def _forked(control: socket.socket) -> int | None:
    """0 in the child, its process id here, None if no fork was possible, which the run is told."""
    if (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        control.send(f"refused {threads} threads".encode())
        return None
    try:
        pid = os.fork()
    except OSError as e:
        control.send(f"refused {e.strerror}".encode())
        return None
    return pid


def _exit_code(child: int) -> int:
    """As subprocess has it, negative for a signal; the child stays a zombie."""
    ended = os.waitid(os.P_PIDFD, child, os.WEXITED | os.WNOWAIT)
    return (
        ended.si_status if ended is not None and ended.si_code == os.CLD_EXITED else -(ended.si_status if ended else 9)
    )


def _become(control: socket.socket, handles: list[int]) -> int:
    """A session of its own, and the run's pipes in place of the warm process's."""
    os.setsid()  # before the run hears of it, which ends the whole group
    control.send(f"pid {os.getpid()}".encode())
    control.close()
    given, printed, messages = handles
    os.dup2(given, 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(given)
    os.close(printed)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w"), os.fdopen(2, "w")
    return messages


if __name__ == "__main__":
    sys.exit(main())
