"""The lab: real optimizers on surfaces, live in a page that this machine serves (`gdfast lab`).

`formula` reads formulas of x and y, `surfaces` holds losses, `rules` says what each optimizer has, `settings` is a race
as data, `race` makes its steps, `program` and `export` take it away, `experiments` guide; `study` and `teaching` are
the page of data; `server` and `session` serve the pages, which are in `page/`; `watching`, `recorder` and `sources`
show a training of one's own, `notebook` is a widget. Nothing is computed in a page: it draws float32 numbers.

It uses every room but `gdfast.torch`, whose optimizers it watches without importing them, and `gdfast.cli`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdfast.lab.notebook import Surface as Surface
    from gdfast.lab.watching import watch as watch
else:
    _LATER = {"Surface": "gdfast.lab.notebook", "watch": "gdfast.lab.watching"}

    def __getattr__(name):
        """Import what needs the lab's libraries when it is asked for."""
        if name not in _LATER:
            raise AttributeError(f"module 'gdfast.lab' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_LATER[name]), name)
