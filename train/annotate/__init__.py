"""From landmark annotations and network predictions to 3DMM labels.

The way of a data set: `observations` (read annotations), `teachers` (read predictions), `calibration` (estimate the
errors of both), `fusion` (the most likely face given both), `pipeline` (crops, profiled images, pack). `faces` and
`solver` hold the mathematics of the fit, `quality` the tables of docs/labels.md.
"""
