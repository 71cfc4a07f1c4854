"""The command line: main.py parses, and each command, or group of them, is a file of its name."""
