"""Counted work: the same numbers on every machine and every run."""

import pytest
import torch
import torch.nn.functional as F

from dojo.testing.cost import measure

KB = 4 * 256  # bytes of 256 float32 numbers


def spent_by(run):
    with measure() as spent:
        run()
    return spent


def ones(*shape):
    return torch.ones(*shape)


def test_reading_and_writing_are_both_counted():
    """x + y reads two and writes one."""
    x, y = ones(256), ones(256)
    spent = spent_by(lambda: x + y)
    assert (spent.bytes, spent.allocated, spent.calls) == (3 * KB, KB, {"aten.add": 1})
    assert spent.operators == 1


def test_only_the_block_is_counted():
    """Not what runs before and after it, nor in another block."""
    x = ones(256)
    first = spent_by(lambda: x + 1)
    _ = x.exp().sum()
    second = spent_by(lambda: (x + 1) + 1)
    assert second.bytes == 2 * first.bytes
    assert second.operators == 2


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.T,
        lambda x: x[3:, ::2],
        lambda x: x.view(-1),
        lambda x: x.reshape(8, 32),
        lambda x: x.expand(5, 16, 16),
        lambda x: x.detach(),
        lambda x: x.unsqueeze(0).squeeze(),
        lambda x: x.chunk(4),
        lambda x: x.unbind(),
        lambda x: x.diagonal(),
    ],
)
def test_views_are_free(view):
    """They copy no elements."""
    x = ones(16, 16)
    spent = spent_by(lambda: view(x))
    assert (spent.bytes, spent.allocated, spent.operators) == (0, 0, 0)


def test_a_reshape_that_copies_is_not_free():
    """`reshape` returns a view or a copy."""
    x = ones(16, 16)
    spent = spent_by(lambda: x.T.reshape(-1))
    assert spent.bytes == 2 * KB
    assert spent.allocated == KB


def test_an_expanded_tensor_is_read_from_one_place():
    """`expand` takes no memory; the result of an operator does."""
    row = ones(256).expand(64, 256)
    spent = spent_by(lambda: row * 2)
    assert spent.bytes == KB + 64 * KB
    assert spent.allocated == 64 * KB
    assert spent_by(lambda: row.contiguous()).allocated == 64 * KB


def test_work_in_place_allocates_nothing():
    """It reads and writes the same memory."""
    x = ones(256)
    spent = spent_by(lambda: x.add_(1))
    assert (spent.bytes, spent.allocated) == (2 * KB, 0)


def test_an_out_argument_allocates_nothing():
    """The memory is the caller's."""
    x, out = ones(256), ones(256)
    assert spent_by(lambda: torch.exp(x, out=out)).allocated == 0


def test_filling_reads_nothing():
    """`zeros_like` uses only the shape."""
    x = ones(256)
    assert spent_by(lambda: torch.zeros_like(x)).bytes == KB
    assert spent_by(lambda: torch.empty_like(x)).bytes == 0
    assert spent_by(lambda: torch.empty_like(x)).allocated == KB
    assert spent_by(lambda: torch.full((256,), 2.0)).bytes == KB


def test_top_k_reads_all_and_writes_k():
    """One pass over the row: 1000 numbers in, 10 values (4 bytes) and 10 places (8 bytes) out."""
    logits = ones(1000)
    spent = spent_by(lambda: logits.topk(10))
    assert spent.bytes == 4 * 1000 + 10 * (4 + 8)
    assert spent.allocated == 10 * (4 + 8)
    assert spent.calls == {"aten.topk": 1}


@pytest.mark.parametrize(
    "pick",
    [
        lambda table, index: table[index],
        lambda table, index: table.index_select(0, index),
        lambda table, index: F.embedding(index, table),
        lambda table, index: table.gather(0, index[:, None].expand(-1, 8)),
    ],
    ids=["index", "index_select", "embedding", "gather"],
)
def test_picking_rows_costs_the_rows_not_the_table(pick):
    """Looking up 4 tokens does not read a table of 10000."""
    table, index = ones(10_000, 8), torch.tensor([1, 5, 5, 9])
    spent = spent_by(lambda: pick(table, index))
    assert spent.bytes == 2 * (4 * 8 * 4) + 4 * 8
    assert spent.allocated == 4 * 8 * 4


def test_a_matrix_product_is_two_flops_per_multiply_and_add():
    """[8, 16] @ [16, 32]: 2 x 8 x 16 x 32, whether batched, with a bias or by einsum."""
    x, w = ones(8, 16), ones(16, 32)
    flops = 2 * 8 * 16 * 32
    assert spent_by(lambda: x @ w).flops == flops
    assert spent_by(lambda: torch.einsum("bi,io->bo", x, w)).flops == flops
    assert spent_by(lambda: x.expand(3, 8, 16) @ w.expand(3, 16, 32)).flops == 3 * flops
    batched = spent_by(lambda: x.expand(3, 8, 16) @ w)
    assert (batched.flops, batched.allocated) == (3 * flops, 3 * 8 * 32 * 4)
    assert spent_by(lambda: torch.addmm(ones(32), x, w)).flops == flops
    assert spent_by(lambda: (x * 2).sum()).flops == 0


def test_a_linear_layer_costs_one_product():
    """Its transposed weight is a view."""
    layer, x = torch.nn.Linear(16, 32), ones(8, 16)
    spent = spent_by(lambda: layer(x))
    assert spent.flops == 2 * 8 * 16 * 32
    assert spent.allocated == 8 * 32 * 4
    assert spent.operators == 1


def test_convolution_and_attention_have_flops():
    """Each output pixel: 2 x 9 x 4 per channel. Attention: two products of 2 x 6 x 6 x 8."""
    x, w = ones(1, 4, 10, 10), ones(5, 4, 3, 3)
    assert spent_by(lambda: F.conv2d(x, w, padding=1)).flops == 2 * 9 * 4 * 5 * 100
    q = ones(1, 2, 6, 8)
    assert spent_by(lambda: (q @ q.mT).softmax(-1) @ q).flops == 2 * 2 * 2 * 6 * 6 * 8


def test_the_backward_pass_counts():
    """A product's gradients are two products more, where both sides need one."""
    x, w = ones(8, 16).requires_grad_(), ones(16, 32).requires_grad_()
    flops = 2 * 8 * 16 * 32
    assert spent_by(lambda: (x @ w).sum().backward()).flops == 3 * flops
    frozen = w.detach()
    assert spent_by(lambda: (x @ frozen).sum().backward()).flops == 2 * flops


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_mode_changes_no_count(mode):
    """In inference mode composite operators arrive undivided; the operators in them are counted."""
    layer, x = torch.nn.Linear(16, 32), ones(8, 16)

    def run():
        with mode():
            y = F.layer_norm(layer(x), (32,)).softmax(-1)
            return torch.where(y > 0.5, y, 0).reshape(-1).flatten()

    spent, plain = spent_by(run), spent_by(run)
    with torch.no_grad():
        without = spent_by(lambda: torch.where((y := F.layer_norm(layer(x), (32,)).softmax(-1)) > 0.5, y, 0))
    assert spent == plain
    assert (spent.flops, spent.bytes, spent.allocated) == (without.flops, without.bytes, without.allocated)


def test_a_loop_over_rows_shows_in_the_operators():
    """Stage 4 requires that the number of operators does not grow with the batch."""

    def looped(x):
        return torch.stack([row.softmax(-1) for row in x])

    def whole(x):
        return x.softmax(-1)

    few, many = ones(2, 8), ones(50, 8)
    assert spent_by(lambda: whole(few)).operators == spent_by(lambda: whole(many)).operators == 1
    assert spent_by(lambda: looped(many)).operators > 50


def test_every_run_counts_the_same():
    """Counts do not depend on the machine's load."""
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    x = torch.randn(2, 5, 16)
    runs = []
    for _ in range(3):
        layer.zero_grad()  # adding to a gradient that is there is work, too
        runs.append(spent_by(lambda: layer(x).sum().backward()))
    assert runs[0].flops > 0
    assert runs[0] == runs[1] == runs[2]


def test_gradients_and_exceptions_pass_through():
    """Measuring changes no result and catches no exception."""
    x = ones(3).requires_grad_()
    with measure():
        (x * x).sum().backward()
    assert torch.equal(x.grad, 2 * ones(3))
    with pytest.raises(RuntimeError), measure():
        ones(3) + ones(4)
    assert spent_by(lambda: ones(3) + 1).operators > 0


def test_sparse_and_empty_tensors_can_be_counted():
    """No answer may crash the counter."""
    eye = torch.eye(4).to_sparse()
    assert spent_by(lambda: torch.sparse.mm(eye, ones(4, 2))).operators > 0
    assert spent_by(lambda: ones(0, 5) + 1).allocated == 0


def test_item_is_counted_as_a_call_without_bytes():
    """A test can limit how often `.item()` is called."""
    x = ones(4)
    spent = spent_by(lambda: [x[i].item() for i in range(4)])
    assert spent.bytes == 0
    assert spent.calls["aten._local_scalar_dense"] == 4


def test_fused_attention_costs_what_its_two_products_cost():
    """torch has no formula for the CPU's operator: a kata that forbids the call would measure it as free."""
    q, k, v = (torch.randn(2, 4, length, 16) for length in (32, 48, 48))
    fused = spent_by(lambda: F.scaled_dot_product_attention(q, k, v))
    by_hand = spent_by(lambda: (q @ k.mT).softmax(-1) @ v)
    assert fused.flops == by_hand.flops == 4 * 2 * 4 * 32 * 48 * 16


def test_the_gradient_of_fused_attention_is_counted_too():
    """Five products: the scores again, and one for each gradient."""
    q, k, v = (torch.randn(1, 2, 24, 16, requires_grad=True) for _ in range(3))
    out = F.scaled_dot_product_attention(q, k, v)
    assert spent_by(lambda: out.sum().backward()).flops == 5 * 2 * 2 * 24 * 24 * 16


def test_integer_products_are_counted():
    """An int8 layer multiplies as often as a float one."""
    a, b = torch.ones(32, 64, dtype=torch.int8), torch.ones(64, 16, dtype=torch.int8)
    assert spent_by(lambda: torch._int_mm(a, b)).flops == 2 * 32 * 64 * 16


def test_the_largest_tensor_tells_tiles_from_the_whole():
    """Both move as many bytes. Views and results in place are not counted: they are in memory already."""
    x, y = ones(64, 8), ones(8, 64)
    whole = spent_by(lambda: (x @ y).expand(100, 64, 64).sum((1, 2)))
    tiles = spent_by(lambda: [x[i : i + 8] @ y for i in range(0, 64, 8)])
    assert whole.largest == 64 * 64
    assert tiles.largest == 8 * 64
    assert spent_by(lambda: x.mul_(2).T).largest == 0
