FORBIDDEN = (
    "_amp_update_scale_",
    "_amp_foreach_non_finite_check_and_unscale_",
    "torch.amp",
    "torch.cpu.amp",
    "torch.cuda.amp",
)


def cases(rng):
    return iter(())


def run(kata, case):
    pass
