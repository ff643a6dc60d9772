"""What `flm list --json` says of the models that the program knows. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from providers.flm.json_output import first_object

MANY = 5


class ListedModel(BaseModel):
    """An entry of model_list.json, whose name the list has replaced by the tag."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tag: str = Field(alias="model")
    url: str = ""
    files: tuple[str, ...] = ()
    footprint: float = 0
    """GB, about; closer to the truth than the entry's size, which is the count of parameters."""
    installed: bool = False
    """All files exist, whole or not."""

    @property
    def folder(self) -> str:
        """Its name under `models/`: that of the repository OWNER/NAME, in all of the program's own entries."""
        parts = urlsplit(self.url).path.strip("/").split("/")
        return parts[1] if len(parts) > 1 else ""

    @property
    def estimated_bytes(self) -> int:
        return round(self.footprint * 1e9)


def parsed_listing(output: str) -> Mapping[str, ListedModel]:
    """By tag. Raises ValueError if it is no list of models."""
    entries = first_object(output).get("models")
    if not isinstance(entries, list):
        raise ValueError("no list of models")
    models = [ListedModel.model_validate(entry) for entry in entries]
    return {model.tag: model for model in models}


def close_tags(tag: str, known: Iterable[str]) -> list[str]:
    """Those that were perhaps meant: of the same family, or spelled alike. At most a few."""
    known = list(known)
    family = [one for one in known if one.partition(":")[0] == tag.partition(":")[0]]
    alike = difflib.get_close_matches(tag, known, MANY, cutoff=0.5)
    return list(dict.fromkeys((*family, *alike)))[:MANY]
