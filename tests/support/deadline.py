"""Waits for a condition, never for an amount of time."""

import time


def until(what, condition, seconds=20, describe=lambda: "nothing else is known"):
    """Returns the first true value of `condition`, or fails after the deadline; `describe` then tells how far things got."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; {describe()}")
        time.sleep(0.01)
    return value
