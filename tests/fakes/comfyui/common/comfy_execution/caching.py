"""The set of caches of an executor, before 2026. `ui` is apart from `outputs` before CacheEntry came."""

from comfy_execution.caches import CacheType, IdCache, NullCache, of_outputs


class CacheSet:
    def __init__(self, cache_type=CacheType.CLASSIC, cache_args=None):
        self.outputs = of_outputs(cache_type, cache_args)
        self.ui = of_outputs(cache_type, cache_args)
        self.objects = NullCache() if cache_type == CacheType.NONE else IdCache()
        self.all = [self.outputs, self.ui, self.objects]
