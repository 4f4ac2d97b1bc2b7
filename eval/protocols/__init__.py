"""The benchmarks, one module each: labelled samples and predictions to an `Outcome`."""
