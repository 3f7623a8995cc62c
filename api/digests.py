"""`Content-Digest` (RFC 9530): what a client says of the body that it sends is held against what has come."""

import base64
import binascii
import re

from api.errors import ApiError

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):")


def announced_sha256(content_digest: str | None) -> str | None:
    """The SHA-256 of the header, in hexadecimal; None where it has none: other algorithms are not looked at.

    >>> announced_sha256("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    found = _SHA256.search(content_digest or "")
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise ApiError(
            400, "bad_request", "Content-Digest has no SHA-256: send 32 bytes in base64, as sha-256=:…: (RFC 9530)."
        )
    return digest.hex()


def require_digest(announced: str | None, received: str) -> None:
    """Refuse a body that is not the one that was announced."""
    if announced is not None and announced != received:
        raise ApiError(
            400,
            "digest_mismatch",
            f"The body that came has the SHA-256 {received}, not the announced {announced}: it was changed on its way. "
            "Nothing was kept; send it again.",
        )
