"""An LSTM over the time axis of convolutional features, with its hidden state as an argument."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from audiocraft.kernels.bindings import Kernels
from audiocraft.kernels.codec_structs import LSTM_UNITS
from audiocraft.modules.backend import kernels_for
from audiocraft.modules.derived import Derived
from audiocraft.modules.packed_linear import supports_weight
from audiocraft.modules.streaming import StreamingModule


@dataclass(slots=True)
class LSTMState:
    """This record holds what the past left behind; it is replaced at every step."""

    hidden: Tensor  # [layers, B, D]
    cell: Tensor  # [layers, B, D]


class StreamableLSTM(StreamingModule):
    """This LSTM takes and returns [B, D, T]; with `skip` its input is added to its output."""

    def __init__(self, dimension: int, num_layers: int = 2, skip: bool = True) -> None:
        super().__init__()
        self.skip = skip
        self.lstm = nn.LSTM(dimension, dimension, num_layers)
        self._packed = [Derived() for _ in range(num_layers)]

    def init_state(self, batch_size: int) -> LSTMState:
        """Return zeros: nothing was heard before the first frame."""
        zeros = self.lstm.all_weights[0][0].new_zeros(self.lstm.num_layers, batch_size, self.lstm.hidden_size)
        return LSTMState(hidden=zeros, cell=zeros)

    def _run(
        self, frames: Tensor, state: LSTMState, kernels: Kernels | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map frames [T, B, D] to [T, B, D], and to hidden and cell of all layers after them.

        torch packs the weights anew at each call, and waits for its threads at each frame; our kernels do neither.
        """
        if kernels is None or not frames.shape[0] or not self._is_supported(kernels):
            for packed in self._packed:
                packed.drop()  # the weights may be changed uncounted, as by training
            y, after = self.lstm(frames, (state.hidden, state.cell))
            return y, after
        hidden, cell = state.hidden.clone(), state.cell.clone()
        for layer, weights in enumerate(self.lstm.all_weights):
            back = self._packed_back(layer, weights[1], kernels)
            frames = kernels.lstm(weights, back, frames, hidden[layer], cell[layer])
        return frames, (hidden, cell)

    def run_frames(
        self, x: Tensor, state: LSTMState | None = None, *, kernels: Kernels | None = None
    ) -> Tensor:
        """Map x [B, T, D] to [B, T, D], time before channels: the whole sequence, or with a state what comes next."""
        if state is None:
            state = self.init_state(x.shape[0])
        elif x.shape[1] == 0:
            return x
        y, (state.hidden, state.cell) = self._run(x.transpose(0, 1), state, kernels)
        return y.transpose(0, 1) + x if self.skip else y.transpose(0, 1)

    def _packed_back(self, layer: int, w_back: Tensor, kernels: Kernels) -> Tensor:
        """Return the weights of a layer's state as the kernels read them."""
        return self._packed[layer].get((w_back,), lambda: kernels.pack_lstm(w_back), training=self.training)

    def _is_supported(self, kernels: Kernels) -> bool:
        """Return whether the kernels know this LSTM."""
        weights = [weight for layer in self.lstm.all_weights for weight in layer if weight.dim() == 2]
        plain = self.lstm.bias and not self.lstm.bidirectional and not self.lstm.proj_size
        plain = plain and self.lstm.hidden_size % LSTM_UNITS == 0
        return plain and all(supports_weight(kernels, weight) for weight in weights)

    def forward(self, x: Tensor, state: LSTMState | None = None) -> Tensor:
        """Run x [B, D, T] through the layers; the shape stays."""
        state = self.current_state(state, x.shape[0])
        if state is not None and x.shape[-1] == 0:
            return x
        frames = x.permute(2, 0, 1)  # [T, B, D], the layout cuDNN and oneDNN prefer
        y, (hidden, cell) = self._run(
            frames, self.init_state(x.shape[0]) if state is None else state, kernels_for(frames)
        )
        if state is not None:
            state.hidden, state.cell = hidden, cell
        if self.skip:
            y = y + frames
        return y.permute(1, 2, 0)
