"""What the project claims about quality, speed and robustness, measured beside a baseline in the same run.

`python -m tests.bench` from the root of the repository; `make bench` does the same.
"""
