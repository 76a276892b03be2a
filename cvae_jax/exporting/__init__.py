"""Trained models as files for other programs.

Each format is a module with `write(model, output, data_dir)`; `formats` finds it by its name.
"""

# The formats, and their modules in this room.
FORMATS = {'html': 'page.html', 'onnx': 'onnx_files', 'stablehlo': 'stablehlo', 'hub': 'hub'}
