"""Benchmark protocols, one module each: labelled samples and predictions give a `ProtocolResult`."""
