"""What it costs: ``python -m bench --out build/bench.json`` prints tables and writes the same numbers as JSON.

Every claim is a ratio of two things done in one run, in turns, and the median of at least three; CPU-seconds stand
beside wall seconds, and how busy others kept the machine beside both. A new section is a module with a function
``measure(setup) -> dict``, named in ``bench.__main__.SECTIONS``; its dict is printed and written as it is.
"""
