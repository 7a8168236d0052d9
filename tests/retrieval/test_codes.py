import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.retrieval import codes as codes_module
from hashcenters.retrieval.codes import binarize, hamming_distance, pack, to_packed, unpack

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def random_signs(n, n_bits, seed):
    return torch.randint(0, 2, (n, n_bits), generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


@given(st.integers(1, 130), st.integers(0, 9), st.integers(0, 2**31))
def test_unpack_undoes_pack(n_bits, n, seed):
    signs = random_signs(n, n_bits, seed)
    packed = pack(signs)
    assert packed.dtype == torch.uint8
    assert packed.shape == (n, -(-n_bits // 8))
    assert torch.equal(unpack(packed, n_bits), signs)
    np.testing.assert_array_equal(packed.numpy(), np.packbits(signs.numpy() > 0, axis=1))
    assert torch.equal(codes_module._pack_on_device(signs > 0), packed)


@pytest.mark.parametrize("dtype", FLOATS)
def test_binarize_knows_two_symbols(dtype):
    values = torch.tensor([-1e-4, -0.0, 0.0, 1e-4, float("inf"), -float("inf")], dtype=dtype)
    result = binarize(values)
    assert result.dtype == torch.float32
    assert result.tolist() == [-1, 1, 1, 1, 1, -1]


def test_binarize_and_pack_take_bool_and_drop_the_graph():
    bits = torch.tensor([[True, False]])
    assert binarize(bits).tolist() == [[1, -1]]
    assert pack(bits).tolist() == [[128]]
    logits = torch.tensor([[0.5, -0.5]], requires_grad=True)
    assert not binarize(logits).requires_grad
    assert pack(logits).tolist() == [[128]]


@pytest.mark.parametrize("n_bits", [1, 2, 7, 8, 9, 64, 65])
def test_every_form_of_the_same_codes_packs_alike(n_bits):
    signs = random_signs(20, n_bits, 3)
    expected = pack(signs).numpy()
    forms = [signs.to(dtype) for dtype in FLOATS]
    forms += [torch.tanh(3 * signs), signs > 0, pack(signs), signs.clone().requires_grad_()]
    forms += [signs.numpy().astype(kind) for kind in (np.float16, np.float32, np.float64)]
    forms += [signs.numpy() > 0, expected, signs.numpy()[::-1][::-1], np.asfortranarray(signs.numpy())]
    for form in forms:
        before = form.clone() if isinstance(form, torch.Tensor) else form.copy()
        result = to_packed(form, n_bits)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected)
        assert (form == before).all()


def test_zero_logits_are_ones_and_no_rows_are_fine():
    assert to_packed(torch.tensor([[0.0, -0.0, -1.0]]), 3).tolist() == [[0b11000000]]
    assert to_packed(torch.zeros(0, 12), 12).shape == (0, 2)
    assert to_packed(np.zeros((0, 2), np.uint8), 12).shape == (0, 2)


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_hamming_distance_counts_differing_bits(n_bits, seed):
    queries, database = random_signs(4, n_bits, seed), random_signs(6, n_bits, seed + 1)
    expected = (queries[:, None] != database[None]).sum(-1)
    assert torch.equal(hamming_distance(queries, database), expected)
    assert torch.equal(hamming_distance(queries > 0, database), expected)
    assert torch.equal(hamming_distance(pack(queries), pack(database)), expected)


@pytest.mark.parametrize("kind", ["torch", "numpy"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_and_floats_without_negatives_are_refused(kind, dtype):
    def convert(tensor):
        tensor = tensor.to(getattr(torch, dtype))
        return tensor if kind == "torch" else tensor.numpy()

    with pytest.raises(ValueError, match="vectors contain NaN; look for a diverged loss"):
        to_packed(convert(torch.tensor([[-1.0, float("nan")]])), 2, name="vectors")
    with pytest.raises(
        ValueError, match=r"without any negative value \(the least is 0\).*would all read as 1.*or bool"
    ):
        to_packed(convert(torch.tensor([[0.0, 1.0]])), 2)


@pytest.mark.parametrize("function", [binarize, pack])
def test_binarize_and_pack_refuse_nan_and_other_dtypes(function):
    with pytest.raises(ValueError, match="codes contain NaN"):
        function(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(TypeError, match=r"must be a floating-point or bool tensor, got torch\.int64"):
        function(torch.tensor([[1, -1]]))
    with pytest.raises(TypeError, match="must be a floating-point or bool tensor, got list"):
        function([[1.0]])


@pytest.mark.parametrize("shape", [(3,), (3, 0), (1, 2, 3)])
def test_pack_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"must have shape \(n, n_bits\) with n_bits at least 1, got \("):
        pack(torch.ones(shape))


def test_unpack_refuses_what_is_not_packed():
    with pytest.raises(TypeError, match=r"packed must be a uint8 tensor, got torch\.float32"):
        unpack(torch.ones(1, 8), 8)
    with pytest.raises(ValueError, match=r"must have shape \(n, 2\) for n_bits=9, got \(1, 1\)"):
        unpack(torch.ones(1, 1, dtype=torch.uint8), 9)
    with pytest.raises(ValueError, match="packed have a bit set behind bit 8"):
        unpack(torch.tensor([[0, 1]], dtype=torch.uint8), 9)


def test_hamming_distance_refuses_unequal_sides():
    with pytest.raises(TypeError, match="must both be packed uint8 or both be unpacked"):
        hamming_distance(torch.ones(1, 8), torch.ones(1, 1, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"must be matrices of one width, got \(1, 8\) and \(1, 9\)"):
        hamming_distance(torch.ones(1, 8), torch.ones(1, 9))


def test_to_packed_refuses_other_types():
    with pytest.raises(TypeError, match="must be a torch tensor or a numpy array, got list"):
        to_packed([[1.0]], 1)
    for integers in (torch.tensor([[1, -1]]), np.array([[1, -1]], dtype=np.int8)):
        with pytest.raises(TypeError, match=r"bool, or packed uint8, got .*int.*make bool by `codes == 1`"):
            to_packed(integers, 2)
    with pytest.raises(TypeError, match="got complex64"):
        to_packed(np.ones((1, 2), np.complex64), 2)


def test_to_packed_refuses_wrong_widths_and_says_what_was_meant():
    with pytest.raises(ValueError, match=r"float32 must have shape \(n, n_bits=16\), got \(3, 15\)$"):
        to_packed(-torch.ones(3, 15), 16)
    with pytest.raises(ValueError, match=r"got \(3, 2\); it has the width of packed codes, which must be uint8"):
        to_packed(-torch.ones(3, 2), 16)
    with pytest.raises(ValueError, match=r"dtype uint8 are packed, shape \(n, 2\) for n_bits=16, got \(3, 3\)$"):
        to_packed(torch.ones(3, 3, dtype=torch.uint8), 16)
    with pytest.raises(ValueError, match=r"got \(3, 16\); it has one column a bit, so pass 0/1 bits as bool"):
        to_packed(torch.ones(3, 16, dtype=torch.uint8), 16)
    with pytest.raises(ValueError, match=r"must have shape \(n, n_bits=16\), got \(16,\)"):
        to_packed(-torch.ones(16), 16)


@pytest.mark.parametrize("n_bits", range(1, 8))
def test_bits_behind_the_last_are_refused(n_bits):
    for bit in range(8):
        packed = np.array([[0x80 >> bit]], dtype=np.uint8)
        if bit < n_bits:
            assert to_packed(packed, n_bits) is packed
        else:
            with pytest.raises(ValueError, match=f"a bit set behind bit {n_bits - 1}, where packed codes of n_bits="):
                to_packed(packed, n_bits)


def test_long_batches_are_checked_and_packed_to_the_end():
    codes = torch.ones(5000, 9)
    codes[4500, 3] = -1
    assert np.array_equal(to_packed(codes, 9), np.packbits(codes.numpy() >= 0, axis=1))
    codes[4600, 0] = torch.nan
    with pytest.raises(ValueError, match="codes contain NaN"):
        to_packed(codes, 9)
    codes[4600, 0] = -1
    codes[2, 2] = torch.nan
    with pytest.raises(ValueError, match="codes contain NaN"):
        to_packed(codes, 9)
    with pytest.raises(ValueError, match="codes are floats without any negative value"):
        to_packed(torch.ones(5000, 9), 9)
