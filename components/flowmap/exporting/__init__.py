"""Models as files that others run: ONNX graphs, and a page that draws in a browser.

Needs the packages onnx, onnxscript and onnxruntime, the extra `onnx`; nothing imports this room but the
command that exports.
"""
