"""The lab: real optimizers on surfaces, live in a page that this machine serves (`gdfast lab`).

`formula` reads formulas of x and y, `surfaces` holds losses, `rules` says what each optimizer has, `settings` is a race
as data, `race` makes its steps, `program` and `export` take it away, `experiments` guide, `server` and `session` serve
the page, which is in `page/`; `watching`, `recorder` and `sources` show a training of one's own. Nothing is computed in
the page: it draws float32 numbers. May use every room below.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdfast.lab.watching import watch as watch
else:

    def __getattr__(name):
        """Import what needs the lab's libraries when it is asked for."""
        if name != "watch":
            raise AttributeError(f"module 'gdfast.lab' has no attribute {name!r}")
        from gdfast.lab.watching import watch

        return watch
