"""A real S3 server on a free port: moto's, which keeps buckets in its memory. For tests of the store's bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.flows.served import free_port


class S3Server:
    """Started and answering; `stop` it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program that uses it finds in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "TWIN_STORE_S3": "s3://results/of/ours",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def start(self) -> None:
        """Empty but for the bucket `results`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": ""},
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self._ask("PUT", "/results")
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """From then on nobody listens there."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Inside, it takes connections and does nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def put(self, key: str, data: bytes) -> None:
        """An object below the folder of `environment`, put past the store."""
        import obstore
        from obstore.store import from_url

        obstore.put(
            from_url(
                "s3://results/of/ours",
                endpoint=self.address,
                access_key_id="key",
                secret_access_key="secret",
                region="us-east-1",
                client_options={"allow_http": True},
            ),
            key,
            data,
        )

    def empty(self) -> None:
        """As it was when it started."""
        self.drop_bucket()
        self._ask("PUT", "/results")

    def drop_bucket(self) -> None:
        """With all in it."""
        self._ask("POST", "/moto-api/reset")

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Inside, it asks for keys that it knows, and there are none."""
        self._ask("POST", "/moto-api/reset-auth", b"0")
        yield
        self._ask("POST", "/moto-api/reset-auth", b"inf")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        asked = urllib.request.Request(self.address + path, body, {"Content-Type": "text/plain"}, method=method)
        with opener.open(asked, timeout=5):
            pass
