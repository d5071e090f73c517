"""The secret from which all cases of one grading come."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from dojo.core.errors import UserError


@dataclass(frozen=True)
class Seed:
    """Any bytes. Nothing about them can be learned from the numbers drawn from them."""

    secret: bytes = field(repr=False)

    @property
    def commitment(self) -> str:
        """Goes into the report: shows afterwards that the seed was not chosen to fit."""
        return hashlib.sha256(b"kata-grade seed\0" + self.secret).hexdigest()

    def number(self, *what: str) -> int:
        """A number in [0, 2^63) for one use."""
        digest = hmac.digest(self.secret, "\0".join(what).encode(), "sha256")
        return int.from_bytes(digest[:8], "big") >> 1


def choose(number: int | None, file: Path | None) -> Seed:
    """From `--seed`, from `--seed-file`, or fresh."""
    if file is not None:
        try:
            secret = file.read_bytes().strip()
        except OSError as error:
            raise UserError(
                f"The seed file {file} cannot be read: {error.strerror}. Write it with `openssl rand -hex 32 > {file}`."
            ) from error
        if len(secret) < 8:
            raise UserError(
                f"The seed file {file} holds fewer than 8 bytes; write it with `openssl rand -hex 32 > {file}`."
            )
        return Seed(secret)
    return Seed(secrets.token_bytes(32) if number is None else str(number).encode())
