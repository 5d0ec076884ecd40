"""Is there a PyTorch that has CUDA? Prints {"version", "cuda"}."""

import cuda
import torch

cuda.answer({"version": torch.__version__, "cuda": torch.cuda.is_available()})
