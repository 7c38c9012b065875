"""The model as functions of its parameters; the only room that imports flax."""
