"""What every answer of the server is: a frozen class that keeps fields it does not know."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """One answer, or a part of one.

    A field that a newer server adds is kept: `answer["name"]` reads any field by its name in JSON.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    def __getitem__(self, name: str) -> Any:
        field = name if name in type(self).model_fields else f"{name}_"
        if field in type(self).model_fields:
            return getattr(self, field)
        try:
            return (self.model_extra or {})[name]
        except KeyError:
            raise KeyError(f"{type(self).__name__} has no field {name!r}") from None
