"""The optimizers, a module a family. Each lists its classes in ``__all__``, and `gdfast` offers them all."""
