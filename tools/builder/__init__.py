"""Turns one text source per lesson into the three notebooks that learners open.

`read` parses and refuses, `editions` lays out the three notebooks, `execute` runs them and tidies
the outputs, `lint` says what a stored notebook would let through, `lessons` does all of it.
"""
