"""What the source must not contain, and how large its parts may be."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft.client.records import Generation
from audiocraft.server.api.responses import GenerationAnswer

if TYPE_CHECKING:
    from .conftest import Source

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8
MAX_OPTIONS = 11
# Whoever decides the seed of a whole process: programs, never the library.
SEEDING_ALLOWED = ("cli/", "train.py")
# One composes configurations; the other reads the names of these classes in pickles of strangers, and imports nothing.
CONFIGURATION_ALLOWED = ("config/compose.py", "checkpoints/torch_files/pickle_stubs.py")

# Rooms whose tensors may be on a GPU; what makes tensors from nothing; who lays out buffers for a constructor: those
# go where their module goes.
DEVICE_ROOMS = (
    "adversarial/", "engine/", "generation/", "losses/", "models/", "modules/", "optim/", "quantization/",
)  # fmt: skip
FACTORIES = frozenset(
    "tensor as_tensor zeros ones empty full arange linspace logspace eye rand randn randint randperm".split()
)
LAYS_OUT = {
    "__init__",
    "reset_parameters",
    "_oscillators",
    "frequencies",
    "_windows",
    "uniform_init",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def functions(source: Source) -> list[tuple[str, Function]]:
    """Every function of a file with its name, methods as Class.method."""
    found: list[tuple[str, Function]] = []

    def collect(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                found.append((prefix + child.name, child))
                collect(child, prefix)
            elif isinstance(child, ast.ClassDef):
                collect(child, f"{prefix}{child.name}.")
            else:
                collect(child, prefix)

    collect(source.tree, "")
    return found


def parameters(function: Function) -> list[ast.arg]:
    arguments = function.args
    return [
        argument
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        if argument.arg not in ("self", "cls")
    ]


def test_no_mutable_defaults(sources: list[Source]) -> None:
    found = [
        f"{source.path}:{function.lineno} {name}"
        for source in sources
        for name, function in functions(source)
        for default in [*function.args.defaults, *filter(None, function.args.kw_defaults)]
        if isinstance(default, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp))
    ]
    assert not found, found


def test_everything_is_annotated(sources: list[Source]) -> None:
    found = [
        f"{source.path}:{function.lineno} {name}"
        for source in sources
        for name, function in functions(source)
        if function.returns is None or any(argument.annotation is None for argument in parameters(function))
    ]
    assert not found, found


def test_no_print(sources: list[Source]) -> None:
    """Results go through cli/output.py, everything else through logging."""
    found = [f"{source.path}:{line}" for source in sources for line in calls(source, "print")]
    assert not found, found


def test_no_global_seeding(sources: list[Source]) -> None:
    """A library call must not change what its caller draws next; `fork_rng` gives the caller's state back."""
    found = [
        f"{source.path}:{line}"
        for source in sources
        if not str(source.path).startswith(SEEDING_ALLOWED) and "fork_rng" not in source.text
        for name in ("torch.manual_seed", "random.seed", "np.random.seed", "numpy.random.seed")
        for line in calls(source, name)
    ]
    assert not found, found


def calls(source: Source, function: str) -> list[int]:
    return [node.lineno for name, node in source.calls if name == function]


def test_configuration_library_stays_in_one_file(sources: list[Source]) -> None:
    words = re.compile(r"\b(DictConfig|ListConfig|(?:import|from) (?:omegaconf|hydra))\b")
    found = [
        f"{source.path} says {match[0]}"
        for source in sources
        if str(source.path) not in CONFIGURATION_ALLOWED
        for match in words.finditer(source.text)
    ]
    assert not found, found


def test_nothing_is_left_to_do(sources: list[Source]) -> None:
    """Open work belongs to the issue tracker."""
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X ")
    found = [f"{source.path} says {word}" for source in sources for word in words if word in source.text]
    assert not found, found


def test_what_is_left_to_others_is_declared(sources: list[Source]) -> None:
    """A method that only subclasses have is abstract: a class without it cannot be made, and does not fail later."""
    found = [
        f"{source.path}:{node.lineno}"
        for source in sources
        for node in source.nodes
        if isinstance(node, ast.Raise)
        and node.exc is not None
        and "NotImplementedError" in ast.unparse(node.exc)
    ]
    assert not found, found


def test_weights_are_read_safely(sources: list[Source]) -> None:
    """A checkpoint from a stranger must not run code."""
    found = []
    for source in sources:
        for name, node in source.calls:
            if name == "torch.load":
                safe = any(
                    keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True"
                    for keyword in node.keywords
                )
                found += [] if safe else [f"{source.path}:{node.lineno}"]
    assert not found, found


def test_files_are_small(sources: list[Source]) -> None:
    sizes = {str(source.path): source.text.count("\n") for source in sources}
    assert not {path: size for path, size in sizes.items() if size > MAX_FILE_LINES}


def test_functions_are_short(sources: list[Source]) -> None:
    """Counted without the docstring and the signature, which the original often dictates."""
    found = []
    for source in sources:
        for name, function in functions(source):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > MAX_FUNCTION_LINES:
                found.append(f"{source.path}:{function.lineno} {name} has {lines} lines")
    assert not found, found


def test_functions_take_few_arguments(sources: list[Source]) -> None:
    """Constructors and the original's own signatures are the exceptions. Commands may take a few options more one by
    one; beyond that they take records of options that belong together (`audiocraft.cli.grouped`)."""
    names = json.loads(Path(__file__).with_name("upstream_names.json").read_text(encoding="utf-8"))
    original = {
        f"{owner}.{method}" if method else owner
        for module in names.values()
        for owner, methods in module.items()
        for method in ["", *methods]
    }
    found = [
        f"{source.path}:{function.lineno} {name} takes {len(parameters(function))}"
        for source in sources
        for name, function in functions(source)
        if function.name != "__init__"
        and name not in original
        and len(parameters(function))
        > (MAX_OPTIONS if str(source.path).startswith("cli/") else MAX_PARAMETERS)
    ]
    assert not found, found


def test_a_class_name_has_one_meaning(sources: list[Source]) -> None:
    """One name is one thing: no two classes share a name, and no type alias has the name of a class. Options of the
    command line alone, which are read as `options.Key`, share words with the records that they become."""
    homes: dict[str, set[str]] = {}
    aliases: dict[str, set[str]] = {}
    for source in sources:
        for node in source.nodes:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, set()).add(source.name)
        for name in () if source.name.startswith("audiocraft.cli.") else top_level_aliases(source):
            aliases.setdefault(name, set()).add(source.name)
    double = {
        name: sorted(places | aliases.get(name, set()))
        for name, places in homes.items()
        if len(places) > 1 or name in aliases
    }
    assert not double, double


def top_level_aliases(source: Source) -> list[str]:
    """The names in CamelCase that a file gives to types or values: `Name = ...`."""
    return [
        target.id
        for node in source.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", target.id)
    ]


def test_the_client_reads_only_what_the_server_says() -> None:
    """The client's record of a piece has no field that the answer lacks, but `raw`, the whole answer."""
    assert set(Generation.__dataclass_fields__) - set(GenerationAnswer.model_fields) == {"raw"}


def test_tensors_say_where_they_are_made(sources: list[Source]) -> None:
    """Without a device a tensor is the CPU's: beside a model on a GPU that is an error, or a wait at each step."""
    found = [
        f"{source.path}:{call.lineno} {name}: torch.{call.func.attr} says no device"
        for source in sources
        if str(source.path).startswith(DEVICE_ROOMS)
        if not str(source.path).startswith("modules/compiled/")  # of the CPU alone
        for name, function in functions(source)
        if function.name not in LAYS_OUT
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and (call.func.value.id, call.func.attr in FACTORIES) == ("torch", True)
        and not {keyword.arg for keyword in call.keywords} & {"device", "generator", "out"}
    ]
    assert not found, found
