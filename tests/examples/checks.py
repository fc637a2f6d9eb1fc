# SPDX-License-Identifier: MIT
#
# What the tests of the examples say of what they find.

import re

SECONDS_MAX = 120  # for any one thing that is waited for; far more than it takes


def check(right, otherwise):
    if not right:
        raise AssertionError(otherwise)


def equal(found, expected, what):
    check(found == expected, f"{what}: {found}, not {expected}")


def parse(pattern, line):
    found = re.fullmatch(pattern, line)
    check(found, f"{line!r} is not as {pattern!r}")
    return found.groups()
