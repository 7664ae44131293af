"""The lab: real optimizers on surfaces, live in a page that this machine serves (`gdfast lab`).

`formula` reads formulas of x and y, `surfaces` holds losses, `rules` says what each optimizer has, `settings` is a race
as data, `race` makes its steps, `program` and `export` take it away, `experiments` guide, `server` and `session` serve
the page, which is in `page/`. Nothing is computed in the page: it draws float32 numbers. May use every room below.
"""
