"""Waiting in tests: until something is so, or until a deadline. Nothing sleeps for a fixed time."""
import time

DEFAULT = 15.0
STEP = 0.02


class Late(AssertionError):
    """What was waited for did not come."""


def wait_until(what, condition, limit=DEFAULT, step=STEP):
    """The first true value of condition(). `what` names it in the error; it may be a function of no arguments."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Late("not within %g s: %s" % (limit, what() if callable(what) else what))
        time.sleep(step)
