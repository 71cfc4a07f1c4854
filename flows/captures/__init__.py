"""The captures folder: READY markers, what a capture holds, whether it has arrived, and which ones wait or are set aside."""
