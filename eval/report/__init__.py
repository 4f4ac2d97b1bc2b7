"""The result of a protocol as one HTML page that needs nothing else: no network, no files beside it."""
