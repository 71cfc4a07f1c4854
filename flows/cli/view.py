"""`twin view`: a twin, or a run while it goes on, in a browser, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time

from flows.ui.viewed import look_at
from stages.core.backends import check_libraries
from stages.core.store import Store

HOST = "127.0.0.1"
"""viser knows no password, so nobody else is let in; from elsewhere: ssh -L"""
LOOK_EVERY_S = 2.0


def view(args: argparse.Namespace) -> int:
    """Serve the scene and print its address. Raises StoreError, MachineError without viser."""
    look = look_at(args.which, Store())
    check_libraries(["viser"], "twin view")
    import viser

    from flows.ui.viewing import Viewing

    with contextlib.redirect_stdout(io.StringIO()):  # its banner: the address alone is printed below
        server = viser.ViserServer(host=HOST, port=args.port, label="stereotwin", verbose=False)
    viewing, port = Viewing(server, look), server.get_port()
    viewing.look()
    print(f"http://{HOST}:{port}", flush=True)
    print(
        f"From another machine: ssh -L {port}:{HOST}:{port} THIS-MACHINE, then the same address there. Ctrl-C ends this.",
        file=sys.stderr,
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(LOOK_EVERY_S)
            viewing.look()
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()
    return 0
