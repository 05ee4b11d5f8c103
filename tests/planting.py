"""Plants a bug in this process: a substitution in a module of the package, as if its source had always read so.

A function gets the code that it would have, whoever knows it already: that takes some milliseconds, where to import the
spoilt package takes a second. Where more than functions would differ, the package is imported anew. What this process
starts has no bug.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType

ROOT = Path(__file__).parents[1]
OURS = ("reconciler", "tests")
OF_A_FUNCTION = 3
"""The flags of code that has variables of its own: that of a class or a module has not."""
Place = tuple[str, int]


def spoil(module: str, old: str, new: str) -> str:
    """The text of the module with the bug; raises LookupError where the code to spoil is not there once."""
    text = (ROOT / "reconciler" / module).read_text()
    if text.count(old) != 1:
        raise LookupError(f"{old!r} is {text.count(old)} times in {module}")
    return text.replace(old, new)


def plant(module: str, old: str, new: str) -> None:
    """From now on this process has the bug."""
    path = ROOT / "reconciler" / module
    name = ".".join(Path("reconciler", module).with_suffix("").parts).removesuffix(".__init__")
    spoilt = compile(spoil(module, old, new), str(path), "exec")
    changed = find_changed(compile(path.read_text(), str(path), "exec"), spoilt)
    if changed is None:
        _import_anew(_Spoilt(name, path, spoilt))
        return
    known = list(_functions(import_module(name)))
    for place, code in changed.items():
        found = [each for each in known if _place(each.__code__) == place]
        if not found:
            raise LookupError(f"nothing in {name} is {place}")
        for function in found:
            function.__code__ = code


def find_changed(before: CodeType, after: CodeType) -> dict[Place, CodeType] | None:
    """The functions whose code differs, with the new one; None where anything besides differs."""
    if before.co_flags & OF_A_FUNCTION == OF_A_FUNCTION:
        return {} if _is_same(before, after) else {_place(before): after}
    if not _is_same(before, after, deep=False):
        return None
    changed: dict[Place, CodeType] = {}
    for old, new in _codes(before, after):
        if (found := find_changed(old, new)) is None:
            return None
        changed |= found
    return changed


def _place(code: CodeType) -> Place:
    return code.co_qualname, code.co_firstlineno


def _codes(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    for old, new in zip(before.co_consts, after.co_consts, strict=True):
        if isinstance(old, CodeType):
            yield old, new


def _is_same(before: CodeType, after: CodeType, *, deep: bool = True) -> bool:
    """Whether both do the same, wherever their lines are; `deep`: also the code within them."""
    if _outline(before) != _outline(after):
        return False
    return not deep or all(_is_same(old, new) for old, new in _codes(before, after))


def _outline(code: CodeType) -> tuple[object, ...]:
    plain = [type(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_code, code.co_flags, code.co_argcount, names, plain


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """The functions that are written in a module: of its classes too, and those that decorators hold."""
    left, seen = list(vars(module).values()), set[int]()
    while left:
        thing = left.pop()
        if id(thing) in seen or (isinstance(thing, type) and thing.__module__ != module.__name__):
            continue
        seen.add(id(thing))
        if isinstance(thing, FunctionType) and thing.__code__.co_filename == module.__file__:
            yield thing
        left += _held(thing)


def _held(thing: object) -> Iterable[object]:
    match thing:
        case type():
            return vars(thing).values()
        case property():
            return thing.fget, thing.fset, thing.fdel
        case classmethod() | staticmethod():
            return (thing.__func__,)
        case cached_property():
            return (thing.func,)
        case CellType():
            return _content(thing)
        case FunctionType():
            return *(thing.__closure__ or ()), getattr(thing, "__wrapped__", None)
    return getattr(thing, "__wrapped__", None), getattr(thing, "callback", None)


def _content(cell: CellType) -> Sequence[object]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


class _Spoilt(SourceFileLoader, MetaPathFinder):
    """Loads one module from other code than its source's."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        super().__init__(name, str(path))
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def _import_anew(spoilt: _Spoilt) -> None:
    """What was imported of this repository is forgotten; whoever imports it from now on meets the bug."""
    for each in [each for each in sys.modules if each.partition(".")[0] in OURS]:
        del sys.modules[each]
    sys.meta_path.insert(0, spoilt)


def main() -> None:
    """`python -m tests.planting MODULE OLD NEW PROGRAM [ARGUMENT ...]`: the program, a module, with the bug."""
    _, module, old, new, *sys.argv = sys.argv
    plant(module, old, new)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
