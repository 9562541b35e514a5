"""Networks of ONNX files that look at pictures in training and learn nothing: readers, hints and tasks of recipes."""
