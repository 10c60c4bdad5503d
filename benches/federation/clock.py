"""Rounds in which systems take turns, so that what the machine does besides falls on all alike.

Owns: the clock, the turns. Never: what is run.
"""

import gc
import statistics
import time


def timed(run):
    """(seconds, result) of one run."""
    gc.collect()
    begun = time.perf_counter()
    result = run()
    return time.perf_counter() - begun, result


def interleaved(runs, rounds):
    """The seconds of each of `runs` in every round; who goes first alternates."""
    seconds = [[] for _ in runs]
    for number in range(rounds):
        order = range(len(runs)) if number % 2 == 0 else reversed(range(len(runs)))
        for at in order:
            taken, _ = timed(runs[at])
            seconds[at].append(taken)
    return seconds


def medians(runs, rounds):
    """The median seconds of each of `runs`."""
    return [statistics.median(taken) for taken in interleaved(runs, rounds)]
