"""What `generate` was asked for, checked; from options, or from the sidecar of a file that is made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from audiocraft.cli.live import STDOUT, Outlets, parse_schedule
from audiocraft.cli.manner import OPTIONS, settings_of
from audiocraft.cli.output import note
from audiocraft.cli.targets import free, targets
from audiocraft.cli.words import as_text, recordable
from audiocraft.config.limits import PROVENANCE
from audiocraft.errors import InvalidInput

if TYPE_CHECKING:
    from audiocraft.audio.finishing import Finish
    from audiocraft.checkpoints.facts import ModelFacts
    from audiocraft.generation.request import GenerationRequest
    from audiocraft.models.generator import GeneratorModel
    from audiocraft.workflows.origins import Origin
    from audiocraft.workflows.render import ModelIdentity, Recipe
    from audiocraft.workflows.takes import Effort

# These are no part of what is repeated: they say where it goes, or what is told.
_AROUND = frozenset(
    {
        "recipe",
        "output",
        "stream",
        "form",
        "play",
        "spectrogram",
        "as_json",
        "quiet",
        "device",
        "context",
        "fade",
        "watermark",
        "plan",
        "loop",
        "takes",
        "budget",
    }
)
_OTHER_AUDIO = {
    "continues": "--continue", "melody": "--melody", "style": "--style", "drums": "--drums", "tune": "--tune",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """This record says which model makes it, and how that is loaded."""

    model: str
    device: str | None
    precision: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """This record holds what the command line asked for, checked."""

    request: GenerationRequest
    targets: tuple[Path, ...]
    place: Place
    origin: Origin
    outlets: Outlets | None = None
    """For pieces that are handed on while they are made."""
    expected: ModelIdentity | None = None
    """What made the file that is repeated."""
    effort: Effort | None = None
    """How many takes of each piece there are; None: one."""
    chosen: GeneratorModel | None = None
    """The model, where a budget has chosen and loaded it."""
    finish: Finish | None = None
    """Files of older versions had no finishing step."""


def given(context: typer.Context) -> dict[str, Any]:
    """Return the options that stand on the command line, without the defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {
        name: context.params[name]
        for name, source in sources.items()
        if source is not None and source.name != "DEFAULT"
    }


def repeated(
    path: Path,
    options: Mapping[str, Any],
    output: Path | None,
    place: Place,
    outlets: Outlets | None,
    *,
    quiet: bool,
) -> Job:
    """Return the file whose sidecar is at `path`, once more, but for the options that were given, which are named."""
    from audiocraft.checkpoints.facts import find_facts
    from audiocraft.workflows.live import AS_MADE
    from audiocraft.workflows.render import read_recipe
    from audiocraft.workflows.repeat import varied

    changes = _changes(options)
    recipe: Recipe = read_recipe(path)
    if "adapter" in options:
        from audiocraft.checkpoints.sources import with_adapters

        on = place.model if "model" in options else recipe.model.name
        place = replace(place, model=with_adapters(on, options["adapter"]))
        options = {**options, "model": place.model}
    other_model = "model" in options and options["model"] != recipe.model.name
    model = place.model if other_model else recipe.model.name
    facts = find_facts(model)
    changes.update(settings_of(options, facts))
    plans = facts is None or not other_model or "plan" in facts.takes
    settings = facts.settings if facts is not None and other_model else None
    known = _for_plans(recipe, facts) if other_model and facts is not None else recipe
    request, before = varied(known, changes, plans=plans, scenes=not other_model, settings=settings)
    usual = {} if facts is None else {**(facts.settings or {}), "guidance": facts.guidance}
    said = {
        name: (usual.get(name) if value is None else value, changes[name]) for name, value in before.items()
    }
    if other_model:
        said["model"] = (recipe.model.name, model)
    finish, finished = _finish(recipe.finish, options)
    said |= finished
    if said and not quiet:
        note(f"as {recipe.file}, but " + ", ".join(_change(name, *values) for name, values in said.items()))
    live = outlets or (Outlets() if recipe.level == AS_MADE else None)
    silent = outlets is not None and (output == STDOUT or (output is None and outlets != Outlets()))
    return Job(
        request=request,
        targets=() if silent else _target(path, recipe, recordable(output, "output")),
        place=Place(
            model=model,
            device=place.device,
            # The recorded one unless another is asked for, which sounds different.
            precision=recipe.model.precision
            if place.precision == "auto" and not other_model
            else place.precision,
        ),
        origin=recipe.origin,
        outlets=live,
        expected=None if other_model else recipe.model,
        finish=finish,
    )


def _finish(finish: Finish | None, options: Mapping[str, Any]) -> tuple[Finish | None, dict[str, Any]]:
    """Return the finishing step with what the options change of it, and what that was and is."""
    from audiocraft.audio.finishing import Finish

    said: dict[str, Any] = {}
    if "fade" in options:
        said["fade"] = (finish.fade if finish else 0.0, options["fade"])
        finish = replace(finish or Finish(), fade=options["fade"])
    if "watermark" in options:
        finish = finish or Finish()
        mark = PROVENANCE if options["watermark"] else None
        said["watermark"] = (finish.watermark or "none", mark or "none")
        finish = replace(finish, watermark=mark)
    return finish, said


def _for_plans(recipe: Recipe, facts: ModelFacts) -> Recipe:
    """Return `recipe` without the times of its chords, for a model that is told them by a plan alone."""
    by_plan = recipe.plan is not None and "plan" in facts.takes and "chords" not in facts.takes
    return replace(recipe, chords=()) if by_plan else recipe


def _target(path: Path, recipe: Recipe, output: Path | None) -> tuple[Path, ...]:
    """Return where the repetition goes; nothing that is there already, unless it was named."""
    if output is None:
        return targets([""], free(path.parent / recipe.file, ()))
    return targets([Path(recipe.file).stem], output)


def _changes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as changes of a recipe, but for the settings of its model; a refusal of those that cannot
    be one."""
    from audiocraft.music.progressions import parse_progression
    from audiocraft.workflows.repeat import CHANGEABLE

    for name, option in _OTHER_AUDIO.items():
        if name in options:
            raise InvalidInput(
                f"--from keeps the audio that the file started from; {option} needs a prompt and no --from",
                field="from",
            )
    changes = {
        name: value
        for name, value in options.items()
        if name not in {*_AROUND, *OPTIONS, "adapter", "model", "precision", "prompts"}
    }
    prompts = options.get("prompts") or ()
    if "prompts_file" in changes or len(prompts) > 1:
        raise InvalidInput("--from repeats one file; it takes one other prompt at most", field="from")
    if prompts:
        changes["prompt"] = as_text(prompts[0], "prompts")
    if "chords" in changes:
        changes["chords"] = parse_progression(changes["chords"])
    if "schedule" in changes:
        changes["schedule"] = parse_schedule(changes["schedule"])
    unknown = sorted(changes.keys() - CHANGEABLE)
    assert not unknown, f"--from forgets {unknown}"
    return changes


def _change(name: str, before: Any, after: Any) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, tuple) and value and isinstance(value[0], int):
            return ",".join(map(str, value))
        if isinstance(value, tuple | list):
            return (
                " ".join(part if isinstance(part, str) else f"{part[0]:g}: {part[1]};" for part in value)
                or "none"
            )
        if isinstance(value, float):
            return f"{value:g}"
        return "the model's own" if value is None else str(value)

    return f"{name.replace('_', ' ')} {shown(after)} (was {shown(before)})"
