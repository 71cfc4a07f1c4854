"""Bytes damaged at random, as a broken disk, a careless editor or a malicious sender would."""

from __future__ import annotations

import random

NUMBERS = (
    b"0",
    b"-1",
    b"1e6",
    b"-1e6",
    b"1e999",
    b"-1e999",
    b"NaN",
    b".nan",
    b".Inf",
    b"null",
    b"true",
    b'"x"',
    b"[]",
    b"{}",
    b"65536",
    b"1e-300",
    b"9" * 500,
    b"1e38",
    b"[[[1]]]",
    b"0x10",
    b"2147483648",
    b"-0",
)
TOKENS = (
    b"[",
    b"]",
    b"{",
    b"}",
    b"<",
    b">",
    b"</",
    b"&a ",
    b"*a",
    b"!!opencv-matrix",
    b"!!python/name:os",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\t",
    b": ",
    b",",
    b"- ",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"&b;",
    b"%YAML:1.0\n---\n",
    b"${oc.env:HOME}",
    b"[" * 20_000,
    b"<a>" * 20_000,
    b'{"a":' * 20_000,
    b"- " * 5_000,
)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """One to four changes: bytes flipped, cut, doubled; numbers replaced; words inserted; or cut short."""
    out, mild = bytearray(data), rng.random() < 0.5
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(out) + 1), 0.6 if mild else rng.random()
        if kind < 0.3 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind < 0.5:
            out[at : at + rng.choice((0, 1, 4))] = rng.choice(TOKENS)
        elif kind < 0.8:
            _replace_number(rng, out)
        elif kind < 0.9:
            out[at:at] = out[at : at + rng.randrange(1, 200)]
        else:
            del out[at : at + rng.randrange(1, 200)]
    return bytes(out[: rng.randrange(len(out) + 1)] if rng.random() < 0.1 else out)


def _replace_number(rng: random.Random, out: bytearray) -> None:
    digits = [i for i, c in enumerate(out[:20_000]) if 48 <= c < 58]
    if digits:
        start = end = rng.choice(digits)
        while end < len(out) and out[end] in b"0123456789.e-+":
            end += 1
        out[start:end] = rng.choice(NUMBERS)


def damaged_header(rng: random.Random, data: bytes) -> bytes:
    """As `damaged`, but mostly in the first bytes, where sizes stand."""
    if rng.random() < 0.4:
        return damaged(rng, data)
    out = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        out[min(int(rng.expovariate(1 / 60)), len(out) - 1)] = rng.choice((0, 0x7F, 0xFF, rng.randrange(256)))
    return bytes(out)
