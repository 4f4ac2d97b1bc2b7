"""The open face: a morphable model designed from anthropometry, free of every licence, and its builder."""
