"""An LSTM over the time axis of convolutional features, with its hidden state as an argument."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from audiocraft.modules.streaming import StreamingModule


@dataclass(slots=True)
class LSTMState:
    """What the past left behind; replaced at every step."""

    hidden: Tensor  # [layers, B, D]
    cell: Tensor  # [layers, B, D]


class StreamableLSTM(StreamingModule):
    """LSTM that takes and returns [B, D, T]; with `skip` its input is added to its output."""

    def __init__(self, dimension: int, num_layers: int = 2, skip: bool = True) -> None:
        super().__init__()
        self.skip = skip
        self.lstm = nn.LSTM(dimension, dimension, num_layers)

    def init_state(self, batch_size: int) -> LSTMState:
        """Zeros: nothing was heard before the first frame."""
        zeros = self.lstm.all_weights[0][0].new_zeros(self.lstm.num_layers, batch_size, self.lstm.hidden_size)
        return LSTMState(hidden=zeros, cell=zeros)

    def forward(self, x: Tensor, state: LSTMState | None = None) -> Tensor:
        """x [B, D, T] -> [B, D, T]"""
        state = self.current_state(state, x.shape[0])
        if state is not None and x.shape[-1] == 0:
            return x
        frames = x.permute(2, 0, 1)  # [T, B, D], the layout cuDNN and oneDNN prefer
        if state is None:
            y, _ = self.lstm(frames)
        else:
            y, (state.hidden, state.cell) = self.lstm(frames, (state.hidden, state.cell))
        if self.skip:
            y = y + frames
        return y.permute(1, 2, 0)
