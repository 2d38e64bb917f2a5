"""Two parsers that read what strangers send, driven with any octets in any pieces.

    python -m tests.fuzz session -max_total_time=600 [FOLDER]
    python -m tests.fuzz replies -max_total_time=600 [FOLDER]

With atheris (the extra `fuzz`) the octets are searched for, by what they reach in the code; what libFuzzer takes as
options may follow. What it finds goes into `seeds`, and the normal tests feed all of those to the same functions.
"""
