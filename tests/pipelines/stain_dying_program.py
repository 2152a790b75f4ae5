"""A program that normalizes pictures while one of them ends its process: INPUT OUT."""

import json
import sys
from pathlib import Path

from stain_blur import Invert, Model

from pathology.stain.config import StainConfig
from pipelines.input_kinds import look_at
from pipelines.stain import apply_recipe
from pipelines.stain_apply import Spread
from pipelines.stain_recipe import Recipe

if __name__ == "__main__":
    recipe = Recipe(Model(Invert()), StainConfig())
    rows = apply_recipe(look_at(Path(sys.argv[1])), Path(sys.argv[2]), recipe, spread=Spread(2))
    print(json.dumps({row.slide_id: [row.status, row.reason] for row in rows}))
