"""Floating-point numbers as Go's fmt writes them."""

from __future__ import annotations

import math

_VERBS = "vgGeEfFbxX"

LARGE_EXPONENT = 6
"""Power of ten from which %v writes an exponent."""


def format_float(value: float, verb: str, precision: int | None = None, full: bool = False) -> str:
    """``value`` by a verb of fmt, "" if the verb is none for numbers.

    Args:
        precision: None for the verb's own: six digits, or as many as tell the value from others.
        full: keep zeros at the end, Go's ``#``.
    """
    if verb not in _VERBS:
        return ""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if verb == "b":
        mantissa, exponent = math.frexp(value)
        return f"{int(mantissa * 2**53)}p{exponent - 53:+d}"
    if verb in "xX":
        text = _hexadecimal(value, precision)
        return text.upper() if verb == "X" else text
    if verb in "vgG" and precision is None:
        text = _filled(_shortest(value)) if full else _shortest(value)
        return text.replace("e", "E" if verb == "G" else "e")
    letter = "g" if verb == "v" else verb
    return f"%{'#' * full}.{6 if precision is None else precision}{letter}" % value


def _shortest(value: float) -> str:
    """The fewest digits that give the value back, with an exponent from a million up."""
    sign, digits, exponent = _decimal(value)
    if value == 0:
        return f"{sign}0"
    if -4 <= exponent < LARGE_EXPONENT:
        if exponent < 0:
            return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
        whole = digits[: exponent + 1].ljust(exponent + 1, "0")
        rest = digits[exponent + 1 :]
        return sign + whole + (f".{rest}" if rest else "")
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _filled(text: str) -> str:
    """``text`` with a point, and zeros up to six digits."""
    mantissa, sign, exponent = text.partition("e")
    digits = mantissa.lstrip("-").replace(".", "")
    missing = 6 - len(digits.lstrip("0") or "0")
    point = "" if "." in mantissa else "."
    return mantissa + point + "0" * missing + sign + exponent


def _decimal(value: float) -> tuple[str, str, int]:
    """Sign, significant digits and the power of ten of the first of them."""
    mantissa, _, power = f"{value!r}e0".partition("e")
    power = power.removesuffix("e0")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, rest = mantissa.lstrip("-").partition(".")
    digits = (whole + rest).lstrip("0")
    leading = len(whole + rest) - len(digits)
    return sign, digits.rstrip("0"), int(power or 0) + len(whole) - 1 - leading


def _hexadecimal(value: float, precision: int | None) -> str:
    sign = "-" if math.copysign(1, value) < 0 else ""
    mantissa, exponent = math.frexp(abs(value))
    if value == 0:
        whole, power = 0, 0
    else:
        whole, power = int(mantissa * 2**53), exponent - 1  # 1.xxx in 52 bits after the point
    if precision is not None and precision < 13:
        step = 1 << (52 - 4 * precision)
        half, rest = step >> 1, whole % step
        whole -= rest
        if rest > half or (rest == half and (whole // step) % 2):
            whole += step
        if whole >= 1 << 53:
            whole, power = whole >> 1, power + 1
    digits = f"{whole % (1 << 52):013x}"
    digits = digits.rstrip("0") if precision is None else digits[:precision].ljust(precision, "0")
    point = f".{digits}" if digits else ""
    return f"{sign}0x{whole >> 52}{point}p{'-' if power < 0 else '+'}{abs(power):02d}"
