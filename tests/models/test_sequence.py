import pytest
import torch
from torch import nn

from hashcenters.models.sequence import (
    DifferentialLSTMHead,
    FrameEncoder,
    MeanPoolHead,
    RecurrentHead,
    TemporalFusionHead,
)
from hashcenters.retrieval.codes import pack

HEADS = [
    MeanPoolHead,
    lambda f, b: RecurrentHead(f, b, hidden_features=5),
    lambda f, b: RecurrentHead(f, b, hidden_features=5, pooling="mean"),
    *(lambda f, b, n=n: DifferentialLSTMHead(f, b, hidden_features=5, order=n) for n in (0, 1, 2)),
    lambda f, b: TemporalFusionHead(f, b, hidden_features=5, window=1),
    lambda f, b: TemporalFusionHead(f, b, hidden_features=5),
]


def by_loop(head, features):
    """Logits of one clip after another, frame after frame, from the formulas."""
    logits = []
    for clip in features:
        if isinstance(head, MeanPoolHead):
            pooled = sum(clip) / len(clip)
        elif isinstance(head, RecurrentHead):
            pooled = by_lstm(head, clip)
        elif isinstance(head, DifferentialLSTMHead):
            pooled = by_differential_lstm(head, clip)
        else:
            weight, bias = head.fuse.weight, head.fuse.bias
            reach, steps = weight.shape[2] // 2, []
            for t in range(len(clip)):
                near = [k for k in range(weight.shape[2]) if 0 <= t + k - reach < len(clip)]
                steps.append((bias + sum(weight[:, :, k] @ clip[t + k - reach] for k in near)).clamp(min=0))
            pooled = sum(steps) / len(steps)
        logits.append(head.linear.weight @ pooled + head.linear.bias)
    return torch.stack(logits)


def by_lstm(head, clip):
    lstm, states = head.lstm, []
    h = c = torch.zeros(lstm.hidden_size, dtype=clip.dtype)
    for x in clip:
        total = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = total.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        states.append(h)
    states = torch.stack(states)
    return states.mean(0) if head.pooling == "mean" else states.max(0).values


def by_differential_lstm(head, clip):
    width = head.hidden_features
    zero = torch.zeros(width, dtype=clip.dtype)
    past = [zero, zero, zero]  # s_{t-1}, s_{t-2}, s_{t-3}
    h = zero

    def derivatives(s, order):  # written out, not by recursion
        return torch.cat([s[0], s[0] - s[1], s[0] - 2 * s[1] + s[2]][: order + 1])

    for x in clip:
        wx = (head.from_input.weight @ x + head.from_input.bias).split(width)
        wh = (head.from_hidden.weight @ h).split(width)
        old = (head.from_old_state.weight @ derivatives(past, head.order)).split(width)
        i = (wx[0] + wh[0] + old[0]).sigmoid()
        f = (wx[1] + wh[1] + old[1]).sigmoid()
        past = [f * past[0] + i * (wx[2] + wh[2]).tanh(), past[0], past[1]]
        o = (wx[3] + wh[3] + head.from_new_state.weight @ derivatives(past, head.order)).sigmoid()
        h = o * past[0].tanh()
    return h


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_equals_the_loop(make, n_frames):
    for dtype in (torch.float64, torch.float32):
        head, features = make(6, 4).to(dtype), torch.randn(3, n_frames, 6, dtype=dtype)
        logits = head(features)
        assert (logits.shape, logits.dtype, head.n_bits, head.in_features) == ((3, 4), dtype, 4, 6)
        torch.testing.assert_close(logits, by_loop(head, features))


@pytest.mark.parametrize("make", HEADS)
def test_order_of_frames(make):
    head, features = make(6, 4).double(), torch.randn(3, 5, 6, dtype=torch.float64)
    same = torch.allclose(head(features), head(features.flip(1)))
    pointwise = isinstance(head, TemporalFusionHead) and head.fuse.kernel_size == (1,)
    assert same == (isinstance(head, MeanPoolHead) or pointwise)


@pytest.mark.parametrize("make", HEADS)
def test_gradients_empty_batches_and_other_samples(make):
    head, features = make(3, 2).double().eval(), torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, features)
    head(features).sum().backward()
    assert all(p.grad is not None for p in head.parameters())
    assert head(features[:0]).shape == (0, 2)
    torch.testing.assert_close(head(features[1:]), head(features)[1:])


def test_a_differential_lstm_that_ignores_its_state_is_an_lstm():
    head, lstm = DifferentialLSTMHead(6, 4, hidden_features=5), nn.LSTM(6, 5, batch_first=True)
    with torch.no_grad():
        head.from_old_state.weight.zero_()
        head.from_new_state.weight.zero_()
        lstm.weight_ih_l0.copy_(head.from_input.weight)
        lstm.weight_hh_l0.copy_(head.from_hidden.weight)
        lstm.bias_ih_l0.copy_(head.from_input.bias)
        lstm.bias_hh_l0.zero_()
    features = torch.randn(3, 7, 6)
    torch.testing.assert_close(head(features), head.linear(lstm(features)[1][0][0]))


@pytest.mark.parametrize("make", HEADS)
def test_autocast(make):
    head, features = make(6, 4), torch.randn(3, 5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(features)
    torch.testing.assert_close(logits.float(), head(features), rtol=0.1, atol=0.05)
    logits.float().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize("make", HEADS)
def test_frame_encoder(make):
    model, clips = FrameEncoder(nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), make(6, 4)), torch.randn(2, 3, 5, 2, 2)
    frames = torch.stack([torch.stack([model.backbone(clip[:, t][None])[0] for t in range(5)]) for clip in clips])
    torch.testing.assert_close(model(clips), model.head(frames))
    assert model.n_bits == 4


@pytest.mark.parametrize("make", HEADS)
def test_frame_encoder_encodes_a_loader_of_clips(make):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Dropout(0.5))
    model = FrameEncoder(backbone, make(6, 12))
    clips, labels = torch.randn(5, 3, 4, 2, 2), torch.arange(5)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(clips, labels), batch_size=2)
    logits, same_labels = model.encode(loader, packed=False, progress=False)
    codes, _ = model.encode(loader, progress=False)
    assert model.training
    assert all(part.training for part in model.modules())
    with torch.no_grad():
        expected = model.eval()(clips)  # dropout is off
    torch.testing.assert_close(logits, expected)
    assert torch.equal(codes, pack(logits))
    assert torch.equal(same_labels, labels)
    assert codes.shape == (5, 2)


def moving_squares(n_clips, generator):
    """8 frames of 16 x 16; the class is the direction. Squares wrap, so no frame tells it."""
    clips, labels = torch.zeros(n_clips, 1, 8, 16, 16), torch.arange(n_clips) % 4
    starts = torch.randint(16, (n_clips, 2), generator=generator)
    for clip, label, (y, x) in zip(clips, labels.tolist(), starts.tolist(), strict=True):
        dy, dx = [(0, 2), (0, -2), (2, 0), (-2, 0)][label]
        for t in range(8):
            rows = (torch.arange(4) + y + dy * t) % 16
            clip[0, t][rows[:, None], (torch.arange(4) + x + dx * t) % 16] = 1
    return clips, labels


def accuracy_on_moving_squares(head):
    clips, labels = moving_squares(128, torch.Generator().manual_seed(0))
    backbone = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
    model = FrameEncoder(backbone, head)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(clips), labels).backward()
        optimizer.step()
    with torch.no_grad():
        clips, labels = moving_squares(200, torch.Generator().manual_seed(1))
        return (model(clips).argmax(1) == labels).double().mean().item()


def test_order_tells_left_from_right():
    """A bag of frames tells a row from a column at best; 8 frames of step 2 are the whole circle either way."""
    scores = {make: accuracy_on_moving_squares(make(32, 4)) for make in (MeanPoolHead, RecurrentHead)}
    assert scores[MeanPoolHead] < 0.6
    assert scores[RecurrentHead] > 0.8


def test_bad_input_is_refused():
    for make in HEADS:
        head = make(6, 4)
        for shape in ((3, 6), (3, 5, 7), (3, 0, 6)):
            with pytest.raises(ValueError, match=r"features must have shape \(N, T, in_features=6\), T at least 1"):
                head(torch.zeros(shape))
        with pytest.raises(ValueError, match="in_features must be at least 1, got 0"):
            make(0, 4)
        with pytest.raises(TypeError, match="n_bits must be an int"):
            make(6, 4.0)
    for make in (RecurrentHead, DifferentialLSTMHead, TemporalFusionHead):
        with pytest.raises(ValueError, match="hidden_features must be at least 1, got 0"):
            make(6, 4, hidden_features=0)
    with pytest.raises(ValueError, match="pooling must be one of 'mean', 'max', got 'last'"):
        RecurrentHead(6, 4, pooling="last")
    with pytest.raises(ValueError, match="order must be at least 0, got -1"):
        DifferentialLSTMHead(6, 4, order=-1)
    with pytest.raises(ValueError, match="window must be odd, got 2"):
        TemporalFusionHead(6, 4, window=2)
    model = FrameEncoder(nn.Flatten(), MeanPoolHead(6, 4))
    for shape in ((2, 3, 2, 2), (2, 3, 0, 2, 2)):
        with pytest.raises(ValueError, match=r"clips must have shape \(N, C, T, H, W\), T at least 1"):
            model(torch.zeros(shape))
    with pytest.raises(
        ValueError, match=r"must return \(frames=10, in_features=6\), as its head expects, got \(10, 12"
    ):
        model(torch.zeros(2, 3, 5, 2, 2))
    model.backbone = Pair()
    with pytest.raises(ValueError, match="got tuple; let the backbone pool and flatten"):
        model(torch.zeros(2, 3, 5, 2, 2))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_frame_encoder_refuses_a_head_without_a_code_length():
    with pytest.raises(TypeError, match="head must have in_features and n_bits, .* got Linear"):
        FrameEncoder(nn.Flatten(), nn.Linear(12, 16))
