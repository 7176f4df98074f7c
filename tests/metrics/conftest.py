"""Fixtures of the metrics' tests."""

import pytest

from mmlib.data.threads import one_thread


@pytest.fixture(autouse=True)
def single_thread():
    """Simulations are thousands of small products, on which busy threads would wait."""
    with one_thread():
        yield
