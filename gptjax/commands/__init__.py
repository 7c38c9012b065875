"""One file a command: the rooms put together. `cli.py` parses the flags."""
