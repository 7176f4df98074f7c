"""Multimodal emotion recognition by fusion: the library under the course.

Importing this package imports nothing else; ask for the floor you need
(`mmlib.layers`, `mmlib.data`, `mmlib.systems`, `mmlib.training`, ...).
"""

__version__ = "0.1.0"
