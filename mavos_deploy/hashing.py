"""SHA-256 of files, as manifests record it."""

import hashlib
from pathlib import Path

CHUNK = 1 << 20  # bytes


def file_sha256(path: Path) -> str:
    """Digest of a file in lower-case hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
