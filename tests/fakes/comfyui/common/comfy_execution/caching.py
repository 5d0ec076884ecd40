"""The set of caches of an executor, before 2026. `ui` is apart from `outputs` before CacheEntry came."""

from comfy_execution.caches import IdCache, NullCache, SignatureCache


class CacheSet:
    def __init__(self, none=False):
        self.outputs = NullCache() if none else SignatureCache()
        self.ui = NullCache() if none else SignatureCache()
        self.objects = NullCache() if none else IdCache()
        self.all = [self.outputs, self.ui, self.objects]
