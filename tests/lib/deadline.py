"""Waiting in tests: until something is so, or until a deadline. Nothing sleeps for a fixed time.

A deadline is for what never comes. It says nothing about how fast a machine has to be: every one of them, here and in the
helpers, is multiplied by STRETCH (TEST_STRETCH in the environment)."""
import os
import time

STRETCH = float(os.environ.get("TEST_STRETCH", "4"))
DEFAULT = 15.0
STEP = 0.02


class Late(AssertionError):
    """What was waited for did not come."""


def wait_until(what, condition, limit=DEFAULT, step=STEP):
    """The first true value of condition(). `what` names it in the error; it may be a function of no arguments."""
    limit *= STRETCH
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Late("not within %g s: %s" % (limit, what() if callable(what) else what))
        time.sleep(step)
