"""Bytes from a hostile process, and folders that a hostile process has filled, are refused with a sentence.

The fuzzers are seeded: the same bytes each time.
"""

import json
import os
import random
import threading
import time
import tracemalloc
from contextlib import suppress

import pytest
import torch

from dojo.core.errors import UserError
from dojo.grading.sandbox.cleanup import remove_tree
from dojo.grading.sandbox.pipe import Closed, TimedOut, receive, send
from dojo.grading.scoring import feedback
from dojo.grading.scoring.score import _explain
from dojo.grading.submission.intake import read_submission
from dojo.testing.codec import HEADER, MAGIC, Limits, ProtocolError, encode
from dojo.testing.codec_decode import decode
from dojo.testing.probes import Counts, Draws, Pairs, Raised, counted, same

TURNS = 400
KINDS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.bool,
    torch.uint8,
    torch.int64,
]


def send_through(tree):
    """`tree`, sent and received."""
    return receive_bytes(encode(tree))


def receive_bytes(raw):
    """What receive() returns when these bytes arrive and the other end closes."""
    inbox, outbox = os.pipe()

    def write():
        try:
            os.write(outbox, raw)  # all of it: none of these frames is larger than a pipe
        finally:
            os.close(outbox)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        return receive(inbox, Limits(), time.monotonic() + 20)
    finally:
        os.close(inbox)
        writer.join(5)


def random_tensor(draw):
    dtype = draw.choice(KINDS)
    shape = [draw.randrange(4) for _ in range(draw.randrange(4))]
    return (4 * torch.rand(shape, generator=torch.Generator().manual_seed(draw.randrange(2**31)))).to(dtype)


def random_evidence(draw, depth=0):
    """Anything that a probe may return."""
    kinds = [
        lambda: draw.choice([None, True, False, 0, -7, 2**100, 1.5, float("inf"), "", "text", "\ud800", torch.float32]),
        lambda: random_tensor(draw),
        lambda: Draws(torch.tensor([draw.randrange(5) for _ in range(30)]), 5),
        lambda: Pairs(random_tensor(draw), random_tensor(draw), draw.random() < 0.5),
        lambda: Raised("ValueError", True, False, "no"),
        lambda: b"bytes",
    ]
    if depth < 3:
        kinds += [lambda: [random_evidence(draw, depth + 1) for _ in range(draw.randrange(4))]] * 2
        kinds += [lambda: {f"k{i}": random_evidence(draw, depth + 1) for i in range(draw.randrange(4))}] * 3
    return draw.choice(kinds)()


def arrived(a, b):
    """Whether b is what a becomes when it is sent (tuples become lists)."""
    return same(a, b) and repr(feedback.explain({"x": a}, {"x": b})) == "''"


def test_what_is_sent_arrives():
    """Every kind of evidence comes out as it went in."""
    draw = random.Random(1)
    for _ in range(TURNS):
        tree = random_evidence(draw)
        assert arrived(tree, send_through(tree)), tree


def test_random_bytes_are_no_frame():
    """With and without the right beginning."""
    draw = random.Random(2)
    for turn in range(TURNS):
        raw = draw.randbytes(draw.randrange(200))
        if turn % 2:
            raw = HEADER.pack(MAGIC, draw.choice([0, 1, 40, 2**32 - 1]), draw.choice([0, 9, 2**63])) + raw
        with pytest.raises((ProtocolError, Closed)):
            receive_bytes(raw)


def test_frames_that_were_tampered_with():
    """Bytes changed, cut out, doubled or moved: evidence, or a refusal."""
    draw = random.Random(3)
    refused = 0
    for _ in range(3 * TURNS):
        raw = bytearray(encode(random_evidence(draw)))
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(raw))
            tamper = draw.randrange(4)
            if tamper == 0:
                raw[at] = draw.randrange(256)
            elif tamper == 1:
                del raw[at : at + draw.randrange(9)]
            elif tamper == 2:
                raw[at:at] = raw[at : at + draw.randrange(9)]
            else:
                raw[at:at] = draw.choice([b"[", b"{", b"]", b'"', b"9" * 50, b"NaN", b"-1", b"1e9", b"null", b'"t"'])
            raw = raw or bytearray(b"k")
        try:
            receive_bytes(bytes(raw))
        except (ProtocolError, Closed):
            refused += 1
    assert refused > TURNS


def random_head(draw, depth=0):
    """JSON that resembles a head, with wrong types, counts and signs everywhere."""
    leaves = [0, -1, 1, 2**40, 2**62, 10**400, True, None, "", "int64", "float64", "x" * 5000, [], {}, "0x1p3", "nan"]
    if depth > 4 or draw.random() < 0.3:
        return draw.choice(leaves)
    if draw.random() < 0.4:
        return [random_head(draw, depth + 1) for _ in range(draw.randrange(5))]
    tag = draw.choice("fdtnprbyoxT_") * draw.choice([1, 1, 1, 2])
    return {tag: random_head(draw, depth + 1) for tag in [tag, *draw.sample("fdt", draw.choice([0, 0, 1]))]}


def test_heads_that_encode_would_not_write():
    """False shapes and offsets, unknown kinds, numbers that no tensor has, tags of two letters."""
    draw = random.Random(4)
    shapes = [[0], [2**31 - 1, 0], [0, *[2**31 - 1] * 15], [2**39] * 3, [-1], [1.5], [True], [[]], [1] * 17, [1, 1]]
    heads = [
        {"t": [kind, shape, at]} for kind in ("uint8", "bool", "float64") for shape in shapes for at in (0, -1, 2**70)
    ]
    heads += [{"b": tensor} for tensor in heads]
    heads += [{"n": [{"t": ["int64", [1], 0]}, n]} for n in (0, -1, 2**21, True, None)]
    heads += [random_head(draw) for _ in range(5 * TURNS)]
    for head in heads:
        try:
            decode(json.dumps(head).encode(), bytes(16), Limits())
        except ProtocolError:
            continue


@pytest.mark.parametrize(
    "head",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"d":[["a",' * 5000 + b"1" + b"]]}" * 5000,
        b"[NaN]",
        b"[-Infinity]",
        b"1.5",
        b"9" * 4000,
        b"[" + b"9" * 1_000_000 + b"]",
        b'{"f":"0x1p99999999999"}',
        b'{"f":"nan","f":1}',
        b'{"d":[["a",1],["a",2]]}',
        b'{"d":[["a"]]}',
        b'{"y":"float128"}',
        b'{"init__":1}',
        b'"\xff"',
        b"",
        b"[0" + b",0" * 110_000 + b"]",
    ],
    ids=lambda head: head[:20].decode("latin-1"),
)
def test_heads_that_are_refused(head):
    """Deep, endless, doubled, unknown, and not JSON at all."""
    with pytest.raises(ProtocolError):
        decode(head, b"", Limits())


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'{"":1},', b'"",', b"1,", b'["\\ud800"],'])
def test_a_head_takes_a_bounded_amount_of_memory(piece):
    """The largest head that is read at all becomes less than half a gigabyte, however it is filled."""
    head = b"[" + piece * ((Limits.head - 10) // len(piece)) + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            decode(head, b"", Limits())
        assert tracemalloc.get_traced_memory()[1] < 2**29
    finally:
        tracemalloc.stop()


def test_a_tensor_is_counted_as_often_as_it_is_named():
    """A thousand names for the same bytes would be a thousand copies."""
    head = {"d": [[str(i), {"t": ["uint8", [2**20], 0]}] for i in range(1000)]}
    with pytest.raises(ProtocolError):
        decode(json.dumps(head).encode(), bytes(2**20), Limits())


def test_receiving_ends_at_the_deadline_or_when_the_pipe_closes():
    """Also in the middle of a frame."""
    for begun in (b"", MAGIC, HEADER.pack(MAGIC, 100, 0), HEADER.pack(MAGIC, 100, 0) + b"["):
        inbox, outbox = os.pipe()
        os.write(outbox, begun)
        with pytest.raises(TimedOut):
            receive(inbox, Limits(), time.monotonic() + 0.02)
        os.close(outbox)
        with pytest.raises(Closed):
            receive(inbox, Limits(), time.monotonic() + 20)
        os.close(inbox)


def test_sending_ends_at_the_deadline():
    """A worker that does not read must not stop the grader."""
    inbox, outbox = os.pipe()
    os.set_blocking(outbox, False)
    with pytest.raises(TimedOut):
        send(outbox, torch.zeros(10**6), time.monotonic() + 0.05)
    os.close(inbox)
    os.close(outbox)


def test_objects_of_other_classes_are_sent_as_the_names_of_the_classes():
    """They equal nothing, not even themselves."""

    class Evil:
        def __eq__(self, other):
            return True

        __hash__ = None

    received = send_through({"x": Evil()})
    assert not same(received, received)
    assert "an object of class 'Evil'" in feedback.explain({"x": 1}, received)


def changed(draw, tree):
    """`tree` with one value changed, added or removed."""
    if isinstance(tree, dict) and tree:
        key = draw.choice(list(tree))
        return draw.choice(
            [{**tree, key: changed(draw, tree[key])}, {**tree, "more": 1}, {k: v for k, v in tree.items() if k != key}]
        )
    if isinstance(tree, list) and tree:
        at = draw.randrange(len(tree))
        return draw.choice(
            [[*tree[:at], changed(draw, tree[at]), *tree[at + 1 :]], tree[:at] + tree[at + 1 :], [*tree, None]]
        )
    if isinstance(tree, torch.Tensor) and tree.numel():
        others = [tree[None], tree.to(torch.int16), tree.flatten()[:-1]]
        flat = tree.clone().flatten()
        flat[draw.randrange(len(flat))] = (flat[0] == 0) if tree.dtype == torch.bool else 77
        others += [flat.reshape(tree.shape)] * 2 if not torch.equal(flat, tree.flatten()) else []
        others += [tree * torch.nan] if tree.is_floating_point() else []
        return draw.choice(others)
    if isinstance(tree, Counts):
        return draw.choice([Counts(tree.counts.flip(0) * 0 + tree.counts.sum()), Counts(tree.counts[1:]), tree.counts])
    if isinstance(tree, bool):
        return draw.choice([not tree, int(tree), None])
    return draw.choice(
        [x for x in (None, 12345, "other", 2.5, [], torch.zeros(2), Raised("E", False)) if type(x) is not type(tree)]
    )


def test_a_changed_value_is_never_the_same():
    """A sentence says why, without an exception, for all evidence and every change."""
    draw = random.Random(5)
    for _ in range(3 * TURNS):
        right = counted({"a": random_evidence(draw), "b": random_evidence(draw)})
        wrong = changed(draw, right)
        assert not same(right, wrong), (right, wrong)
        reason = _explain(right, wrong)
        assert reason, (right, wrong)
        assert len(reason) < 2000
        assert "cannot be compared" not in reason, (right, wrong)


def test_evidence_of_any_two_kinds_can_be_compared():
    """There is a reason exactly where the evidence differs, of whatever kind it is."""
    draw = random.Random(6)
    for _ in range(3 * TURNS):
        right = counted({"x": random_evidence(draw)})
        received = send_through({"x": random_evidence(draw)})
        reason = _explain(right, counted(received))
        assert (reason == "") == same(right, received), (right, received, reason)


def test_hostile_draws_and_pairs_are_counted_without_harm():
    """Categories, shapes and dtypes that no sampler has."""
    for tensor in (
        torch.tensor([-1]),
        torch.tensor([9]),
        torch.rand(3),
        torch.zeros(0),
        torch.tensor(3),
        torch.ones(2, 2) > 0,
    ):
        for draws in (
            Draws(tensor, 5),
            Draws(tensor.long(), 2**20),
            Pairs(tensor, tensor, True),
            Pairs(tensor, tensor[None]),
        ):
            received = counted(send_through({"x": draws}))
            assert isinstance(_explain({"x": Counts(torch.tensor([1, 2, 3, 4, 5]))}, received), str)


def fill_folder(draw, folder, depth=0):
    """Fills a folder with anything, some of it where katas are looked for."""
    where = os.fsencode(folder)
    names = [
        b"katas",
        b"tiny.py",
        b"Tiny.py",
        b"\xff.py",
        b"a\nb.py",
        b"x" * 200,
        b"__pycache__",
        b"tiny.py.txt",
        b"...",
    ]
    for name in draw.sample(names, draw.randrange(1, len(names))):
        path = os.path.join(where, name)
        kind = draw.randrange(9)
        if kind < 3 and depth < 3:
            os.mkdir(path)
            fill_folder(draw, os.fsdecode(path), depth + 1)
            os.chmod(path, draw.choice([0o755, 0o755, 0o000, 0o300, 0o500]))
        elif kind == 3:
            os.symlink(
                draw.choice([b"/etc/passwd", b".", b"..", name, b"katas/tiny.py", b"/dev/zero", b"nowhere"]), path
            )
        elif kind == 4:
            os.mkfifo(path)
        else:
            text = draw.choice([b"x = 1\n", b"", b"\0", b"\xff\xfe", b"# coding: utf-7\n", b"y" * 500, b"z\n" * 40_000])
            with open(path, "wb") as file:
                file.write(text + draw.randbytes(draw.choice([0, 0, 3])))
            os.chmod(path, draw.choice([0o644, 0o644, 0o000]))


@pytest.mark.parametrize("seed", range(3))
def test_random_folders_are_taken_in_or_refused_with_a_reason(seed, tmp_path, checkout):
    """No exception but UserError, whatever the folder holds; afterwards it can be removed."""
    draw = random.Random(seed)
    for turn in range(60):
        folder = tmp_path / str(turn)
        folder.mkdir()
        fill_folder(draw, folder)
        with suppress(UserError):
            submitted = read_submission(folder, ["tiny"], checkout=checkout)["tiny"]
            assert (submitted.source is None) == (submitted.status != "ok") or submitted.status == "not_attempted"
            assert submitted.reason or submitted.status == "ok"
        assert remove_tree(folder, seconds=20)
