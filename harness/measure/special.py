"""The functions of `scipy.special` that the judge needs, for a tenth of what importing that package costs.

`import scipy.special` loads an array-API layer and numpy.f2py besides: 0.3 s of CPU, a third of judging a million
requests. The functions themselves are in one extension module, which is loaded here without the package around it;
where scipy is built differently one day, the package is imported as usual.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = "scipy.special"


def _functions() -> Any:
    if _PACKAGE in sys.modules:
        return sys.modules[_PACKAGE]
    import scipy

    shell = ModuleType(_PACKAGE)
    shell.__path__ = [str(Path(scipy.__file__).with_name("special"))]
    sys.modules[_PACKAGE] = shell
    try:
        functions: Any = importlib.import_module(f"{_PACKAGE}._ufuncs")
    except ImportError:
        functions = None
    finally:
        del sys.modules[_PACKAGE]  # so that whoever wants the package gets it whole
    return functions or importlib.import_module(_PACKAGE)


_found = _functions()
bdtr, bdtrc, betaincinv, gammainc = _found.bdtr, _found.bdtrc, _found.betaincinv, _found.gammainc
