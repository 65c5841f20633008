"""Stores, and the files and objects of other tools.

What this package offers beyond the names on top: readers, writers and converters of other
formats, and what a store holds beside representations. Each is imported at first use; which there
are says ``__init__.pyi``.
"""

import lazy_loader as _lazy_loader

__getattr__, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)
