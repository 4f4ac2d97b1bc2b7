"""From landmark annotations and network predictions to 3DMM labels.

The steps for one data set are: `observations` (read annotations), `teachers` (read predictions), `calibration`
(estimate the errors of both), `fusion` (combine both into the most likely face), `pipeline` (crops, profiled images,
pack). `faces` and `solver` hold the mathematics of the fit, `quality` the tables of docs/labels.md.
"""
