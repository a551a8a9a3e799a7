"""What tells a number from one that only looks like it: check digits, lengths, ranges. Pure.

Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN, mod 97-10), each country's own rule, named at its function.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from typing import Final

IBAN_CHARS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Country -> characters of its IBANs (SWIFT's registry)."""
_DNI: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_CHINA_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def card(digits: str) -> bool:
    """A payment card's number: an issuer's first digits, a length it uses, Luhn."""
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    return len(digits) in _card_lengths(int(digits[:2]), int(digits[:4])) and luhn(digits)


def _card_lengths(two: int, four: int) -> Container[int]:
    if two in {34, 37}:  # American Express
        return {15}
    if two in {36, 38, 39} or 3000 <= four <= 3059:  # Diners
        return range(14, 20)
    if two // 10 == 4:  # Visa
        return {13, 16, 19}
    if 51 <= two <= 55 or 2221 <= four <= 2720:  # Mastercard
        return {16}
    if two // 10 == 6 or 3528 <= four <= 3589:  # Discover, UnionPay, JCB
        return range(16, 20)
    return range(13, 20) if two == 50 or 56 <= two <= 58 else ()  # Maestro


def iban(text: str) -> bool:
    """Without separators, in capitals."""
    if len(text) != IBAN_CHARS.get(text[:2]):
        return False
    moved = text[4:] + text[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def ssn(digits: str) -> bool:
    """United States: areas 000, 666 and 9xx, group 00 and serial 0000 are never given out."""
    return (
        digits[:3] not in {"000", "666"} and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"
    )


def dni(text: str) -> bool:
    """Spain: the letter is the number modulo 23; X, Y, Z of foreigners count as 0, 1, 2."""
    number = text[:-1]
    if number[0] in "XYZ":
        number = str("XYZ".index(number[0])) + number[1:]
    return text[-1] == _DNI[int(number) % 23]


def nir(digits: str) -> bool:
    """France: the last two are 97 minus the rest modulo 97."""
    return len(digits) == 15 and 97 - int(digits[:13]) % 97 == int(digits[13:])


def cpf(digits: str) -> bool:
    """Brazil: two check digits, modulo 11."""
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    for count in (9, 10):
        total = sum(int(digit) * (count + 1 - place) for place, digit in enumerate(digits[:count]))
        if int(digits[count]) != total * 10 % 11 % 10:
            return False
    return True


def china(text: str) -> bool:
    """ISO 7064 mod 11-2 over 17 digits."""
    total = sum(int(digit) * weight for digit, weight in zip(text[:17], _CHINA_WEIGHTS, strict=True))
    return text[17].upper() == "10X98765432"[total % 11]


def swedish(digits: str) -> bool:
    """Sweden: month and day of birth, Luhn over ten digits."""
    return 1 <= int(digits[2:4]) <= 12 and 1 <= int(digits[4:6]) % 60 <= 31 and luhn(digits)


def address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def secret(value: str) -> bool:
    """What follows `password=` or `token:`: a value that nobody would take for prose or a count."""
    return any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
