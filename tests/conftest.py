"""For all tests."""

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # networks here are small: threads that wait cost more than they bring
