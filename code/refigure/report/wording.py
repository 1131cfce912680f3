"""Numbers as a person reads them: values with errors, thresholds, durations, counts."""

from __future__ import annotations

import math
from collections.abc import Sequence


def estimate(value: float | None, se: float | None) -> str:
    """A value with its standard error, two digits of the error: `0.512 ± 0.013`.

    Without an error four digits are kept. A value that could not be had is `no value`.
    """
    if value is None:
        return "no value"
    if not se:
        return plain(value) if se is None else f"{plain(value)} ± 0"
    largest = max(abs(value), se)
    power = 0 if 1e-3 <= largest < 1e5 else math.floor(math.log10(largest))
    digits = max(1 - math.floor(math.log10(se)) + power, 0)
    if digits > 6:
        return f"{plain(value)} ± {plain(se, 2)}"
    both = f"{value / 10.0**power:.{digits}f} ± {se / 10.0**power:.{digits}f}"
    both = both.replace("-", "−")
    return f"({both}) × 10{_raised(power)}" if power else both


def threshold(bound: float | Sequence[float]) -> str:
    """A bound, or the two ends of a range."""
    if isinstance(bound, Sequence):
        low, high = bound
        return f"{plain(low)} to {plain(high)}"
    return plain(bound)


def plain(value: float, digits: int = 4) -> str:
    """A number to some significant digits, zeros at the end left out: `0.5`, `1.2 × 10⁻⁵`."""
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    small = -4 < power < 5
    scaled = value if small else value / 10.0**power
    places = max(digits - 1 - (power if small else 0), 0)
    text = f"{scaled:.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = text.replace("-", "−")
    if small:
        return text
    return f"10{_raised(power)}" if text == "1" else f"{text} × 10{_raised(power)}"


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def on_cpu(device: str) -> bool:
    """Whether a job's device is a CPU: those are called `x86_64 linux`, GPUs by their names."""
    return device.endswith(("linux", "darwin", "win32"))


def worked(device: str, seconds: float) -> str:
    """What a device did: `42 core-seconds on x86_64 linux`, `3.4 GPU-hours on NVIDIA H100`.

    A job on a CPU is one thread, so its seconds are those of one core.
    """
    unit = "core" if on_cpu(device) else "GPU"
    if seconds < 600:
        return f"{seconds:.0f} {unit}-seconds on {device}"
    hours = seconds / 3600
    return f"{thousands(hours, 1 if hours < 100 else 0)} {unit}-hours on {device}"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun and thin spaces between thousands: `1 run`, `12 400 runs`."""
    return f"{thousands(number)} {one if number == 1 else (many or f'{one}s')}"


def thousands(number: float, places: int = 0) -> str:
    """A number with thin spaces between thousands: `12 400`."""
    return f"{number:,.{places}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
