"""Numbers without a pattern: seeds of blocks, local ids that tell nothing, and NHS numbers that nobody has."""

from mpi.records import check_digit

MASK = (1 << 64) - 1
PEOPLE_IN_999 = 899_999
"""Nine numbers for each of a hundred thousand stems, but for the last of all: ten nines stand for "several people"."""

_PEOPLE_IN_9 = 9 * 9_900_000
LOCAL_BITS = 27


def mix(*parts: int) -> int:
    """Return 64 well-stirred bits of some integers (splitmix64), the same on every machine."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state + (part & MASK) * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def scattered(count: int, key: int, bits: int = LOCAL_BITS) -> int:
    """Return the place, below 2**bits, of the count-th number of a series: one to one, and neighbours lie far apart."""
    mask = (1 << bits) - 1
    half = bits // 2
    value = (count ^ key) & mask
    for factor in (0x2C1B3C6D, 0x297A2D39, 0x1B56C4E9):
        value = (value * factor) & mask
        value ^= value >> half
        value = (value + (key >> 30)) & mask
    return value


def nhs_number(index: int, seed: int) -> str:
    """Return the NHS number of the index-th person: no two alike, in no order, and nobody's.

    The first 899,999 start with 999, the rest with 9. Each eight digits have at least nine ninth digits whose check digit is not
    10, so nine are used of each.
    """
    if index < PEOPLE_IN_999:
        head, place, bits, size = 99_900_000, index, 20, PEOPLE_IN_999
    else:
        head, place, bits, size = 90_000_000, index - PEOPLE_IN_999, 27, _PEOPLE_IN_9
    key = mix(seed, bits)
    place = scattered(place, key, bits)
    while place >= size:  # walking the cycle keeps it one to one
        place = scattered(place, key, bits)
    stem, nth = divmod(place, 9)
    eight = str(head + stem)
    total = sum(map(int.__mul__, map(int, eight), (10, 9, 8, 7, 6, 5, 4, 3)))
    # The check digit would be 10 where the weighted sum leaves 1 over 11: 2d = 1 - total, so d = 6 (1 - total).
    if nth >= (6 * (1 - total)) % 11:
        nth += 1
    rest = 11 - (total + 2 * nth) % 11
    return f"{eight}{nth}{0 if rest == 11 else rest}"


def near_number(number: str, first: int, second: int, digit: int) -> str:
    """Return a valid number that differs from another in two or three digits, as a misread one that still passes the check.

    Args:
        first, second: places from 3 to 8 that take ``digit`` and whatever then makes the number pass.
    """
    for step in range(10):
        nine = list(number[:9])
        nine[first] = str((digit + step) % 10)
        for shift in range(1, 10):
            nine[second] = str((int(number[second]) + shift) % 10)
            if check_digit("".join(nine)) == int(number[9]):
                found = "".join(nine) + number[9]
                if found not in (number, "9999999999"):
                    return found
    raise AssertionError("two free digits always find a number")
