"""Computes the logits of networks with ONNX Runtime, which shares no code with Relief.

    python3 logits.py CxHxW INPUTS.f32 MODEL.onnx...

INPUTS.f32 holds the inputs, float32 (n, C, H, W). Of every MODEL.onnx the logits (n, classes) are written beside it, as
MODEL.f32.
"""

import pathlib
import sys

import numpy as np
import onnxruntime

shape, inputs, *models = sys.argv[1:]
inputs = np.fromfile(inputs, np.float32).reshape(-1, *map(int, shape.split("x")))
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
for model in models:
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    [name] = [value.name for value in session.get_inputs()]
    [logits] = session.run(None, {name: inputs})
    logits.astype(np.float32).tofile(pathlib.Path(model).with_suffix(".f32"))
