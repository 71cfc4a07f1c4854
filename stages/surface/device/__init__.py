"""The field on torch devices: grid, perceptrons and steps in torch, Triton and tiny-cuda-nn."""
