"""The field that learns the shape from the pictures alone (NeuS): rays, space, rendering and steps."""
