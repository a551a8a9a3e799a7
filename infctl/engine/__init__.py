"""What runs a stack. `model` and `reconcile` are pure; each runtime is one module that touches the world."""
