"""Pictures in requests: data URLs are decoded, everything that would have to be fetched is refused.

To fetch what a client names would let it reach into the server's own network.
"""

from __future__ import annotations

import base64
import binascii

from ..base.errors import BadField, UnsupportedField


def data_url(url: str, field: str) -> bytes:
    """The file in a ``data:`` URL.

    Raises:
        UnsupportedField: a URL that leads elsewhere.
        BadField: no base64 in it, or none that can be read.
    """
    if not url.startswith("data:"):
        raise UnsupportedField(
            field, "image URLs are not fetched; send the picture itself as a base64 data: URL"
        )
    head, comma, text = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadField(field, f"{field} must be a base64 data: URL")
    return base64_data(text, field)


def base64_data(text: str, field: str) -> bytes:
    """The file in standard base64.

    Raises:
        BadField: it is none, or empty.
    """
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadField(field, f"{field} holds no valid base64") from None
    if not found:
        raise BadField(field, f"{field} is empty")
    return found
