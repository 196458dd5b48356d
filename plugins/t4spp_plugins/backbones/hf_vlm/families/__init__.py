"""The families: every module here holds one, as ``PROFILE``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from t4spp.errors import BackboneError, nearest
from t4spp_plugins.backbones.hf_vlm.profile import Profile


@cache
def families() -> dict[str, Profile]:
    """The profiles of this package, by name, sorted."""
    modules = (
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    )
    profiles: list[Profile] = [module.PROFILE for module in modules]
    return {profile.name: profile for profile in sorted(profiles, key=lambda p: p.name)}


def family_of(model_type: str, where: str) -> Profile:
    """The profile that serves checkpoints of a type.

    Args:
        model_type: of a checkpoint's ``config.json``.
        where: the checkpoint, for the message.

    Raises:
        BackboneError: there is none.
    """
    for profile in families().values():
        if model_type in profile.model_types:
            return profile
    types = {t: profile.name for profile in families().values() for t in profile.model_types}
    raise BackboneError(
        f"hf-vlm: {where} is of the type {model_type!r}, for which there is no family. Types with "
        f"one: {', '.join(sorted(types))}.{nearest(model_type, types)} A family takes one file; "
        "see docs/add-a-family.md."
    )
