"""The secret seed from which all cases of one grading are drawn."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from dojo.core.errors import UserError

MIN_SECRET_BYTES = 8


@dataclass(frozen=True)
class Seed:
    """A secret of any bytes. The numbers drawn from it reveal nothing about it."""

    secret: bytes = field(repr=False)

    @property
    def commitment(self) -> str:
        """A digest of the secret for the report. It proves later that the seed was not chosen after the grading."""
        return hashlib.sha256(b"kata-grade seed\0" + self.secret).hexdigest()

    def number(self, *purpose: str) -> int:
        """A number in [0, 2^63), the same for the same purpose."""
        digest = hmac.digest(self.secret, "\0".join(purpose).encode(), "sha256")
        return int.from_bytes(digest[:8], "big") >> 1


def choose(number: int | None, file: Path | None) -> Seed:
    """The seed of `--seed-file` or `--seed`, or a fresh one. Raises UserError for a file that holds no secret."""
    if file is not None:
        try:
            secret = file.read_bytes().strip()
        except OSError as error:
            raise UserError(
                f"The seed file {file} cannot be read: {error.strerror}. Write it with `openssl rand -hex 32 > {file}`."
            ) from error
        if len(secret) < MIN_SECRET_BYTES:
            raise UserError(
                f"The seed file {file} holds fewer than {MIN_SECRET_BYTES} bytes; write it with `openssl rand -hex 32 > {file}`."
            )
        return Seed(secret)
    return Seed(secrets.token_bytes(32) if number is None else str(number).encode())
