"""What is tested: what `make` has built, or the files in the folder that COMFYDD_TEST_PRODUCTS names."""

import os
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PRODUCTS = (REPOSITORY / os.environ.get("COMFYDD_TEST_PRODUCTS", "build")).resolve()
LIBRARY = PRODUCTS / "libcomfydd.so"
COMFYDD = PRODUCTS / "comfydd"
