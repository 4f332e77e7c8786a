"""Models that are loaded once and shared by everyone who asks for them by name."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import torch

from audiocraft.engine.memory import OutOfMemoryEstimate, check_model, gigabytes, model_bytes
from audiocraft.models.codecs.streaming_decode import AudioDecoder
from audiocraft.models.generator import GeneratorModel
from audiocraft.models.loaders import load_decoder, load_model

__all__ = ["Loaded", "Loader", "ModelCache", "OutOfMemoryEstimate", "bytes_of"]

_DECODERS_KEPT = 4

Loader = Callable[[str], GeneratorModel]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """This record holds a model that is in memory.

    Args:
        in_use: how many leases there are on it.
        loaded_at: seconds since the epoch.
    """

    name: str
    bytes: int
    in_use: int
    loaded_at: float


@dataclass(slots=True)
class _Entry:
    model: GeneratorModel
    bytes: int
    loaded_at: float
    leases: int = 0


class ModelCache:
    """This cache loads each model once, and forgets those unused for longest when space runs out.

    Args:
        device: where models live.
        max_bytes: of all models together; None is bounded by the machine alone.
        precision: of the weights, see `MusicGen.get_pretrained`.
        load: makes a model from its name; the default reads checkpoints.
    """

    def __init__(
        self,
        *,
        device: torch.device | str = "cpu",
        max_bytes: int | None = None,
        precision: str = "auto",
        load: Loader | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.max_bytes = max_bytes
        self.precision = precision
        self._own_load = load
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._decoders: OrderedDict[str, AudioDecoder] = OrderedDict()
        self._expected: dict[str, int] = {}  # bytes of those that are being loaded
        # What was evicted while someone still held it is taken back instead of being loaded a second time.
        self._evicted: WeakValueDictionary[str, GeneratorModel] = WeakValueDictionary()

    def get(self, name: str) -> GeneratorModel:
        """Return the model called `name`, loaded if it is not here. It may be evicted later; a lease keeps it."""
        return self._entry(name, leases=0).model

    def decoder(self, name: str) -> AudioDecoder:
        """Return the decoder called `name`, loaded if it is not here. The last few stay in memory."""
        with self._lock:
            found = self._decoders.pop(name, None)
        found = found or load_decoder(name, device=self.device)
        with self._lock:
            self._decoders[name] = found
            while len(self._decoders) > _DECODERS_KEPT:
                self._decoders.popitem(last=False)
        return found

    @contextmanager
    def lease(self, name: str) -> Iterator[GeneratorModel]:
        """Yield the model called `name`, which is not evicted before this block ends."""
        entry = self._entry(name, leases=1)
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.leases -= 1

    def unload(self, name: str) -> bool:
        """Forget the model called `name`; whether it could be: one in use stays, and the answer is False."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.leases:
                return False
            self._forget(name)
            return True

    def loaded(self) -> list[Loaded]:
        """Return what is in memory, that used last at the end."""
        with self._lock:
            return [
                Loaded(name=name, bytes=entry.bytes, in_use=entry.leases, loaded_at=entry.loaded_at)
                for name, entry in self._entries.items()
            ]

    def _entry(self, name: str, *, leases: int) -> _Entry:
        with self._lock:
            found = self._found(name, leases)
            if found is not None:
                return found
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:  # others who want this model wait here, those who want another one do not
            with self._lock:
                found = self._found(name, leases)
            if found is not None:
                return found
            try:
                model = self._evicted.get(name) or self._loaded(name)
            except BaseException:
                self._expected.pop(name, None)
                raise
            entry = _Entry(model, bytes_of(model), time.time(), leases)
            with self._lock:
                self._expected.pop(name, None)
                self._make_room(entry.bytes)
                self._entries[name] = entry
            return entry

    def _found(self, name: str, leases: int) -> _Entry | None:
        entry = self._entries.get(name)
        if entry is not None:
            self._entries.move_to_end(name)
            entry.leases += leases
        return entry

    def _loaded(self, name: str) -> GeneratorModel:
        if self._own_load is not None:
            return self._own_load(name)
        need = model_bytes(name, device=self.device, precision=self.precision)
        with self._lock:
            self._make_room(need)
            self._expected[name] = need
        if self.max_bytes is not None and need > self.max_bytes:
            raise OutOfMemoryEstimate(
                f"model {name!r} needs about {gigabytes(need)} and models may take {gigabytes(self.max_bytes)} "
                "together; raise that limit, take a smaller model, or load it with precision int8 or int4",
                need=need,
                available=self.max_bytes,
            )
        check_model(name, device=self.device, precision=self.precision)
        return load_model(name, device=self.device, precision=self.precision)

    def _make_room(self, need: int) -> None:
        """Forget models that nobody uses, those unused for longest first, until `need` bytes more are allowed."""
        if self.max_bytes is None:
            return
        room = self.max_bytes - need - sum(self._expected.values())
        for name in [name for name, entry in self._entries.items() if not entry.leases]:
            if sum(entry.bytes for entry in self._entries.values()) <= room:
                return
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._evicted[name] = self._entries.pop(name).model


def bytes_of(model: GeneratorModel) -> int:
    """Count the bytes of all weights of a model, shared ones once."""
    tensors = {
        tensor.data_ptr(): tensor.nbytes
        for module in model.modules()
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensors.values())
