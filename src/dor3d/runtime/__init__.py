"""Ways to run a network: the ONNX file that ships, and how it is made."""
