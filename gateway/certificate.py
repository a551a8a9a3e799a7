"""When does the certificate end that clients see? Asked of the edge itself, for it may serve another than the
file that was meant.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime
from typing import Final

ANSWER_S: Final = 5.0
_SEQUENCE: Final = 0x30
_UTC_TIME: Final = 0x17
_EXPLICIT_VERSION: Final = 0xA0


async def end_of(address: str) -> float | None:
    """Of the certificate served at host:port, in seconds since 1970. None: none was seen."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at, not trusted: nothing is sent
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=context, server_hostname=""
            )
    except (OSError, TimeoutError):  # ssl.SSLError is an OSError
        return None
    del reader
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            await writer.wait_closed()
    try:
        return ends(found or b"")
    except ValueError:
        return None


def ends(der: bytes) -> float:
    """`notAfter` of a certificate (RFC 5280, 4.1), in seconds since 1970. Raises ValueError."""
    certificate, _ = _value(der, 0, _SEQUENCE)
    signed, _ = _value(certificate, 0, _SEQUENCE)
    at = 0
    if signed[:1] == bytes([_EXPLICIT_VERSION]):
        at = _value(signed, 0)[1]
    for _ in range(3):  # serial number, algorithm, issuer
        at = _value(signed, at)[1]
    validity, _ = _value(signed, at, _SEQUENCE)
    second = _value(validity, 0)[1]
    said = _value(validity, second)[0].decode("ascii")
    form = "%y%m%d%H%M%SZ" if validity[second] == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(said, form).replace(tzinfo=UTC).timestamp()


def _value(der: bytes, at: int, tag: int | None = None) -> tuple[bytes, int]:
    """What the element at `at` holds, and where the next one begins. Raises ValueError."""
    if at + 2 > len(der) or (tag is not None and der[at] != tag):
        raise ValueError("this is no certificate")
    length, begin = der[at + 1], at + 2
    if length >= 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + count]), begin + count
    if begin + length > len(der):
        raise ValueError("this certificate is cut short")
    return der[begin : begin + length], begin + length
