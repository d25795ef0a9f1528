"""The model that ships with embedlake: openly licensed pretrained parts in one space, late fusion."""

from operators.model.composed.spec import ComposedSpec

__all__ = ["ComposedSpec"]
