"""rig.pythons, under the names that the tests here had for it first."""

from rig.pythons import find as interpreters  # noqa: F401
from rig.pythons import python_of  # noqa: F401
