"""Steps made by C, Cython, numba and ctypes: plans, the functions by address, and where the C header lies.

>>> import gdfast.native
>>> gdfast.native.CODES["OK"], gdfast.native.error(-4)
(0, 'the steps that were prepared are used up: call plan.prepare(steps) in Python')
"""

from pathlib import Path

from gdfast.engine.native import CODES as CODES
from gdfast.engine.native import NativeLoop as NativeLoop
from gdfast.engine.native import end_step as end_step
from gdfast.engine.native import error as error
from gdfast.engine.native import loop as loop
from gdfast.engine.native import loops as loops
from gdfast.engine.native import step as step
from gdfast.engine.native import step_one as step_one
from gdfast.engine.native import step_rows as step_rows
from gdfast.engine.native import table_address as table_address
from gdfast.stepping.native import Plan as Plan


def get_include() -> str:
    """Return the folder of gdfast.h, for the ``include_dirs`` of an extension module."""
    return str(Path(__file__).with_name("include"))
