"""Networks as files for other programs: ONNX, TorchScript and OpenVINO, in fp32 or int8, with a description in JSON."""
