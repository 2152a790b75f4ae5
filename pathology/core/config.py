"""Settings: frozen models, read from YAML, where a key nobody knows is an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pathology.core.errors import ConfigError


class StageConfig(BaseModel):
    """Base of every stage's settings: immutable, and a key nobody knows is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses true and false for a number, which pydantic would take for 1 and 0.

        A number is taken for the text that it looks like, where such texts are to choose from.
        """
        if isinstance(value, int) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            if str(value) in get_args(annotation):
                return str(value)
            options = _options_of(annotation)
            if not isinstance(value, bool):
                return value
            if bool not in options and (int in options or float in options):
                raise PydanticCustomError("number", "a number is expected")
        return value


Config = TypeVar("Config", bound=StageConfig)


def load_config(
    model: type[Config], path: Path | None = None, overrides: Iterable[str] = ()
) -> Config:
    """Settings of one stage: defaults, then the YAML file, then section.key=value overrides.

    Raises ConfigError with one line per fault, naming the file (or --set) and the key.
    """
    values = _read_yaml(path) if path else {}
    fault = _first_fault(model, values)
    if fault:
        raise ConfigError(f"{path}: {fault}")
    for override in overrides:
        _apply(values, override)
    fault = _first_fault(model, values)
    if fault:
        raise ConfigError(f"--set {fault}")
    return model.model_validate(values)


def to_yaml(config: StageConfig) -> str:
    """The settings as YAML text that load_config reads back to an equal object."""
    import yaml

    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
        twice = _twice(yaml.compose(text, yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = str(error).replace("\n", " ")
        raise ConfigError(f"{path}: not valid YAML ({text})") from error
    if twice:
        raise ConfigError(f"{path}: {twice} stands there twice. Leave one of them")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, found {type(values).__name__}")
    return values


def _twice(root: Any) -> str:
    """A key that a mapping of YAML's tree holds twice, with its line, or "": the last would win."""
    waiting, looked_at = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in looked_at or node.id == "scalar":
            continue
        looked_at.add(id(node))  # an alias leads to it again, maybe from within
        pairs = node.value if node.id == "mapping" else [(None, item) for item in node.value]
        keys = [key for key, _ in pairs if key is not None]
        names = [str(key.value) for key in keys]
        again = [key for n, key in enumerate(keys) if names[n] in names[:n]]
        if again:
            return f"{again[0].value} (line {again[0].start_mark.line + 1})"
        waiting += [value for _, value in pairs]
    return ""


def _apply(values: dict[str, Any], override: str) -> None:
    """Set section.key=value in nested values; the value is read as YAML."""
    import yaml

    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"--set {override}: expected section.key=value, e.g. tile.mpp=0.5")
    *sections, key = dotted.strip().split(".")
    here = values
    for section in sections:
        inner = here.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {section} is not a section")
        here = inner
    try:
        here[key] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value") from error


def _first_fault(model: type[StageConfig], values: Mapping[str, Any]) -> str | None:
    """What pydantic has against the values, in one line, or None."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        return "; ".join(_explain(model, fault) for fault in error.errors())
    return None


def _explain(model: type[StageConfig], fault: Any) -> str:
    where = [str(part) for part in fault["loc"]]
    if fault["type"] == "value_error" and not where:
        return str(fault["ctx"]["error"])  # of settings together
    key = ".".join(where) or "the file"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(model, where[:-1]))
        return f"{key}: unknown key; expected one of {known}"
    return f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {fault['input']!r}"


def _known_keys(model: type[BaseModel], section: list[str]) -> list[str]:
    """Names of the settings of a nested section of a model."""
    for name in section:
        field = model.model_fields.get(name)
        inner = _model_of(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _options_of(annotation: Any) -> tuple[Any, ...]:
    """What an annotation allows: int and None of int | None."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model in an annotation such as Model or Model | None."""
    for option in _options_of(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
