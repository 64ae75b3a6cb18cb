"""The commands of ``python -m training``: parse, make one library call, print."""
