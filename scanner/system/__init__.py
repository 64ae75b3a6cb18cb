"""The machine beneath a scan: cores and memory of a container, shared memory between processes, signals."""
