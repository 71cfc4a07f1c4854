"""Captures and twins in a bucket, put there and read past the program, for tests of what fetches and sends them."""

from __future__ import annotations

from pathlib import Path

from tests.core.s3_server import S3Server


class Bucket:
    """The bucket `results` of a server, by keys from its root."""

    def __init__(self, server: S3Server) -> None:
        from obstore.store import from_url

        self._store = from_url(
            "s3://results",
            endpoint=server.address,
            access_key_id="key",
            secret_access_key="secret",
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def upload(self, folder: Path, key: str, ready: bool = True) -> None:
        """A capture as a user uploads it: READY last."""
        import obstore

        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "READY"):
            obstore.put(self._store, f"{key}/{path.relative_to(folder).as_posix()}", path)
        if ready:
            self.put(f"{key}/READY", b"")

    def put(self, key: str, data: bytes) -> None:
        """One object."""
        import obstore

        obstore.put(self._store, key, data)

    def delete(self, *keys: str) -> None:
        """These objects."""
        import obstore

        obstore.delete(self._store, list(keys))

    def files(self, prefix: str) -> dict[str, bytes]:
        """What lies below a folder, by name."""
        import obstore

        keys = [e["path"] for chunk in obstore.list(self._store, prefix) for e in chunk]
        return {k.removeprefix(f"{prefix}/"): bytes(obstore.get(self._store, k).bytes()) for k in keys}

    def names(self, prefix: str) -> list[str]:
        """The same without their content."""
        import obstore

        return [e["path"].removeprefix(f"{prefix}/") for chunk in obstore.list(self._store, prefix) for e in chunk]


def tree(folder: Path) -> dict[str, bytes]:
    """Files of a folder of this machine, by name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
