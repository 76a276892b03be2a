"""Where the numbers and pictures of a run go: screen, train.log, metrics.csv, TensorBoard, W&B."""
