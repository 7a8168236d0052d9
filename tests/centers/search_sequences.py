"""Find the quadruples of ±1 rows behind the Hadamard matrices of orders 92, 116, 156, 172, 188, 236, 260, ...

``hadamard.py`` holds what this script prints; it is kept so that anybody can find the rows anew.

A quadruple of length n is four ±1 rows whose periodic autocorrelations add up to 0 at every shift but 0; the
Goethals-Seidel array makes it a Hadamard matrix of order 4 n. Two searches, both a meeting in the middle on a 64-bit
linear hash of the autocorrelation; a hit counts only when the correlations themselves add up:

* n = 23, 29, 47, 59 are 3 m - 1 for m = 8, 10, 16, 20: join Turyn-type sequences of length m.
* n = 39, 43, 65, ...: take rows that are constant on the orbits of a multiplier modulo n; they are few.

Run: ``python search_sequences.py`` (numpy alone, one core, about a minute, 0.6 GB of memory).
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
HashArray = NDArray[np.uint64]
FloatArray = NDArray[np.float32]
Rows = tuple[list[int], list[int], list[int], list[int]]

TURYN_LENGTHS = (8, 10, 16, 20)
MULTIPLIERS = {39: 29, 43: 4, 65: 36, 67: 29, 73: 2, 93: 2, 101: 36, 113: 16, 119: 2, 127: 2}
SEED = 2020
BATCH = 1 << 20
N_ANGLES = 17
N_ROWS = 3000


def main() -> None:
    """Print every quadruple as four binary numbers written in hex: first entry most significant, bit 1 for +1."""
    for m in TURYN_LENGTHS:
        start = time.perf_counter()
        show(turyn_quadruple(m), f"Turyn-type, m = {m}", time.perf_counter() - start)
    for n, multiplier in MULTIPLIERS.items():
        start = time.perf_counter()
        show(orbit_quadruple(n, multiplier), f"multiplier {multiplier}", time.perf_counter() - start)


def show(rows: Rows, origin: str, seconds: float) -> None:
    """Print one entry of the table."""
    n = len(rows[0])
    words = ", ".join(f"0x{int(''.join('1' if x > 0 else '0' for x in row), 2):0{-(-n // 4)}X}" for row in rows)
    print(f"    {n}: ({words}),  # {origin}; {seconds:.1f} s", flush=True)


def is_quadruple(rows: Rows) -> bool:
    """Say whether the periodic autocorrelations add up to 0 at every shift but 0."""
    n = len(rows[0])
    return all(sum(row[i] * row[i - shift] for row in rows for i in range(n)) == 0 for shift in range(1, n))


def turyn_quadruple(m: int) -> Rows:
    """Find Turyn-type sequences of even length m and join them to four rows of length 3 m - 1.

    Turyn-type: ±1 sequences A, B, C of length m and D of length m - 1 with N_A + N_B + 2 N_C + 2 N_D = 0 at every shift
    but 0, N being the aperiodic autocorrelation. With X = (C, D) and Y = (C, -D) the quadruple is (X, A), (X, -A),
    (Y, B), (Y, -B).

    What makes the search small:

    * The condition modulo 4 says of u_i = a_i b_i that u_0 u_(m-1) = 1 and u_i u_(m-1-i) = -1 for 0 < i < m/2, so A and
      the first half of B give the second half.
    * The power spectra |A|^2 + |B|^2 + 2 |C|^2 + 2 |D|^2 add up to 6 m - 2 at every angle, so a pair (C, D) that alone
      has more at some angle goes: at m = 20 all but 1 in 2000 do.

    Returns:
        Four lists of +1 and -1 of length 3 m - 1.
    """
    weights = np.random.Philox(SEED).random_raw(m - 1)
    source = np.random.Philox([SEED, m])
    long_hash, long_spectrum = correlation_tables(m, weights)
    short_hash, short_spectrum = correlation_tables(m - 1, weights)

    n_left = min(1 << 23, 1 << (3 * m // 2))
    a = draw(source, n_left, m)
    b = second_half_solved(a, draw(source, n_left, m // 2), m)
    keys = long_hash[a] + long_hash[b]
    order = np.argsort(keys, kind="stable")
    a, b, keys = a[order], b[order], keys[order]

    while True:
        c, d = draw(source, BATCH, m), draw(source, BATCH, m - 1)
        possible = (long_spectrum[c] + short_spectrum[d]).max(axis=1) < 3 * m - 1 + 1e-3
        c, d = c[possible], d[possible]
        wanted = np.uint64(0) - np.uint64(2) * (long_hash[c] + short_hash[d])
        place = np.minimum(np.searchsorted(keys, wanted), n_left - 1)
        for right in np.flatnonzero(keys[place] == wanted):
            left = place[right]
            a_, b_, c_ = signs(a[left], m), signs(b[left], m), signs(c[right], m)
            x, y = c_ + signs(d[right], m - 1), c_ + [-value for value in signs(d[right], m - 1)]
            rows = (x + a_, x + [-value for value in a_], y + b_, y + [-value for value in b_])
            if is_quadruple(rows):
                return rows


def second_half_solved(a: IntArray, first_half: IntArray, m: int) -> IntArray:
    """Complete B from A and the first half of B (see ``turyn_quadruple``); bit m - 1 - i of a word is entry i."""
    half = m // 2
    reverse = np.array([int(f"{value:0{half}b}"[::-1], 2) for value in range(1 << half)])
    minus_first = (a >> half) ^ first_half  # bit set where u_i = -1, first half
    minus_second = reverse[minus_first] ^ ((1 << half) - 2)  # mirrored, and flipped but for the last entry
    solved: IntArray = (first_half << half) | ((a & ((1 << half) - 1)) ^ minus_second)
    return solved


def correlation_tables(length: int, weights: HashArray) -> tuple[HashArray, FloatArray]:
    """Hash and power spectrum of every ±1 sequence, by its word.

    Args:
        length: of the sequences, at most 20 or so.
        weights: uint64 (length - 1,) or longer, factor of the autocorrelation at shift 1, 2, ...

    Returns:
        Hashes uint64 (2**length,), linear in the autocorrelation modulo 2**64, and spectra float32
        (2**length, N_ANGLES) at angles from 0 to pi.
    """
    words = np.arange(1 << length)
    entries = [(words >> bit & 1).astype(np.int8) * np.int8(2) - np.int8(1) for bit in range(length)]
    angles = np.pi * np.arange(N_ANGLES) / (N_ANGLES - 1)
    hashes = np.zeros(words.size, np.uint64)
    spectrum = np.full((words.size, N_ANGLES), length, np.float32)
    for shift in range(1, length):
        correlation = np.zeros(words.size, np.int8)
        for x, y in zip(entries, entries[shift:], strict=False):
            correlation += x * y
        hashes += correlation.astype(np.uint64) * weights[shift - 1]
        spectrum += np.outer(correlation, 2 * np.cos(shift * angles).astype(np.float32))
    return hashes, spectrum


def orbit_quadruple(n: int, multiplier: int) -> Rows:
    """Find a quadruple whose rows are constant on the orbits of a multiplier modulo n.

    Rows r with r[i] = r[g i]: a row is one sign for each orbit, and its periodic autocorrelation is constant on the
    orbits too, so few equations remain: 11 at n = 67, fewer than that at the others. The power spectra of the four rows
    add up to 4 n at every frequency, so a row that alone has more goes.

    Returns:
        Four lists of +1 and -1 of length n.
    """
    group = [1]
    while (power := group[-1] * multiplier % n) != 1:
        group.append(power)
    orbit = np.unique([min(i * g % n for g in group) for i in range(n)], return_inverse=True)[1]
    n_orbits = int(orbit.max()) + 1

    source = np.random.Philox([SEED, n])
    words = np.arange(1 << n_orbits) if n_orbits <= 14 else draw(source, 1 << 14, n_orbits)
    rows = np.where(words[:, None] >> orbit & 1, 1, -1)
    rows = rows[(np.abs(np.fft.rfft(rows, axis=1)) ** 2).max(axis=1) < 4 * n + 1e-3][:N_ROWS]
    hashes = np.zeros(len(rows), np.uint64)
    for shift, weight in enumerate(source.random_raw(n // 2), start=1):
        correlation = (rows * np.roll(rows, shift, axis=1)).sum(axis=1)
        hashes += correlation.astype(np.uint64) * weight

    first, second = np.triu_indices(len(rows))
    keys = hashes[first] + hashes[second]
    _, left, right = np.intersect1d(keys, np.uint64(0) - keys, return_indices=True)
    for i, j in zip(left, right, strict=True):
        w, x, y, z = (rows[k].tolist() for k in (first[i], second[i], first[j], second[j]))
        if is_quadruple((w, x, y, z)):
            return w, x, y, z
    raise SystemExit(f"no quadruple of length {n} among {len(rows)} rows constant on the orbits of {multiplier}")


def draw(source: np.random.Philox, count: int, n_bits: int) -> IntArray:
    """Draw words of n_bits uniformly, from raw output so that every numpy version gives the same."""
    return (source.random_raw(count) >> np.uint64(64 - n_bits)).astype(np.int64)


def signs(word: np.int64, length: int) -> list[int]:
    """Spell a word out as +1 and -1, most significant bit first."""
    return [1 if int(word) >> (length - 1 - i) & 1 else -1 for i in range(length)]


if __name__ == "__main__":
    main()
