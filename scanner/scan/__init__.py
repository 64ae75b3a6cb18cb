"""A scan on one machine: tiles are read ahead in processes, cut, embedded in threads and written, one file a tile."""
