"""Verdicts: from numbers to pass, fail, or not enough evidence.

    signed_rank   exact test, estimate and interval from a few pairs, without assuming a distribution
    student       the t interval beside it
    rule          margins, looks, several metrics at once: one verdict and its reason in a sentence

Pure: no clock, no file, no socket, no process. docs/explained/gate.md gives the reasons and the sources.
"""
