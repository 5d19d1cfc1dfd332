"""SHA-256 of files, as manifests record it."""

import hashlib
from pathlib import Path

from mavos_deploy.reading import open_regular

CHUNK = 1 << 20  # bytes


def file_sha256(path: Path) -> str:
    """Digest of a regular file in lower-case hex digits; an OSError for anything else."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
