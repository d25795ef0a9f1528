"""Tyre pressure: how the pressure in a bicycle tyre changes with the temperature."""

KELVIN = 273.15


def pressure_at(bar: float, measured_celsius: float, now_celsius: float) -> float:
    """Return the gauge pressure in bar after a change of temperature at constant volume.

    Gay-Lussac's law holds for absolute pressure, so the air pressure of one bar is added first.

    >>> round(pressure_at(4.0, 20.0, 0.0), 2)
    3.66
    """
    absolute = (bar + 1.0) * (now_celsius + KELVIN) / (measured_celsius + KELVIN)
    return absolute - 1.0


def needs_pumping(bar: float, wanted: float = 4.0, tolerance: float = 0.3) -> bool:
    """Whether a tyre is soft enough to be worth fetching the pump."""
    return bar < wanted - tolerance


if __name__ == "__main__":
    winter = pressure_at(4.0, measured_celsius=20.0, now_celsius=-5.0)
    print(f"pumped to 4.0 bar in the kitchen, {winter:.2f} bar outside, pump again: {needs_pumping(winter)}")
